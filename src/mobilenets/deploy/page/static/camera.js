// The camera: one stream at a time, a callback for each frame that is shown, and the next only when that one is done.

/** A camera that shows in `video` and calls `onFrame()`, which may take its time, while it is on. */
export class Camera {
  #stream = null;
  #facing = "environment";

  constructor(video, onFrame) {
    this.video = video;
    this.onFrame = onFrame;
  }

  get on() {
    return this.#stream !== null;
  }

  /** Whether the picture comes from the side of the screen, so that it is shown as in a mirror. */
  get mirrored() {
    return this.#stream?.getVideoTracks()[0].getSettings().facingMode === "user";
  }

  /** Starts it; with `turn` the camera on the other side. Rejects where there is none or it may not be used. */
  async start(turn = false) {
    if (!navigator.mediaDevices) throw new Error("The camera needs a page from https:// or localhost.");
    if (turn) this.#facing = this.#facing === "user" ? "environment" : "user";
    this.stop();
    const video = { facingMode: this.#facing, width: { ideal: 640 }, height: { ideal: 480 } };
    this.#stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    this.video.srcObject = this.#stream;
    await this.video.play();
    this.#follow(this.#stream);
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.video.srcObject = null;
  }

  async #follow(stream) {
    while (this.#stream === stream) {
      await this.#shown();
      if (this.#stream === stream) await this.onFrame();
    }
  }

  #shown() {
    return new Promise((resolve) => {
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
  }
}

/** How many cameras there are; 0 where the browser does not tell. */
export async function countCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === "videoinput").length;
}

/** A sentence for an error of `Camera.start`. */
export function cameraProblem(error) {
  if (error.name === "NotAllowedError") return "The camera may not be used: allow it in the browser's settings of this page.";
  if (error.name === "NotFoundError") return "No camera was found.";
  if (error.name === "NotReadableError") return "The camera is in use by another program.";
  return error.message;
}
