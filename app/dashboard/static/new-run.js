// The form of a new run: the service says at once what is wrong with the spec, and starts it.
"use strict";
(() => {
  const form = document.querySelector("#new-run");
  const spec = document.querySelector("#spec");
  const findings = document.querySelector("#findings");
  const verdict = document.querySelector("#verdict");
  const start = document.querySelector("#start");
  const presets = JSON.parse(document.querySelector("#presets").textContent);
  const { parsed, fillFields, fields } = window.gyrostatSpec;
  let timer = null;
  let round = 0;

  function list(found, tone) {
    for (const each of found) {
      const item = document.createElement("div");
      item.className = "finding";
      item.dataset.tone = tone;
      const path = document.createElement("code");
      path.textContent = each.path;
      const words = document.createElement("span");
      words.textContent = `${each.message}. ${each.mend}`;
      item.append(path, words);
      findings.append(item);
    }
    const paths = found.map((each) => each.path);
    if (tone === "critical") for (const field of fields) field.setAttribute("aria-invalid", String(paths.includes(field.dataset.path)));
  }

  async function validate() {
    const mine = ++round;
    let problems = [];
    let warnings = [];
    try {
      warnings = (await gyrostatSend("POST", "/v1/runs:validate", { spec: JSON.parse(spec.value) })).warnings || [];
    } catch (error) {
      problems = error.problem?.problems || [{ path: "(spec)", message: error.message, mend: "" }];
    }
    if (mine !== round) return;
    findings.replaceChildren();
    list(problems, "critical");
    list(warnings, "warning");
    start.disabled = problems.length > 0;
    verdict.textContent = problems.length ? `${problems.length} to mend` : warnings.length ? `Can be trained; ${warnings.length} to think about` : "Can be trained";
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(validate, 300);
  }

  async function submit(event) {
    event.preventDefault();
    if (start.disabled) return;
    const body = { spec: parsed(), project: form.project.value || "default", tags: form.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean) };
    if (form.querySelector("#name").value.trim()) body.name = form.querySelector("#name").value.trim();
    start.disabled = true;
    try {
      location.assign(`/runs/${(await gyrostatSend("POST", "/v1/runs", body)).id}`);
    } catch (error) {
      gyrostatSay(error.message, "critical");
      start.disabled = false;
    }
  }

  document.querySelector("#preset").addEventListener("change", (event) => {
    spec.value = JSON.stringify(presets[event.target.value], null, 2);
    fillFields();
    soon();
  });
  spec.addEventListener("gyrostat:spec", soon);
  spec.addEventListener("input", () => { fillFields(); soon(); });
  form.addEventListener("submit", submit);
  fillFields();
  validate();
})();
