// Makes a token and shows it, this once.
"use strict";
(() => {
  const form = document.querySelector("#new-token");
  const made = document.querySelector("#made");

  async function refresh() {
    const answer = await fetch("/settings");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("#token-list").replaceWith(page.querySelector("#token-list"));
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { name: form.elements.name.value, scopes: form.elements.scopes.value.split(", ") };
    if (form.elements.days.value) body.days = Number(form.elements.days.value);
    try {
      const token = await gyrostatSend("POST", "/v1/tokens", body);
      gyrostatShowOnce(made, `The token of ${token.name}.`, token.token);
      form.reset();
      await refresh();
    } catch (error) {
      gyrostatSay(error.message, "critical");
    }
  });
})();
