// Reads the list of runs, and shows those that are ticked.

import { look, MOST_SHOWN, swatch } from "./colours.js";
import { showCurves } from "./curves.js";
import { capital, el, getJson, path, plural } from "./dom.js";
import { showDrawing } from "./draw.js";
import { showPictures } from "./pictures.js";
import { showScores } from "./scores.js";
import { showSettings } from "./settings.js";

const FIRST_SHOWN = 8; // of many runs; the others are a tick away
const slots = new Map(); // of each run shown, by its id
const details = new Map(); // what run.json holds, by its id
let page;

async function start() {
  const waiting = document.getElementById("waiting");
  try {
    page = await getJson("data/page.json");
  } catch (error) {
    waiting.textContent = `The runs cannot be read: ${error.message}`;
    waiting.classList.add("problem");
    return;
  }
  for (const run of page.runs.slice(0, FIRST_SHOWN)) slots.set(run.id, slots.size);
  document.getElementById("about").textContent = about();
  const names = page.runs.map((run) => run.name);
  const title = names.length > 3 ? plural(names.length, "run") : names.join(", ");
  document.title = `${title} – jaxgan`;
  for (const section of document.querySelectorAll("main > section")) section.hidden = false;
  waiting.remove();
  await show();
  document.body.dataset.ready = "true";
}

function about() {
  const runs = plural(page.runs.length, "run");
  if (page.live) return `${runs}, read at ${page.written}. Reload for newer data.`;
  return `${runs}, written at ${page.written}.`;
}

async function show() {
  const chosen = page.runs.filter((run) => slots.has(run.id));
  listRuns(chosen);
  const runs = await Promise.all(chosen.map(read));
  const legend = document.getElementById("legend");
  legend.replaceChildren(...runs.map((run) => el("span", {}, swatch(run), run.name)));
  listRuns(runs);
  const content = (id) => document.querySelector(`#${id} > .content`);
  showCurves(content("curves"), runs, page.words.curves);
  showPictures(content("pictures"), runs);
  showDrawing(content("draw"), runs);
  showScores(content("scores"), runs, page.words.scores, page.evaluate);
  showSettings(content("settings"), runs);
}

async function read(run) {
  if (!details.has(run.id)) {
    try {
      details.set(run.id, await getJson(path(run, "run.json")));
    } catch (error) {
      const nothing = { curves: {}, pictures: [], settings: {}, findings: [], scores: null };
      const problems = [...run.problems, `It cannot be read: ${error.message}`];
      details.set(run.id, { ...run, ...nothing, problems });
    }
  }
  return { ...details.get(run.id), ...look(slots.get(run.id)) };
}

function listRuns(shown) {
  const full = slots.size >= MOST_SHOWN;
  const known = new Map(shown.map((run) => [run.id, run]));
  const cards = page.runs.map((run) => card(known.get(run.id) ?? run, full));
  const lines = [];
  if (page.runs.length > FIRST_SHOWN) {
    const most = full ? ` More than ${MOST_SHOWN} cannot be told apart: untick others first.` : "";
    lines.push(`${slots.size} of ${page.runs.length} runs are shown: tick those to see.${most}`);
  }
  const names = new Map(shown.map((run) => [run.data, run.data_name]));
  if (names.size > 1) {
    lines.push(
      `These runs are on different data (${[...names.values()].join(", ")}), so their curves and ` +
        "scores cannot be compared: each data set has its own below.",
    );
  }
  document
    .querySelector("#runs > .content")
    .replaceChildren(
      ...lines.map((line) => el("p", { className: "line" }, line)),
      el("div", { className: `cards${page.runs.length > FIRST_SHOWN ? " many" : ""}` }, cards),
    );
}

function card(run, full) {
  const ticked = slots.has(run.id);
  const box = el("input", {
    type: "checkbox",
    checked: ticked,
    disabled: full && !ticked,
    onchange: () => toggle(run.id),
    "aria-label": `Show ${run.name}`,
    id: `show-${run.id}`,
  });
  const facts = [run.loss, run.model, run.data_name, shape(run.shape)];
  if (run.seeds > 1) facts.push(`${run.seeds} seeds`);
  const notes = [...run.problems.map((text) => ["problem", text])];
  for (const text of run.findings ?? []) notes.push([isFine(text) ? "fine" : "warning", text]);
  return el(
    "article",
    { className: `card${ticked ? "" : " off"}` },
    el(
      "label",
      { className: "name" },
      page.runs.length > 1 ? box : null,
      ticked && run.colour ? swatch(run) : null,
      el("strong", {}, run.name),
    ),
    el("p", { className: `state ${run.state.replace(" ", "-")}` }, capital(run.state_words)),
    el("p", { className: "facts" }, facts.filter(Boolean).join(" · ")),
    ...notes.map(([kind, text]) => el("p", { className: `note ${kind}` }, `${capital(text)}.`)),
  );
}

function isFine(text) {
  return text.startsWith("nothing wrong was seen");
}

function shape(sizes) {
  if (!sizes) return null;
  return sizes.length === 1 ? `${sizes[0]}-D points` : sizes.join("×");
}

async function toggle(id) {
  if (slots.has(id)) slots.delete(id);
  else {
    const taken = new Set(slots.values());
    slots.set(id, [...Array(MOST_SHOWN).keys()].find((slot) => !taken.has(slot)));
  }
  await show();
  document.getElementById(`show-${id}`)?.focus();
}

start();
