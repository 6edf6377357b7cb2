// From what a browser shows to pixels: {data, width, height} with data RGB, 3 bytes a pixel.

import { opaque } from "./preprocess.js";

const MOST_PIXELS = 16_000_000; // what a phone's canvas holds; a larger picture is shrunk by the browser first

const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });

/** The pixels of a picture file, turned upright by its EXIF orientation. */
export async function pixelsOfFile(file) {
  const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  let bitmap = await createImageBitmap(file, exact);
  const ratio = Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height));
  if (ratio < 1) {
    const resizeWidth = Math.floor(bitmap.width * ratio);
    const resizeHeight = Math.floor(bitmap.height * ratio);
    bitmap.close();
    bitmap = await createImageBitmap(file, { ...exact, resizeWidth, resizeHeight, resizeQuality: "high" });
  }
  const pixels = pixelsOf(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return pixels;
}

/** The pixels of a video's present frame. */
export function pixelsOfVideo(video) {
  return pixelsOf(video, video.videoWidth, video.videoHeight);
}

function pixelsOf(source, width, height) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.clearRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  return { data: opaque(context.getImageData(0, 0, width, height).data), width, height };
}
