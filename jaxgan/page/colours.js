// One look per run, the same everywhere: colours of Okabe and Ito, which those see apart who see
// red and green alike, in the order of jaxgan.plots; yellow is left out, which paper shows badly.
// Then dashes tell apart.

import { svg } from "./dom.js";

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "var(--grey)"];
const DASHES = [null, "6 3", "2 2.5"];

export const MOST_SHOWN = COLOURS.length * DASHES.length;

export function look(slot) {
  return {
    colour: COLOURS[slot % COLOURS.length],
    dash: DASHES[Math.floor(slot / COLOURS.length)],
  };
}

// A short piece of a run's line.
export function swatch(run) {
  const line = { x1: 1, y1: 5, x2: 21, y2: 5, "stroke-width": 3, "stroke-linecap": "round" };
  return svg(
    "svg",
    { class: "swatch", viewBox: "0 0 22 10", width: 22, height: 10, "aria-hidden": "true" },
    svg("line", { ...line, stroke: run.colour, "stroke-dasharray": run.dash }),
  );
}
