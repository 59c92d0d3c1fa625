// The studio of a generator: new samples of a seed and a class, and ways to explore its latents.

import { Plot, paintImages } from "./canvas.js";
import { el, number, steps } from "./dom.js";
import { Explorer } from "./explorer.js";
import { LAST_SEED, normals } from "./latents.js";

const MOST_BUTTONS = 20; // for classes; more get a field
const POINTS = 2000;
const MILLISECONDS = 1000; // of a grid: a slow generator's shrinks, so that a click is answered

export function makeStudio(generator) {
  return new Studio(generator).element;
}

class Studio {
  constructor(generator) {
    this.generator = generator;
    this.points = generator.shape.length === 1;
    this.seed = 0;
    this.label = null; // a class; null for each in turn
    this.picked = 0; // the sample whose latent is explored
    const soon = (side) => side ** 2 * generator.pace <= MILLISECONDS;
    this.columns = [8, 7, 6, 5, 4, 3, 2].find(soon) ?? 1;
    this.n = this.points ? POINTS : this.columns ** 2;
    this.canvas = el("canvas", {
      className: this.points ? "plot" : "grid",
      id: "samples",
      tabIndex: 0,
      role: "img",
      onclick: (event) => this.pick(this.at(event)),
      onkeydown: (event) => this.key(event),
    });
    this.plot = this.points ? new Plot(this.canvas, generator.data) : null;
    this.status = el("p", { className: "status", id: "draw-status" });
    this.explorer = new Explorer(generator, (marked, trail) => this.mark(marked, trail));
    this.element = el(
      "div",
      { className: "studio" },
      el("div", { className: "left" }, this.controls(), this.canvas, this.status, this.hint()),
      this.explorer.element,
    );
    this.draw();
  }

  controls() {
    const field = el("input", {
      type: "number",
      min: 0,
      max: LAST_SEED,
      value: this.seed,
      id: "seed",
      onchange: () => {
        const typed = Math.trunc(Number(field.value)) || 0;
        this.seed = field.value = Math.max(0, Math.min(LAST_SEED, typed));
        this.draw();
      },
    });
    const more = el(
      "button",
      {
        type: "button",
        className: "main",
        id: "new-samples",
        onclick: () => {
          this.seed = field.value = this.seed < LAST_SEED ? this.seed + 1 : 0;
          this.draw();
        },
      },
      "New samples",
    );
    const rows = [el("div", { className: "controls" }, more, el("label", {}, "seed", field))];
    if (this.generator.num_classes) rows.push(this.classes(this.generator.num_classes));
    return rows;
  }

  classes(count) {
    const group = { className: "controls classes", role: "group", "aria-label": "Class" };
    if (count > MOST_BUTTONS) {
      const field = el("input", {
        type: "number",
        min: 0,
        max: count - 1,
        placeholder: "each",
        id: "class",
        onchange: () => {
          const typed = Math.max(0, Math.min(count - 1, Math.trunc(Number(field.value)) || 0));
          this.setClass(field.value === "" ? null : (field.value = typed));
        },
      });
      return el("div", group, el("label", {}, `class, 0 to ${count - 1}`, field));
    }
    const buttons = [null, ...Array(count).keys()].map((label) =>
      el(
        "button",
        {
          type: "button",
          "data-label": label ?? "each",
          "aria-pressed": String(label === this.label),
          onclick: (event) => {
            for (const button of buttons) button.setAttribute("aria-pressed", "false");
            event.currentTarget.setAttribute("aria-pressed", "true");
            this.setClass(label);
          },
        },
        label === null ? "each class" : this.generator.nameOf(label),
      ),
    );
    return el("div", group, buttons);
  }

  hint() {
    const how = this.points ? "Click a point" : "Click a sample, or use the arrow keys,";
    return el("p", { className: "hint" }, `${how} to explore around it.`);
  }

  setClass(label) {
    this.label = label === null ? null : Number(label);
    this.draw();
  }

  labelOf(i) {
    const count = this.generator.num_classes;
    return count ? (this.label ?? i % count) : null;
  }

  async draw() {
    const { latent_dim: size, num_classes: classes, step } = this.generator;
    const latents = normals(this.seed, this.n * size);
    const labels = classes ? Array.from({ length: this.n }, (_, i) => this.labelOf(i)) : null;
    const asked = (this.asked = Symbol("the newest"));
    let drawn;
    try {
      drawn = await this.generator.draw("grid", latents, labels);
    } catch (error) {
      this.status.textContent = `These samples cannot be drawn: ${error.message}`;
      return;
    }
    if (asked !== this.asked) return; // others were asked for meanwhile
    const { samples, milliseconds } = drawn;
    Object.assign(this, { latents, samples });
    this.paint();
    const of_class = this.label === null ? "" : ` of class ${this.generator.nameOf(this.label)}`;
    const seed = this.generator.seed === null ? "" : `, trained with seed ${this.generator.seed}`;
    const time = `${number(Math.max(1, Math.round(milliseconds)))} ms`;
    const outside = this.outside ? `; ${this.outside} lie outside` : "";
    this.status.textContent =
      `${steps(this.n)} samples${of_class} at step ${steps(step)}${seed}, ` +
      `drawn in ${time}${outside}.`;
    this.status.dataset.seed = `${this.seed} ${this.label ?? "each"}`;
    this.canvas.setAttribute("aria-label", this.status.textContent);
    this.explorer.begin(this.latent(0), this.latent(1), this.labelOf(0));
    this.picked = 0;
  }

  paint(marked = [], trail = []) {
    if (this.points) this.outside = this.plot.paint(this.samples, marked, trail);
    else paintImages(this.canvas, this.samples, this.generator.shape, this.columns);
  }

  // What is explored, among the points; images have a place of their own.
  mark(marked, trail) {
    if (this.points) this.paint(marked, trail);
  }

  latent(i) {
    const size = this.generator.latent_dim;
    return this.latents.slice(i * size, (i + 1) * size);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (this.points) return this.samples && this.plot.nearest(this.samples, x, y);
    const rows = Math.ceil(this.n / this.columns);
    return Math.min(this.n - 1, Math.floor(y * rows) * this.columns + Math.floor(x * this.columns));
  }

  pick(i) {
    if (!this.samples) return; // they are being drawn
    this.picked = i;
    this.explorer.pick(this.latent(i), this.labelOf(i));
  }

  key(event) {
    const row = this.points ? 1 : this.columns;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = this.picked + by;
    if (next >= 0 && next < this.n) this.pick(next);
  }
}
