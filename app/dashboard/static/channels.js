// Makes channels, tries them, switches them on and off, deletes them; the list is fetched again after each.
"use strict";
(() => {
  const form = document.querySelector("#new-channel");
  const made = document.querySelector("#channel-made");
  const fields = form.elements;

  const words = (text) => text.split(/[,\n]/).map((word) => word.trim()).filter(Boolean);

  function chooseKind() {
    for (const part of form.querySelectorAll("fieldset")) part.hidden = part.disabled = part.dataset.kind !== fields.kind.value;
  }

  function targetOf(kind) {
    if (kind === "webhook") return { kind, url: fields.url.value.trim() };
    if (kind === "apprise") return { kind, urls: fields.urls.value.split("\n").map((url) => url.trim()).filter(Boolean) };
    const target = { kind, port: Number(fields.port.value), recipients: words(fields.recipients.value) };
    for (const name of ["host", "security", "sender"]) target[name] = fields[name].value.trim();
    for (const name of ["username", "password"]) if (fields[name].value) target[name] = fields[name].value;
    return target;
  }

  function show(channel) {
    made.replaceChildren();
    if (!channel.secret) return;
    const told = `Messages of ${channel.name} are signed with this secret, by which its receiver knows them.`;
    gyrostatShowOnce(made, told, channel.secret);
  }

  async function refresh() {
    const answer = await fetch("/settings");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const list = page.querySelector("#channel-list");
    for (const each of document.querySelectorAll("#channel-list li:has(details[open])")) {
      list.querySelector(`#${each.id} details`)?.setAttribute("open", "");
    }
    document.querySelector("#channel-list").replaceWith(list);
  }

  async function act(control, work) {
    if (control.getAttribute("aria-busy") === "true") return;
    control.setAttribute("aria-busy", "true");
    try {
      await work();
      control.closest("dialog")?.close();
      await refresh();
    } catch (error) {
      gyrostatSay(error.message, "critical");
    } finally {
      control.removeAttribute("aria-busy");
    }
  }

  fields.kind.addEventListener("change", chooseKind);
  chooseKind();  // a browser may have kept an earlier choice

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = { name: fields.name.value, target: targetOf(fields.kind.value), severity: fields.severity.value };
    body.events = words(fields.events.value);
    body.projects = words(fields.projects.value);
    body.rules = words(fields.rules.value);
    act(event.submitter, async () => {
      show(await gyrostatSend("POST", "/v1/channels", body));
      form.reset();
      chooseKind();
    });
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-test], button[data-change]");
    if (!button) return;
    const { test, change, method = "PATCH", body } = button.dataset;
    act(button, async () => {
      const answer = await gyrostatSend(test ? "POST" : method, test ?? change, body && JSON.parse(body));
      if (test && answer.state === "sent") gyrostatSay(`It was taken${answer.status ? ` (${answer.status})` : ""}.`);
      else if (test) gyrostatSay(`It was not taken: ${answer.error}.`, "critical");
    });
  });
})();
