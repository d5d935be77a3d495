// Buttons and forms that change something over the HTTP API, and say what came of it.
//
// <button data-post="/v1/..." data-body='{"mode": "fork"}'> and <form data-send="/v1/..." data-method="PATCH">.
// data-then: "reload", "run" (go to the run that was answered) or an address. data-done: what to say.
"use strict";
(() => {
  function say(text, tone = "") {
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.dataset.tone = tone;
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "button quiet small";
    close.textContent = "Close";
    close.addEventListener("click", () => toast.remove());
    toast.append(words, close);
    document.querySelector("#toasts").append(toast);
    setTimeout(() => toast.remove(), tone === "critical" ? 20000 : 6000);
  }

  function problemText(problem, status) {
    const lines = (problem.problems || []).map((each) => `${each.path}: ${each.message}; ${each.mend}`);
    return [problem.detail || problem.title || `The service answered ${status}.`, ...lines].join("\n");
  }

  async function send(method, address, body) {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    let answer;
    try {
      answer = await fetch(address, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw new Error("The service cannot be reached. Nothing was changed as far as this page knows.");
    }
    const isJson = answer.status !== 204 && (answer.headers.get("Content-Type") || "").includes("json");
    const document_ = isJson ? await answer.json() : {};
    if (!answer.ok) {
      const error = new Error(problemText(document_, answer.status));
      error.problem = document_;
      throw error;
    }
    return document_;
  }

  async function act(element, control, method, address, body) {
    if (control?.getAttribute("aria-busy") === "true") return;
    control?.setAttribute("aria-busy", "true");
    try {
      const answer = await send(method, address, body);
      element.closest("dialog")?.close();
      const then = element.dataset.then;
      if (then === "run") location.assign(`/runs/${encodeURIComponent(answer.run?.id ?? answer.run ?? answer.id)}`);
      else if (then) location.assign(then);
      else document.dispatchEvent(new CustomEvent("gyrostat:refresh"));
      if (element.dataset.done) say(element.dataset.done);
    } catch (error) {
      say(error.message, "critical");
    } finally {
      control?.removeAttribute("aria-busy");
    }
  }

  // A form's fields as JSON: data-type says what is no plain text, "settings" several fields at once; what is empty and
  // optional is left out.
  function bodyOf(form) {
    const body = {};
    for (const field of form.elements) {
      if (!field.name || field.disabled) continue;
      const text = field.value.trim();
      const type = field.dataset.type;
      if (type === "settings") Object.assign(body, JSON.parse(text));
      else if (type === "words") body[field.name] = text.split(",").map((word) => word.trim()).filter(Boolean);
      else if (text === "" && field.dataset.optional !== undefined) continue;
      else if (type === "number") body[field.name] = Number(text);
      else if (type === "number-or-null") body[field.name] = text === "" ? null : Number(text);
      else if (type === "json") body[field.name] = text === "" ? {} : JSON.parse(text);
      else body[field.name] = text;
    }
    return body;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-post]");
    if (!button) return;
    const body = button.dataset.body ? JSON.parse(button.dataset.body) : undefined;
    act(button, button, button.dataset.method || "POST", button.dataset.post, body);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-send]");
    if (!form) return;
    event.preventDefault();
    let body;
    try {
      body = bodyOf(form);
    } catch (error) {
      say(`This is not JSON: ${error.message}`, "critical");
      return;
    }
    act(form, event.submitter, form.dataset.method || "POST", form.dataset.send, body);
  });

  /** Fills a place with a secret and what it is; it is selected, to be copied. */
  function showOnce(place, told, secret) {
    const notice = document.createElement("div");
    notice.className = "notice";
    notice.dataset.tone = "ok";
    const words = document.createElement("div");
    const sentence = document.createElement("p");
    sentence.textContent = `${told} It is shown this once; copy it now.`;
    const text = document.createElement("code");
    text.className = "token";
    text.textContent = secret;
    words.append(sentence, text);
    notice.append(words);
    place.replaceChildren(notice);
    getSelection().selectAllChildren(text);
  }

  window.gyrostatSend = send;
  window.gyrostatShowOnce = showOnce;
  window.gyrostatSay = say;
})();
