// A chart of lines over steps, as SVG, with a cursor for pointers and arrow keys.

import { number, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [380, 220];
const [LEFT, RIGHT, TOP, BOTTOM] = [48, 10, 8, 24];
let charts = 0; // for the ids of clip paths

// Draws lines {run, steps, values, low, high} into a place. Calls show(step, x in pixels, x from 0
// to 1) where the cursor is, and hide() when it leaves.
export function drawChart(place, lines, { log, last, label, show, hide }) {
  const [low, high] = range(lines, log);
  const across = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / last;
  const scale = log ? Math.log : (value) => value;
  const inside = { x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };
  const share = (value) => (scale(value) - scale(low)) / (scale(high) - scale(low));
  const up = (value) => HEIGHT - BOTTOM - inside.height * share(value);
  const clip = `clip-${charts++}`;
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    tabindex: 0,
    "aria-label": `${label}: ${lines.map(describe).join("; ")}. Arrow keys move along the steps.`,
  });
  picture.append(svg("clipPath", { id: clip }, svg("rect", inside)));
  for (const value of ticks(low, high, log)) {
    const at = { class: "tick", x: LEFT - 6, y: up(value) + 4, "text-anchor": "end" };
    picture.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: up(value), y2: up(value) }),
      svg("text", at, tickText(value)),
    );
  }
  for (const step of ticks(0, last, false, 5).filter(Number.isInteger)) {
    const anchor = across(step) > WIDTH - 30 ? "end" : "middle";
    const at = { class: "tick", x: Math.min(across(step), WIDTH - 2), y: HEIGHT - 7 };
    picture.append(svg("text", { ...at, "text-anchor": anchor }, tickText(step)));
  }
  const inner = svg("g", { "clip-path": `url(#${clip})` });
  for (const line of lines) inner.append(...drawLine(line, across, up, log));
  picture.append(inner, follow(picture, lines, { across, up, last, show, hide, low, high, log }));
  place.querySelector("svg")?.remove();
  place.prepend(picture);
}

function describe(line) {
  const end = line.values.findLast((value) => value !== null);
  return `${line.run.name} ${number(end)} at the end`;
}

// The ends of the value axis: all but extreme hundredths of the values, and the last ones.
function range(lines, log) {
  const values = [];
  for (const line of lines) {
    const finite = line.values.filter((value) => value !== null).sort((a, b) => a - b);
    const cut = Math.floor(finite.length / 100);
    values.push(...finite.slice(cut, finite.length - cut));
    values.push(line.values.findLast((value) => value !== null));
  }
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) {
    const margin = low === high ? 2 : (high / low) ** 0.06;
    return [low / margin, high * margin];
  }
  const margin = low === high ? Math.abs(low) / 2 || 1 : 0.06 * (high - low);
  return [low - margin, high + margin];
}

export function ticks(low, high, log, most = 5) {
  if (log) {
    const first = Math.ceil(Math.log10(low)), end = Math.floor(Math.log10(high));
    const factors = end - first < 2 ? [1, 2, 5] : [1];
    const every = Math.max(1, Math.ceil((end - first) / 5));
    const found = [];
    for (let power = first - 1; power <= end; power += every) {
      for (const factor of factors) found.push(factor * 10 ** power);
    }
    return found.filter((value) => value >= low && value <= high);
  }
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const size = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / size - 1e-9), count = Math.floor(high / size + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * size);
}

function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  if (size && size < 1e-3) return value.toExponential(0);
  return (+value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 4 });
}

function drawLine(line, across, up, log) {
  const parts = [], style = { stroke: line.run.colour, "stroke-dasharray": line.run.dash };
  const y = (value) => (log && value <= 0 ? HEIGHT : up(value));
  const at = (i, values) => `${across(line.steps[i]).toFixed(1)},${y(values[i]).toFixed(1)}`;
  for (const piece of pieces(line.values)) {
    if (line.low && piece.length > 1) {
      const there = piece.filter((i) => line.low[i] !== null);
      const edge = there.map((i) => at(i, line.high));
      edge.push(...there.reverse().map((i) => at(i, line.low)));
      const area = { class: "band", fill: line.run.colour, points: edge.join(" ") };
      parts.unshift(svg("polygon", area));
    }
    if (piece.length > 1) {
      const points = piece.map((i) => at(i, line.values)).join(" ");
      parts.push(svg("polyline", { class: "curve", ...style, points }));
    }
    if (piece.length === 1 || line.steps.length <= 12) {
      for (const i of piece) {
        const center = { cx: across(line.steps[i]), cy: y(line.values[i]) };
        parts.push(svg("circle", { ...center, r: 2.5, fill: line.run.colour }));
      }
    }
  }
  return parts;
}

// The stretches of values without a gap, as their indices.
function pieces(values) {
  const found = [];
  let piece = [];
  for (let i = 0; i <= values.length; i++) {
    if (i < values.length && values[i] !== null) piece.push(i);
    else if (piece.length) {
      found.push(piece);
      piece = [];
    }
  }
  return found;
}

// The index of the number that is nearest to a value.
export function nearest(numbers, value) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) {
    if (Math.abs(numbers[i] - value) < Math.abs(numbers[best] - value)) best = i;
  }
  return best;
}

// The cursor: a line, and a dot on each curve.
function follow(picture, lines, { across, up, last, show, hide, low, high, log }) {
  const all = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const cursor = svg("g", { class: "cursor", visibility: "hidden" });
  let at = all.length - 1;

  function move(i) {
    at = Math.max(0, Math.min(all.length - 1, i));
    const x = across(all[at]);
    cursor.replaceChildren(svg("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    for (const line of lines) {
      const value = line.values[line.steps.indexOf(all[at])];
      const seen = value !== undefined && value !== null && value >= low && value <= high;
      if (seen && !(log && value <= 0)) {
        cursor.append(svg("circle", { cx: x, cy: up(value), r: 3.5, fill: line.run.colour }));
      }
    }
    cursor.setAttribute("visibility", "visible");
    show(all[at], (x / WIDTH) * picture.clientWidth, x / WIDTH);
  }
  function leave() {
    cursor.setAttribute("visibility", "hidden");
    hide();
  }

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const step = ((x - LEFT) / (WIDTH - LEFT - RIGHT)) * last;
    move(nearest(all, step));
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (by) move(at + by);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(all.length - 1);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  });
  return cursor;
}
