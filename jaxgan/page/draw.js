// Drawing from a run's generator: which run, and its studio once it is loaded.

import { swatch } from "./colours.js";
import { el } from "./dom.js";
import { openGenerator } from "./generator.js";
import { makeStudio } from "./studio.js";

const opened = new Map(); // promises of generators, by the runs' ids
let chosen = null; // the id of the run drawn from
let seen = false; // loaded when the section first comes into view

export function showDrawing(place, runs) {
  if (!runs.length) {
    place.replaceChildren();
    return;
  }
  if (!runs.some((run) => run.id === chosen)) {
    chosen = (runs.find((run) => run.state !== "no checkpoint") ?? runs[0]).id;
  }
  const studio = el("div", { className: "studio-place", "aria-live": "polite" });
  const buttons = runs.map((run) =>
    el(
      "button",
      { type: "button", onclick: () => choose(run), "aria-pressed": String(run.id === chosen) },
      swatch(run),
      run.name,
    ),
  );
  function choose(run) {
    chosen = run.id;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", runs[i].id === chosen));
    open(run, studio);
  }
  const group = { className: "choices", role: "group", "aria-label": "Draw from" };
  const choices = el("div", group, buttons);
  place.replaceChildren(...(runs.length > 1 ? [choices] : []), studio);
  const run = runs.find((each) => each.id === chosen);
  if (seen) {
    open(run, studio);
    return;
  }
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      seen = true;
      // Another run may have been chosen since.
      open(runs.find((each) => each.id === chosen), studio);
    },
    { rootMargin: "200px" },
  );
  observer.observe(studio);
}

async function open(run, place) {
  seen = true;
  place.replaceChildren(el("p", { className: "line" }, `Loading the generator of ${run.name} …`));
  if (!opened.has(run.id)) opened.set(run.id, openGenerator(run));
  let content;
  try {
    content = makeStudio(await opened.get(run.id));
  } catch (error) {
    opened.delete(run.id); // a later try may find a checkpoint
    const line = `No drawing from ${run.name}: ${error.message}`;
    content = el("p", { className: "line problem", id: "no-drawing" }, line);
  }
  if (run.id === chosen) place.replaceChildren(content);
}
