// The pictures that training drew: one slider through the steps of all runs.

import { swatch } from "./colours.js";
import { el, path, steps } from "./dom.js";

const FRAME_MILLISECONDS = 400;
let stop = () => {}; // the film that plays

export function showPictures(place, runs) {
  stop();
  const filmed = runs.filter((run) => run.pictures.length);
  const missing = runs.filter((run) => !run.pictures.length);
  const all = filmed.flatMap((run) => run.pictures.map((picture) => picture.step));
  const order = [...new Set(all)].sort((a, b) => a - b);
  const names = missing.map((run) => run.name).join(", ");
  const lines = names ? [el("p", { className: "line" }, `No pictures yet: ${names}.`)] : [];
  if (!order.length) {
    place.replaceChildren(...lines);
    return;
  }
  const frames = filmed.map((run) => new Frame(run));
  const label = el("output", { className: "step", id: "picture-step" });
  const slider = el("input", {
    type: "range",
    min: 0,
    max: order.length - 1,
    value: order.length - 1,
    id: "picture-slider",
    "aria-label": "Step of training",
    oninput: () => {
      stop();
      show(Number(slider.value));
    },
  });
  const button = el("button", { type: "button", id: "play", onclick: toggle }, "Play");
  button.disabled = order.length < 2;

  function show(i) {
    slider.value = i;
    label.textContent = `step ${steps(order[i])}`;
    slider.setAttribute("aria-valuetext", label.textContent);
    for (const frame of frames) frame.show(order[i]);
  }
  function toggle() {
    if (button.textContent === "Pause") return stop();
    for (const frame of frames) frame.prepare();
    if (Number(slider.value) === order.length - 1) show(0);
    const timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      show(next);
      if (next >= order.length - 1) stop();
    }, FRAME_MILLISECONDS);
    button.textContent = "Pause";
    stop = () => {
      clearInterval(timer);
      button.textContent = "Play";
      stop = () => {};
    };
  }

  place.replaceChildren(
    ...lines,
    el("div", { className: "controls" }, button, slider, label),
    el("div", { className: "frames" }, frames.map((frame) => frame.element)),
  );
  show(order.length - 1);
}

// A run's picture of a step, or of the last one before it.
class Frame {
  constructor(run) {
    this.run = run;
    this.image = el("img", { loading: "lazy", decoding: "async", width: 600, height: 600 });
    this.caption = el("span", {});
    const name = el("figcaption", {}, swatch(run), el("b", {}, run.name), this.caption);
    this.element = el("figure", { className: "frame" }, name, this.image);
    this.image.addEventListener("load", () => {
      this.image.width = this.image.naturalWidth;
      this.image.height = this.image.naturalHeight;
    });
  }

  show(step) {
    const { pictures } = this.run;
    const picture = pictures.findLast((each) => each.step <= step) ?? pictures[0];
    this.caption.textContent = picture.step === step ? "" : `step ${steps(picture.step)}`;
    this.image.alt = `Samples of ${this.run.name} at step ${steps(picture.step)}`;
    const address = path(this.run, picture.file);
    if (this.image.getAttribute("src") !== address) this.image.src = address;
  }

  // Loads all pictures before a film, so that none comes late.
  prepare() {
    for (const picture of this.run.pictures) new Image().src = path(this.run, picture.file);
  }
}
