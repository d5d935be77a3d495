// The fields of the form of a new run and the JSON of its spec change each other.
"use strict";
(() => {
  const spec = document.querySelector("#spec");
  const fields = [...document.querySelectorAll("[data-path]")];

  function parsed() {
    try {
      const value = JSON.parse(spec.value);
      return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
    } catch {
      return null;
    }
  }

  // "norm": "batch" is short for "norm": {"kind": "batch"}
  function read(document_, path) {
    let here = document_;
    for (const part of path.split(".")) {
      if (part === "kind" && typeof here === "string") return here;
      here = here?.[part];
    }
    return here;
  }

  function write(document_, path, value) {
    const parts = path.split(".");
    const last = parts.pop();
    let here = document_;
    for (const part of parts) {
      if (typeof here[part] === "string") here[part] = { kind: here[part] };
      if (here[part] === null || typeof here[part] !== "object") here[part] = {};
      here = here[part];
    }
    if (value === undefined) delete here[last];
    else here[last] = value;
  }

  function valueOf(field) {
    if (field.value === "") return undefined;
    if (field.dataset.kind !== "number") return field.value;
    return Number.isNaN(Number(field.value)) ? field.value : Number(field.value);
  }

  function changeSpec(field) {
    const document_ = parsed();
    if (!document_) return;
    const value = valueOf(field);
    if (field.dataset.kind === "variant") {
      // the settings of another kind mean nothing, so they go
      const parent = field.dataset.path.slice(0, -".kind".length);
      if (read(document_, field.dataset.path) !== value) write(document_, parent, value === "none" ? null : value === undefined ? undefined : { kind: value });
    } else write(document_, field.dataset.path, value);
    spec.value = JSON.stringify(document_, null, 2);
    fillFields(field);
    spec.dispatchEvent(new CustomEvent("gyrostat:spec"));
  }

  function fillFields(except) {
    const document_ = parsed();
    for (const field of fields) {
      field.disabled = !document_;
      if (!document_ || field === except) continue;
      const value = read(document_, field.dataset.path);
      const parent = read(document_, field.dataset.path.replace(/\.kind$/, ""));
      field.value = value === undefined || typeof value === "object" ? (parent === null && field.dataset.kind === "variant" ? "none" : "") : String(value);
    }
  }

  for (const field of fields) field.addEventListener(field.tagName === "SELECT" ? "change" : "input", () => changeSpec(field));
  window.gyrostatSpec = { parsed, fillFields, fields };
})();
