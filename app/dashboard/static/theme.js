// Light or dark: what the user chose, else what the system says. Runs before the page is drawn, so nothing flashes.
"use strict";
(() => {
  const KEY = "gyrostat-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is switched off: the choice lasts as long as the page
    }
  }

  function current() {
    return root.dataset.theme || (system.matches ? "dark" : "light");
  }

  function announce() {
    document.dispatchEvent(new CustomEvent("gyrostat:theme", { detail: current() }));
  }

  const chosen = stored();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  window.gyrostatTheme = current;
  system.addEventListener("change", announce);

  document.addEventListener("click", (event) => {
    if (!event.target.closest("#theme")) return;
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, root.dataset.theme);
    } catch {
      // see above
    }
    announce();
  });
})();
