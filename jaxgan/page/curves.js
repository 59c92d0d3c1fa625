// The curves of runs: a panel for each quantity, apart for each data set.

import { swatch } from "./colours.js";
import { capital, el, number, steps, withError } from "./dom.js";
import { drawChart, nearest } from "./chart.js";

const FIRST_PROBES = ["ahead"]; // of health.jsonl; the others are folded away
let opened = false; // whether the folded ones are shown, kept when other runs are ticked

export function showCurves(place, runs, words) {
  const groups = Map.groupBy(runs, (run) => run.data);
  place.replaceChildren();
  for (const group of groups.values()) {
    const with_curves = group.filter((run) => Object.keys(run.curves).length);
    if (groups.size > 1) place.append(el("h3", {}, group[0].data_name));
    if (!with_curves.length) {
      place.append(el("p", { className: "line" }, "Nothing is logged yet."));
      continue;
    }
    const names = inOrder(with_curves, words);
    const ofHealth = (name) => with_curves.some((run) => run.curves[name]?.kind === "health");
    const isProbe = (name) => !FIRST_PROBES.includes(name) && ofHealth(name);
    const panels = (some) =>
      el("div", { className: "panels" }, some.map((name) => panel(name, with_curves, words)));
    place.append(panels(names.filter((name) => !isProbe(name))));
    const probes = names.filter(isProbe);
    if (probes.length) {
      place.append(
        el(
          "details",
          { open: opened, ontoggle: (event) => (opened = event.target.open) },
          el("summary", {}, `Probes of the networks: ${probes.length} more`),
          panels(probes),
        ),
      );
    }
  }
  const line = explainBands(runs);
  if (line) place.append(el("p", { className: "line" }, line));
}

// The quantities that runs have: those with words in their order, then those of the user's own.
function inOrder(runs, words) {
  const there = new Set(runs.flatMap((run) => Object.keys(run.curves)));
  const known = Object.keys(words).filter((name) => there.has(name));
  return [...known, ...[...there].filter((name) => !(name in words))];
}

function explainBands(runs) {
  const curves = runs.flatMap((run) => Object.values(run.curves));
  const thinned = Math.max(1, ...curves.map((curve) => curve.rows_each));
  const parts = [];
  if (runs.some((run) => run.seeds > 1)) {
    parts.push("Lines are means over seeds, bands one standard error each way.");
  }
  if (thinned > 1) {
    parts.push(
      `Of long runs a point is the mean of up to ${thinned} logged steps, and without seeds the ` +
        "band is their range.",
    );
  }
  return parts.join(" ");
}

function panel(name, runs, words) {
  const { words: text = name, note = "", better = "" } = words[name] ?? {};
  const lines = runs
    .filter((run) => run.curves[name])
    .map((run) => ({ run, ...run.curves[name] }));
  const about = [note, better && `${better} is better`].filter(Boolean).join("; ");
  const area = el("div", { className: "area" });
  const tip = el("div", { className: "tip", hidden: true });
  const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const positive = values.every((value) => value > 0);
  const curves = runs.flatMap((run) => Object.values(run.curves));
  const last = Math.max(1, ...curves.map((curve) => curve.steps.at(-1)));
  const redraw = (log) => drawChart(area, lines, { log, last, label: text, show, hide });
  const box = el("input", { type: "checkbox", onchange: () => redraw(box.checked) });

  function show(step, x, fraction) {
    const rows = lines.map((line) => [line, nearest(line.steps, step)]);
    tip.replaceChildren(
      el("b", {}, `step ${steps(step)}`),
      ...rows.map(([line, i]) => el("span", {}, swatch(line.run), describe(line, i, runs.length))),
    );
    tip.hidden = false;
    tip.style.left = fraction < 0.5 ? `${x + 12}px` : "auto";
    tip.style.right = fraction < 0.5 ? "auto" : `${area.clientWidth - x + 12}px`;
  }
  function hide() {
    tip.hidden = true;
  }

  area.append(tip);
  const sorted = values.toSorted((a, b) => a - b), few = Math.floor(values.length / 20);
  box.checked = positive && sorted[values.length - 1 - few] > 100 * sorted[few];
  redraw(box.checked);
  return el(
    "figure",
    { className: "panel" },
    el(
      "figcaption",
      {},
      el("b", { title: name }, capital(text)),
      about ? el("small", {}, about) : null,
      positive ? el("label", { className: "log" }, box, "log axis") : null,
    ),
    area,
  );
}

function describe(line, i, runs) {
  const value = line.values[i];
  const half = line.low && value !== null ? (line.high[i] - line.low[i]) / 2 : 0;
  const shown = line.run.seeds > 1 ? withError(value, half) : number(value);
  return `${shown}${runs > 1 ? `  ${line.run.name}` : ""}`;
}
