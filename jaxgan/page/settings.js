// Which settings differ between runs, and all of them.

import { swatch } from "./colours.js";
import { el } from "./dom.js";

// Where things are makes no difference. Files to publish do not say it.
const PLACES = new Set(["workdir", "data_dir", "cache_dir"]);

export function showSettings(place, runs) {
  place.replaceChildren();
  if (!runs.length) return;
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
  const different = names.filter(
    (name) => !PLACES.has(name) && new Set(runs.map((run) => text(run.settings[name]))).size > 1,
  );
  if (runs.length > 1) {
    place.append(
      different.length
        ? table(different, runs, "differences")
        : el("p", { className: "line" }, "The settings of these runs are the same."),
    );
  }
  for (const run of runs.filter((each) => each.command)) {
    const command = el("code", {}, run.command);
    place.append(el("p", { className: "command" }, runs.length > 1 ? swatch(run) : null, command));
  }
  const all = el("summary", {}, `All ${names.length} settings`);
  place.append(el("details", {}, all, table(names, runs, "all-settings")));
}

function table(names, runs, id) {
  const head = el(
    "tr",
    {},
    el("th", {}, "Setting"),
    ...runs.map((run) => el("th", { scope: "col" }, swatch(run), run.name)),
  );
  const rows = names.map((name) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, name)),
      ...runs.map((run) => el("td", {}, text(run.settings[name]))),
    ),
  );
  const parts = [el("thead", {}, head), el("tbody", {}, rows)];
  return el("div", { className: "scroll" }, el("table", { id }, parts));
}

// A setting that a run does not have is one without effect there.
function text(value) {
  if (value === undefined || value === null) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
