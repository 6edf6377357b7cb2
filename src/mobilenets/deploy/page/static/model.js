// The network in onnxruntime-web: opened once for each precision, asked for one input at a time.

const WARM_UP = 1;

/** What page.json says of this page, with the address that its paths are relative to. */
export async function readPage() {
  const answer = await fetch("page.json");
  if (!answer.ok) throw new Error(`page.json: the server answers ${answer.status}`);
  return answer.json();
}

/** The network in one precision, ready to answer: {classify, device, threads, loadMs}. */
export async function openModel(page, precision) {
  const began = performance.now();
  const file = page.models.find((model) => model.precision === precision);
  const answer = await fetch(file.path);
  if (!answer.ok) throw new Error(`${file.path}: the server answers ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const { ort, device, session } = await start(page, precision, bytes);
  const size = page.preprocessing.resolution;
  const logitsOf = async (pixels) => {
    const image = new ort.Tensor("uint8", pixels, [1, size, size, 3]);
    const { logits } = await session.run({ image });
    const values = Float32Array.from(await logits.getData());
    image.dispose();
    logits.dispose();
    return values;
  };
  for (let run = 0; run < WARM_UP; run++) await logitsOf(new Uint8Array(size * size * 3));
  return { logitsOf, device, threads: ort.env.wasm.numThreads, loadMs: performance.now() - began };
}

/** The classes with their scores, best first: softmax(logits / temperature). */
export function ranked(logits, page) {
  const scaled = Array.from(logits, (value) => value / (page.decision.temperature ?? 1));
  const largest = Math.max(...scaled);
  const powers = scaled.map((value) => Math.exp(value - largest));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers
    .map((power, index) => ({ label: page.labels[index], score: power / total, index }))
    .sort((a, b) => b.score - a.score || a.index - b.index);
}

/** Whether the best score is too low for an answer. */
export function isUnknown(best, page) {
  return page.decision.threshold !== null && best.score < page.decision.threshold;
}

/** int8 runs on WASM; float32, and with it weights8, on WebGPU where there is one that takes the network, else on WASM. */
async function start(page, precision, bytes) {
  if (precision !== "int8" && (await hasWebGpu())) {
    try {
      return await open(page, "webgpu", bytes);
    } catch (error) {
      console.info("WebGPU does not take the network, WASM runs it:", error.message);
    }
  }
  return open(page, "wasm", bytes);
}

async function hasWebGpu() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}

async function open(page, device, bytes) {
  const ort = await runtime(page.runtime, device);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [device], logSeverityLevel: 3 });
  return { ort, device, session };
}

const loaded = new Map();

/** onnxruntime-web for a device, loaded once: from this folder, or from the CDN and then held to its hash. */
function runtime(source, device) {
  if (!loaded.has(device)) {
    const promise = load(source, source[device]);
    promise.catch(() => loaded.delete(device));
    loaded.set(device, promise);
  }
  return loaded.get(device);
}

async function load(source, { module, binary, integrity }) {
  const at = (name) => new URL(source.base + name, document.baseURI).href;
  const ort = await import(at(module));
  ort.env.wasm.numThreads = self.crossOriginIsolated && !source.remote ? Math.min(4, navigator.hardwareConcurrency) : 1;
  if (source.remote) ort.env.wasm.wasmBinary = await (await fetch(at(binary), { integrity })).arrayBuffer();
  navigator.serviceWorker?.ready.then(({ active }) => active.postMessage({ keep: [at(module), at(binary)] }));
  return ort;
}
