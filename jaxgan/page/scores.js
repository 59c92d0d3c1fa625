// Scores beside their floors, which are what training data score in the samples' place.

import { swatch } from "./colours.js";
import { capital, el, number, steps, withError } from "./dom.js";

export function showScores(place, runs, words, evaluate) {
  const scored = runs.filter((run) => run.scores);
  const several = new Set(runs.map((run) => run.data)).size > 1;
  place.replaceChildren();
  for (const group of Map.groupBy(scored, (run) => run.data).values()) {
    if (several) place.append(el("h3", {}, group[0].data_name));
    place.append(table(group, words), ...notes(group));
  }
  const best = runs.filter((run) => run.best);
  if (best.length) place.append(bestScores(best, words));
  const without = runs.filter((run) => !run.scores);
  if (without.length) {
    const names = runs.length > 1 ? `${without.map((run) => run.name).join(", ")}: n` : "N";
    place.append(
      el(
        "p",
        { className: "line" },
        `${names}ot scored yet. `,
        el("code", {}, `${evaluate} --workdir=RUN`),
        " scores a run beside its floor, what training data score in the samples' place.",
      ),
    );
  }
}

function table(runs, words) {
  const names = [...new Set(runs.flatMap((run) => run.scores.rows.map((row) => row.name)))];
  const of = (run, name) => run.scores.rows.find((row) => row.name === name);
  const head = el(
    "tr",
    {},
    el("th", {}, "Score"),
    el("th", { scope: "col" }, "Floor", el("small", {}, "training data")),
    ...runs.map((run) => el("th", { scope: "col" }, swatch(run), run.name)),
  );
  const rows = names
    .map((name) => [name, runs.map((run) => of(run, name))])
    .filter(([, cells]) => cells.some((cell) => cell && cell.value !== null))
    .map(([name, cells]) => row(name, cells, words[name]));
  const parts = [el("thead", {}, head), el("tbody", {}, rows)];
  return el("div", { className: "scroll" }, el("table", {}, parts));
}

function row(name, cells, known) {
  const { words = name, note = "", better = "" } = known ?? {};
  const values = cells.map((cell) => cell?.value ?? null);
  const there = values.filter((value) => value !== null);
  const differ = new Set(there).size > 1;
  const best = differ && { lower: Math.min(...there), higher: Math.max(...there) }[better];
  const floors = new Set(cells.filter(Boolean).map((cell) => cell.floor));
  const shared = floors.size === 1;
  const title = el("th", { scope: "row" }, capital(words));
  const about = [note, better && `${better} is better`].filter(Boolean).join("; ");
  if (about) title.append(el("small", {}, about));
  return el(
    "tr",
    {},
    title,
    el("td", { className: "floor" }, shared ? text([...floors][0]) : "beside each"),
    ...cells.map((cell, i) => {
      const mark = values[i] !== null && values[i] === best ? "best" : "";
      return el("td", { className: mark }, cellText(cell), shared ? null : floor(cell));
    }),
  );
}

function cellText(cell) {
  if (!cell || cell.value === null) return "–";
  return withError(cell.value, cell.error);
}

function floor(cell) {
  return el("small", {}, `floor ${text(cell?.floor)}`);
}

function text(value) {
  return value === null || value === undefined ? "–" : number(value);
}

function notes(runs) {
  return runs.map((run) => {
    const { samples, step, notes } = run.scores;
    const each = `, each of ${run.seeds} seeds; ± is a standard error over them`;
    const seeds = run.seeds > 1 ? each : "";
    return el(
      "details",
      {},
      el("summary", {}, `${run.name}: ${steps(samples)} samples at step ${steps(step)}${seeds}`),
      el("ul", {}, notes.map((note) => el("li", {}, `${capital(note)}.`))),
    );
  });
}

// The best scores while training: of other samples than those of the table, and without a floor.
function bestScores(runs, words) {
  const items = runs.map((run) => {
    const isScore = (key) => key !== "step" && !/_(stderr|seeds)$/.test(key);
    const name = Object.keys(run.best).find(isScore);
    const { words: called = name, note = "" } = words[name] ?? {};
    const spread = withError(run.best[name], run.best[`${name}_stderr`]);
    const value = `${spread} at step ${steps(run.best.step)}`;
    const score = ` ${called} ${note}`.trimEnd();
    return el("li", {}, swatch(run), el("b", {}, run.name), `${score}: ${value}`);
  });
  return el(
    "div",
    { className: "best-scores" },
    el("h3", {}, "Best while training"),
    el("ul", { className: "plain" }, items),
    el("p", { className: "line" }, "They choose a run's best state. No floor is kept of them."),
  );
}
