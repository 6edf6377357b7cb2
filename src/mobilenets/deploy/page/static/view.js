// What the page shows: answers with bars, times, the part of the picture that the network sees, and problems.

import { isUnknown } from "./model.js";
import { seen } from "./preprocess.js";

const SHOWN = 5;
const TIMES = 15; // frames of which the median is shown
const QUIET_MS = 2500; // between two answers that a screen reader hears while the camera runs

const find = (id) => document.getElementById(id);
const rows = [];
let times = [];
let spokenAt = 0;

/** The best answers; `ms` is {resize, network} of this frame, `live` whether it is one of a camera's. */
export function showAnswers(answers, page, ms, live) {
  const best = answers[0];
  const unknown = isUnknown(best, page);
  const verdict = unknown ? "Unknown" : best.label;
  find("verdict").textContent = verdict;
  find("verdict").classList.remove("waiting");
  find("answers").classList.toggle("unknown", unknown);
  answers.slice(0, SHOWN).forEach((answer, index) => fill(row(index), answer));
  const note = unknown ? ` No class reaches ${percent(page.decision.threshold)}.` : "";
  showTime(ms, live, note);
  speak(unknown ? `Unknown.${note}` : `${verdict}, ${percent(best.score)}`, live);
}

/** Words in place of an answer. */
export function showWaiting(words) {
  find("verdict").textContent = words;
  find("verdict").classList.add("waiting");
}

/** Forgets the times of frames before. */
export function forgetTimes() {
  times = [];
}

export function showProblem(words) {
  find("problem").textContent = words;
  find("problem").hidden = !words;
}

/** Where the network runs. */
export function showDevice({ device, threads }) {
  const name = { webgpu: "WebGPU", wasm: "WASM" }[device];
  find("device").textContent = device === "wasm" ? `${name}, ${threads} ${threads === 1 ? "thread" : "threads"}` : name;
}

/** Lays the frame over the part of the picture that the network sees; the picture fills the stage as `contain` does. */
export function placeFrame(width, height, contract) {
  const stage = find("stage");
  const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const left = (stage.clientWidth - width * scale) / 2;
  const top = (stage.clientHeight - height * scale) / 2;
  const part = seen(width, height, contract);
  find("shade").hidden = part.width === width && part.height === height;
  place(find("shade"), { left, top, width: width * scale, height: height * scale });
  place(find("frame"), {
    left: part.left * scale,
    top: part.top * scale,
    width: part.width * scale,
    height: part.height * scale,
  });
}

function place(element, box) {
  for (const [name, value] of Object.entries(box)) element.style[name] = `${value}px`;
}

/** A switch between the precisions; `onChange(precision)` when another is chosen. */
export function showPrecisions(models, chosen, onChange) {
  const names = { float32: "Float 32", float16: "Float 16", weights8: "Int 8 weights", int8: "Int 8" };
  find("precision").hidden = models.length < 2;
  for (const { precision, size_bytes } of models) {
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "precision", value: precision });
    input.checked = precision === chosen;
    input.addEventListener("change", () => onChange(precision));
    const label = document.createElement("label");
    label.append(input, element("b", names[precision]), element("span", `${(size_bytes / 1e6).toFixed(1)} MB`));
    find("precision").querySelector(".switch").append(label);
  }
}

function element(name, text, className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

function row(index) {
  if (!rows[index]) {
    const item = document.createElement("li");
    const track = element("div", "", "track");
    const bar = element("div", "", "bar");
    track.setAttribute("aria-hidden", "true");
    track.append(bar);
    const label = element("span", "", "label");
    const score = element("span", "", "score");
    item.append(label, " ", score, track);
    find("answers").append(item);
    rows[index] = { label, score, bar };
  }
  return rows[index];
}

function fill({ label, score, bar }, answer) {
  label.textContent = answer.label;
  score.textContent = percent(answer.score);
  bar.style.transform = `scaleX(${answer.score.toFixed(4)})`;
}

function showTime(ms, live, note) {
  times = live ? [...times.slice(1 - TIMES), ms] : [ms];
  const median = (key) => times.map((time) => time[key]).sort((a, b) => a - b)[times.length >> 1];
  const whole = median("resize") + median("network");
  find("time").textContent = `${whole.toFixed(1)} ms per frame (network ${median("network").toFixed(1)}, resize ${median("resize").toFixed(1)}).${note}`;
}

function speak(words, live) {
  const now = performance.now();
  if (words === find("spoken").textContent || (live && now - spokenAt < QUIET_MS)) return;
  find("spoken").textContent = words;
  spokenAt = now;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
