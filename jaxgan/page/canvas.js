// Samples on a canvas: images in a grid, points over the points of the data.

const GAP = 2;

// The size of an image, and its channels: [H, W, C], or [H, W] for grey.
function sizes(shape) {
  return { height: shape[0], width: shape[1], channels: shape[2] ?? 1 };
}

function toImage(values, start, shape) {
  const { height, width, channels } = sizes(shape);
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let c = 0; c < 4; c++) {
      const from = channels >= 3 ? c : 0;
      const value = c === 3 && channels < 4 ? 1 : values[start + pixel * channels + from];
      image.data[4 * pixel + c] = Math.round((value + 1) * 127.5); // NaN becomes black
    }
  }
  return image;
}

// Tiles images row by row. Small ones are enlarged as in the pictures of training: smoothly below
// 16 pixels, where the eye sees squares and not what they make; otherwise each pixel as a square.
export function paintImages(canvas, samples, shape, columns, wanted = 600) {
  const { height, width } = sizes(shape);
  const size = shape.reduce((product, side) => product * side, 1), n = samples.length / size;
  const scale = Math.max(1, Math.round(wanted / (columns * width)));
  const tile = { width: scale * width, height: scale * height };
  canvas.width = columns * (tile.width + GAP) - GAP;
  canvas.height = Math.ceil(n / columns) * (tile.height + GAP) - GAP;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = Math.max(height, width) < 16;
  context.imageSmoothingQuality = "high";
  const small = new OffscreenCanvas(width, height), pen = small.getContext("2d");
  for (let i = 0; i < n; i++) {
    pen.putImageData(toImage(samples, i * size, shape), 0, 0);
    const x = (i % columns) * (tile.width + GAP), y = Math.floor(i / columns) * (tile.height + GAP);
    context.drawImage(small, x, y, tile.width, tile.height);
  }
}

// How fast 2-D samples of a grid of latents change from place to place, as darkness.
export function paintSpeed(canvas, samples, side) {
  canvas.width = canvas.height = side - 1;
  const [red, green, blue] = getComputedStyle(canvas).color.match(/\d+/g).map(Number);
  const apart = (i, j) => samples[i] - samples[j];
  const far = (i, j) => Math.hypot(apart(2 * i, 2 * j), apart(2 * i + 1, 2 * j + 1));
  const cells = Array.from({ length: (side - 1) ** 2 }, (_, k) => {
    const i = k + Math.floor(k / (side - 1)); // rows of samples are one longer
    return Math.hypot(far(i, i + 1), far(i, i + side));
  });
  const fast = cells.toSorted((a, b) => a - b)[Math.floor(0.98 * cells.length)] || 1;
  const image = new ImageData(side - 1, side - 1);
  cells.forEach((speed, k) => {
    image.data.set([red, green, blue, 200 * Math.min(1, speed / fast)], 4 * k);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Points of samples, large ones marked, over those of the data with a circle around each mode.
export class Plot {
  constructor(canvas, data, size = 560) {
    Object.assign(this, { canvas, data, size, center: data?.center, reach: data?.reach });
    canvas.width = canvas.height = size;
  }

  paint(samples, marked = [], trail = []) {
    if (!this.reach) this.fit(samples);
    const pen = this.canvas.getContext("2d"), style = getComputedStyle(this.canvas);
    pen.clearRect(0, 0, this.size, this.size);
    pen.fillStyle = style.getPropertyValue("--data");
    for (const [x, y] of this.data?.points ?? []) this.dot(pen, x, y, 1.6);
    pen.strokeStyle = style.getPropertyValue("--muted");
    pen.lineWidth = 1;
    for (const [x, y] of this.data?.modes ?? []) {
      pen.beginPath();
      pen.arc(...this.place(x, y), (3 * this.data.sigma * this.size) / (2 * this.reach), 0, 7);
      pen.stroke();
    }
    pen.fillStyle = style.getPropertyValue("--accent");
    pen.globalAlpha = 0.65;
    let outside = 0;
    for (let i = 0; i < samples.length; i += 2) {
      const inside = [0, 1].every((k) => Math.abs(samples[i + k] - this.center[k]) <= this.reach);
      if (inside) this.dot(pen, samples[i], samples[i + 1], 1.9);
      else outside++;
    }
    pen.globalAlpha = 1;
    pen.fillStyle = pen.strokeStyle = style.getPropertyValue("--mark");
    pen.lineWidth = 2;
    pen.beginPath();
    for (const [x, y] of trail) pen.lineTo(...this.place(x, y));
    pen.stroke();
    for (const [x, y] of marked) this.dot(pen, x, y, 6);
    return outside;
  }

  // Of data that are not here: the extent of the first samples.
  fit(samples) {
    const ends = [0, 1].map((k) => {
      const values = samples.filter((value, i) => i % 2 === k && Number.isFinite(value));
      if (!values.length) return [-1, 1]; // of weights that are not finite
      return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    });
    this.center = ends.map(([low, high]) => (low + high) / 2);
    this.reach = 0.6 * Math.max(...ends.map(([low, high]) => high - low)) || 1;
  }

  place(x, y) {
    const half = this.size / 2;
    return [
      half + ((x - this.center[0]) / this.reach) * half,
      half - ((y - this.center[1]) / this.reach) * half,
    ];
  }

  // Which sample is nearest to a place of the canvas, from 0 to 1 each way.
  nearest(samples, x, y) {
    let best = 0, least = Infinity;
    for (let i = 0; i < samples.length / 2; i++) {
      const [left, top] = this.place(samples[2 * i], samples[2 * i + 1]);
      const far = Math.hypot(left - x * this.size, top - y * this.size);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  dot(pen, x, y, radius) {
    pen.beginPath();
    pen.arc(...this.place(x, y), radius, 0, 7);
    pen.fill();
  }
}
