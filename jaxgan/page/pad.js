// A square to drag a point through, with a pointer or the arrow keys.

import { el } from "./dom.js";

const STEP = 0.05;
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// Calls moved(x, y), each from -1 to 1, the second upwards.
export function makePad(background, moved) {
  const point = el("div", { className: "point" });
  const pad = el(
    "div",
    {
      className: "pad",
      tabIndex: 0,
      id: "pad",
      role: "application",
      "aria-label": "Plane of latents: arrow keys move the point, Home takes it to the middle",
    },
    background,
    point,
  );
  let place = [0, 0];

  function move(x, y) {
    place = [x, y].map((value) => Math.max(-1, Math.min(1, value)));
    point.style.left = `${(place[0] + 1) * 50}%`;
    point.style.top = `${(1 - place[1]) * 50}%`;
    pad.dataset.place = place.map((value) => value.toFixed(3)).join(" ");
    moved(...place);
  }
  function follow(event) {
    const box = pad.getBoundingClientRect();
    move(
      ((event.clientX - box.left) / box.width) * 2 - 1,
      1 - ((event.clientY - box.top) / box.height) * 2,
    );
  }

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    follow(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (pad.hasPointerCapture(event.pointerId)) follow(event);
  });
  pad.addEventListener("keydown", (event) => {
    const by = WAYS[event.key];
    if (by) move(place[0] + STEP * by[0], place[1] + STEP * by[1]);
    else if (event.key === "Home") move(0, 0);
    else return;
    event.preventDefault();
  });
  return { element: pad, move };
}
