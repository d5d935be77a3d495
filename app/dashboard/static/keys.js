// Shortcuts, dialogs, and filters that apply themselves.
"use strict";
(() => {
  const shortcuts = {
    "/": () => {
      const search = document.querySelector("#q");
      if (search) search.focus();
      else location.assign("/?focus=1");
    },
    "?": () => document.querySelector("#help").showModal(),
    n: () => location.assign("/runs/new"),
    a: () => location.assign("/alerts"),
  };

  function isTyping(element) {
    return element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const act = shortcuts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) document.getElementById(opener.dataset.open).showModal();
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog").close();
    if (event.target.tagName === "DIALOG") event.target.close(); // the backdrop
  });

  for (const form of document.querySelectorAll("[data-autosubmit]")) {
    form.addEventListener("submit", () => {
      for (const field of form.elements) if (!field.value) field.disabled = true; // keeps the address short
    });
    form.addEventListener("change", (event) => {
      if (event.target.tagName === "SELECT") form.requestSubmit();
    });
  }

  if (new URLSearchParams(location.search).has("focus")) document.querySelector("#q")?.focus();
})();
