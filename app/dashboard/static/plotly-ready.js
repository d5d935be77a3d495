// A promise of the chart library. It is large: buttons, live updates and the figures' data do not wait for it.
"use strict";
window.gyrostatPlotly = new Promise((resolve, reject) => {
  const script = document.querySelector("#plotly");
  if (window.Plotly) resolve();
  script.addEventListener("load", () => resolve());
  script.addEventListener("error", () => reject(new Error("The chart library could not be loaded.")));
});
window.gyrostatPlotly.catch(() => {}); // every panel that waits for it tells of it
