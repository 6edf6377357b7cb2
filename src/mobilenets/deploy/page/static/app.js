// The page: a picture or the camera in, the network's best answers out.

import { Camera, cameraProblem, countCameras } from "./camera.js";
import { openModel, ranked, readPage } from "./model.js";
import { pixelsOfFile, pixelsOfVideo } from "./picture.js";
import { prepare } from "./preprocess.js";
import * as view from "./view.js";

const find = (id) => document.getElementById(id);
const stage = find("stage");
const photo = find("photo");
const video = find("video");
const models = new Map(); // precision -> promise of an open model

let page;
let precision;
let picture = null; // the pixels of the picture that is shown, null with the camera
const camera = new Camera(video, () => look(() => pixelsOfVideo(video), true));

function model(name) {
  if (!models.has(name)) {
    const opened = openModel(page, name);
    opened.catch(() => models.delete(name));
    models.set(name, opened);
  }
  return models.get(name);
}

/** Classifies what `read` gives and shows the answers. */
async function look(read, live) {
  try {
    const { logitsOf } = await model(precision);
    const began = performance.now();
    const pixels = read();
    if (!pixels.width) return;
    const input = prepare(pixels, page.preprocessing);
    const prepared = performance.now();
    const logits = await logitsOf(input);
    const ms = { resize: prepared - began, network: performance.now() - prepared };
    if (live !== camera.on) return; // the camera was switched meanwhile
    view.placeFrame(pixels.width, pixels.height, page.preprocessing);
    view.showAnswers(ranked(logits, page), page, ms, live);
  } catch (error) {
    stopCamera();
    view.showProblem(`The network could not be run: ${error.message}`);
  }
}

async function openFile(file) {
  if (!file || !page) return;
  stopCamera();
  view.showProblem("");
  try {
    picture = await pixelsOfFile(file);
  } catch {
    view.showProblem(`${file.name} is not a picture that this browser can open.`);
    return;
  }
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  photo.alt = `The picture ${file.name}`;
  photo.classList.toggle("pixels", Math.max(picture.width, picture.height) <= 128);
  show(photo);
  await look(() => picture, false);
}

async function startCamera(turn = false) {
  view.showProblem("");
  view.forgetTimes();
  try {
    await camera.start(turn);
  } catch (error) {
    stopCamera();
    view.showProblem(cameraProblem(error));
    return;
  }
  picture = null;
  show(video);
  video.classList.toggle("mirrored", camera.mirrored);
  find("camera").textContent = "Stop camera";
  find("camera").setAttribute("aria-pressed", "true");
  find("turn").hidden = (await countCameras()) < 2;
}

function stopCamera() {
  camera.stop();
  find("camera").textContent = "Start camera";
  find("camera").setAttribute("aria-pressed", "false");
  find("turn").hidden = true;
  if (!video.hidden) show(null);
}

/** Shows the photo, the video, or with null the invitation. */
function show(shown) {
  for (const one of [photo, video]) one.hidden = one !== shown;
  find("empty").hidden = shown !== null;
  if (shown === null) find("shade").hidden = true;
}

async function choosePrecision(name) {
  precision = name;
  view.forgetTimes();
  view.showProblem("");
  try {
    view.showDevice(await model(name));
    if (picture) await look(() => picture, false);
  } catch (error) {
    view.showProblem(`The ${name} network could not be opened: ${error.message}`);
  }
}

function listen() {
  find("choose").addEventListener("click", () => find("file").click());
  find("file").addEventListener("change", ({ target }) => openFile(target.files[0]).then(() => (target.value = "")));
  find("camera").addEventListener("click", () => (camera.on ? stopCamera() : startCamera()));
  find("turn").addEventListener("click", () => startCamera(true));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => stage.classList.toggle("over", relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    openFile(event.dataTransfer.files[0]);
  });
  new ResizeObserver(() => {
    const [width, height] = video.hidden ? [picture?.width, picture?.height] : [video.videoWidth, video.videoHeight];
    if (width) view.placeFrame(width, height, page.preprocessing);
  }).observe(stage);
}

async function begin() {
  view.showWaiting("Loading the network");
  page = await readPage();
  listen();
  precision = page.models[0].precision;
  view.showPrecisions(page.models, precision, choosePrecision);
  view.showDevice(await model(precision));
  const blank = { data: new Uint8Array(640 * 480 * 3), width: 640, height: 480 };
  for (let run = 0; run < 3; run++) prepare(blank, page.preprocessing); // the first runs of a script are slow
  for (const name of ["camera", "choose"]) find(name).disabled = false;
  view.showWaiting("Ready");
  document.documentElement.dataset.ready = "true";
}

navigator.serviceWorker?.register("sw.js").catch((error) => console.info("Not kept for offline use:", error.message));
begin().catch((error) => {
  view.showWaiting("Not ready");
  view.showProblem(`The network could not be opened: ${error.message}`);
});
