// A plane of latents to drag through, and the way from one sample to another.

import { paintImages, paintSpeed } from "./canvas.js";
import { el, number } from "./dom.js";
import { between, plane } from "./latents.js";
import { makePad } from "./pad.js";

const MAPS = [7, 5, 3]; // images in a row of the plane's background
const FINE_MAP = 61; // places in a row of it, of points
const STRIPS = [9, 7, 5, 3]; // images from one sample to the other
const TRAIL = 60; // points of it
const MILLISECONDS = 700; // of each: a slow generator's are smaller

export class Explorer {
  // Calls mark(points, trail) with what is explored, of a generator of points.
  constructor(generator, mark) {
    this.generator = generator;
    this.points = generator.shape.length === 1;
    const soon = (count) => count * generator.pace <= MILLISECONDS;
    this.side = this.points ? FINE_MAP : (MAPS.find((side) => soon(side ** 2)) ?? 2);
    this.ends = this.points ? TRAIL : (STRIPS.find(soon) ?? 2);
    this.mark = mark;
    this.marked = { plane: null, way: null, trail: [] };
    this.map = el("canvas", { className: "map" });
    this.pad = makePad(this.map, (x, y) => this.movePlane(x, y));
    const one = { className: "one", role: "img" };
    this.here = el("canvas", { ...one, "aria-label": "Sample at the point" });
    this.strip = el("canvas", { className: "strip", id: "strip" });
    this.there = el("canvas", { ...one, "aria-label": "Sample on the way" });
    this.where = { plane: el("p", { className: "status" }), way: el("p", { className: "status" }) };
    this.slider = el("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 50,
      id: "way",
      "aria-label": "Place between the two samples, in percent",
      oninput: () => this.moveWay(),
    });
    this.movePlane = latest((x, y) => this.showPlane(x, y), (error) => this.fail("plane", error));
    this.moveWay = latest(() => this.showWay(), (error) => this.fail("way", error));
    this.renew = latest(() => this.showAll(), (error) => this.fail("plane", error));
    this.element = el("div", { className: "explorer" }, this.planeFigure(), this.wayFigure());
  }

  planeFigure() {
    const what =
      this.generator.latent_dim > 2
        ? "Two random directions from the sample; at the edge a right angle away."
        : "All latents, three standard deviations each way.";
    const shade = this.points ? " Dark where the sample moves fast, as between two modes." : "";
    return el(
      "figure",
      { className: "plane" },
      el("figcaption", {}, el("b", {}, "A plane of latents"), el("small", {}, what + shade)),
      el(
        "div",
        { className: "row" },
        this.pad.element,
        el("div", {}, this.points ? null : this.here, this.where.plane),
      ),
    );
  }

  wayFigure() {
    const how = "A click on a sample makes it the start, and the former start the end.";
    const title = el("b", {}, "From one sample to another");
    return el(
      "figure",
      { className: "way" },
      el("figcaption", {}, title, el("small", {}, `By equal angles. ${how}`)),
      this.points ? null : this.strip,
      this.slider,
      el("div", { className: "row" }, this.points ? null : this.there, this.where.way),
    );
  }

  // New samples: the way leads from the first to the second.
  begin(start, end, label) {
    Object.assign(this, { start, end, label });
    this.renew();
  }

  // Another sample: the way leads from it to where it began before.
  pick(latent, label) {
    if (latent.every((value, i) => value === this.start[i])) return;
    this.begin(latent, this.start, label);
  }

  async showAll() {
    this.plane = plane(this.start);
    const shares = Array.from({ length: this.ends }, (_, i) => i / (this.ends - 1));
    const way = shares.map((share) => between(this.start, this.end, share));
    const strip = await this.draw("strip", way);
    if (this.points) this.marked.trail = pairs(strip);
    else paintImages(this.strip, strip, this.generator.shape, this.ends);
    this.moveWay();
    this.pad.move(0, 0);
    const map = await this.draw("map", this.cells(this.side));
    if (this.points) paintSpeed(this.map, map, this.side);
    else paintImages(this.map, map, this.generator.shape, this.side, 300);
  }

  // Latents of a grid of places in the plane, row by row from its top.
  cells(side) {
    const at = (i) => (2 * i) / (side - 1) - 1;
    const cell = (_, i) => this.plane(at(i % side), -at(Math.floor(i / side)));
    return Array.from({ length: side ** 2 }, cell);
  }

  async draw(what, latents) {
    const size = this.generator.latent_dim, all = new Float32Array(latents.length * size);
    latents.forEach((latent, i) => all.set(latent, i * size));
    const labels = this.label === null ? null : latents.map(() => this.label);
    return (await this.generator.draw(what, all, labels)).samples;
  }

  async showPlane(x, y) {
    const sample = await this.draw("plane", [this.plane(x, y)]);
    this.show("plane", this.here, sample, `x ${number(+x.toFixed(2))}, y ${number(+y.toFixed(2))}`);
  }

  async showWay() {
    const t = Number(this.slider.value) / 100;
    const sample = await this.draw("way", [between(this.start, this.end, t)]);
    this.show("way", this.there, sample, `${Math.round(100 * t)}% of the way`);
  }

  fail(what, error) {
    this.where[what].textContent = `This cannot be drawn: ${error.message}`;
    delete this.where[what].dataset.place;
  }

  show(what, canvas, sample, text) {
    const of_class = this.label === null ? "" : `, class ${this.generator.nameOf(this.label)}`;
    const at = this.points ? `: the point (${number(sample[0])}, ${number(sample[1])})` : "";
    this.where[what].textContent = `${text}${of_class}${at}`;
    this.where[what].dataset.place = text;
    if (!this.points) return paintImages(canvas, sample, this.generator.shape, 1, 160);
    this.marked[what] = pairs(sample)[0];
    this.mark([this.marked.plane, this.marked.way].filter(Boolean), this.marked.trail);
  }
}

function pairs(samples) {
  return Array.from({ length: samples.length / 2 }, (_, i) => [samples[2 * i], samples[2 * i + 1]]);
}

// A function that runs once at a time: of the calls meanwhile the last one follows. Calls
// failed(error) where it throws.
function latest(run, failed) {
  let running = false, waiting = null;
  return async (...values) => {
    waiting = values;
    if (running) return;
    running = true;
    while (waiting) {
      const next = waiting;
      waiting = null;
      try {
        await run(...next);
      } catch (error) {
        failed(error);
      }
    }
    running = false;
  };
}
