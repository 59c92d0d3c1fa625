// The generator's inputs: normal numbers of a seed, and ways between them.

// Uniform numbers in [0, 1): mulberry32, by Tommy Ettinger, in the public domain.
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// The first numbers of a stream of standard normal ones, by Box and Muller.
export function normals(seed, count) {
  const next = uniform(seed), numbers = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next())), angle = 2 * Math.PI * next();
    numbers[i] = radius * Math.cos(angle);
    if (i + 1 < count) numbers[i + 1] = radius * Math.sin(angle);
  }
  return numbers;
}

// Samples have the seeds up to the last. The next two are of a plane's directions: those of a sample
// itself would lead nowhere.
export const LAST_SEED = 2 ** 32 - 3;

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const norm = (a) => Math.sqrt(dot(a, a));
const mix = (a, x, b, y) => a.map((value, i) => x * value + y * b[i]);

// From a at t = 0 to b at 1 by equal angles, as sample.py's strips: a straight line would pass
// nearer to the origin than normal latents hardly ever are.
export function between(a, b, t) {
  const cosine = Math.max(-1, Math.min(1, dot(a, b) / (norm(a) * norm(b))));
  const angle = Math.acos(cosine), sine = Math.sin(angle);
  if (sine < 1e-4) return mix(a, 1 - t, b, t); // parallel ones have no angle between them
  return mix(a, Math.sin((1 - t) * angle) / sine, b, Math.sin(t * angle) / sine);
}

// A plane through a latent along two random directions, for x and y from -1 to 1.
//
// Latents of many dimensions lie near a sphere, so the plane is bent onto it: the distance from the
// middle is the angle turned, a right angle at 1. One or two dimensions are a plane by themselves.
export function plane(center) {
  const size = center.length;
  if (size <= 2) {
    return (x, y) => Float32Array.from([3 * x, 3 * y].slice(0, size));
  }
  const axes = [center];
  for (const random of [normals(LAST_SEED + 1, size), normals(LAST_SEED + 2, size)]) {
    const without = (v, axis) => mix(v, 1, axis, -dot(v, axis) / dot(axis, axis));
    const across = axes.reduce(without, random);
    axes.push(across.map((value) => (value * norm(center)) / norm(across)));
  }
  return (x, y) => {
    const far = Math.hypot(x, y), angle = (far * Math.PI) / 2;
    if (!far) return center;
    const direction = mix(axes[1], x / far, axes[2], y / far);
    return mix(center, Math.cos(angle), direction, Math.sin(angle));
  };
}
