// Makes a token and shows it, this once.
"use strict";
(() => {
  const form = document.querySelector("#new-token");
  const made = document.querySelector("#made");

  function show(token) {
    const notice = document.createElement("div");
    notice.className = "notice";
    notice.dataset.tone = "ok";
    const words = document.createElement("div");
    const told = document.createElement("p");
    told.textContent = `The token of ${token.name}. It is shown this once; copy it now.`;
    const text = document.createElement("code");
    text.className = "token";
    text.textContent = token.token;
    words.append(told, text);
    notice.append(words);
    made.replaceChildren(notice);
    getSelection().selectAllChildren(text);
  }

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
      show(await gyrostatSend("POST", "/v1/tokens", body));
      form.reset();
      await refresh();
    } catch (error) {
      gyrostatSay(error.message, "critical");
    }
  });
})();
