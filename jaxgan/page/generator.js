// A run's generator, as ONNX in onnxruntime-web: WebAssembly in one thread, of this folder alone.

import { getBytes, getJson, path } from "./dom.js";

let runtime = null; // loaded when the first generator is
let queue = Promise.resolve(); // a session computes one batch at a time

async function loadRuntime() {
  const [ort, packed] = await Promise.all([
    import("./vendor/ort.wasm.bundle.min.js"),
    getBytes("vendor/ort-wasm-simd-threaded.wasm.gz"),
  ]);
  // All it needs is given here: it has no address to fetch more from, and starts no worker.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = await unpack(packed);
  return ort;
}

async function unpack(bytes) {
  // A server that says so in its headers has had it unpacked already.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// Throws an Error that says in a line why a run has no generator here.
export async function openGenerator(run) {
  const about = await getJson(path(run, "generator.json"));
  if (about.reason) throw new Error(about.reason);
  runtime ??= loadRuntime().catch((error) => {
    runtime = null; // so that a click tries again
    throw new Error(`the WebAssembly of onnxruntime cannot be started: ${error.message}`);
  });
  const ort = await runtime;
  const model = await getBytes(path(run, about.file));
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    logSeverityLevel: 3, // errors alone: a warning of what it leaves out helps nobody here
  });
  const drawFor = (what, latents, labels) => {
    const job = queue.then(() => draw(ort, session, about, latents, labels));
    queue = job.catch(() => {});
    // To repeat in Python what the page drew: the newest of each kind, and of all.
    return job.then((drawn) => {
      window.jaxgan = { ...window.jaxgan, last: drawn, [what]: drawn };
      return drawn;
    });
  };
  const nameOf = (label) => about.class_names?.[label] ?? `${label}`;
  return { ...about, run, nameOf, draw: drawFor, pace: await measure(ort, session, about) };
}

// Milliseconds a sample: how many are drawn at once follows from it.
async function measure(ort, session, about) {
  const times = [];
  for (const n of [1, 4, 4]) {
    const latents = new Float32Array(n * about.latent_dim);
    const labels = about.num_classes ? Array(n).fill(0) : null;
    times.push((await draw(ort, session, about, latents, labels)).milliseconds / n);
  }
  return Math.min(...times.slice(1)); // the first is slower: memory is set aside
}

// Samples [n, ...] of latents [n, d] and, with classes, of labels [n], as one Float32Array.
async function draw(ort, session, about, latents, labels) {
  const n = latents.length / about.latent_dim, began = performance.now();
  const feeds = { latents: new ort.Tensor("float32", latents, [n, about.latent_dim]) };
  if (about.num_classes) {
    feeds.labels = new ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [n]);
  }
  const made = await session.run(feeds);
  const milliseconds = performance.now() - began;
  const samples = Float32Array.from(made.samples.data);
  made.samples.dispose();
  return { latents, labels, samples, milliseconds };
}
