// The resize and crop that bundle.json states, as mobilenets does them in Python: pixels in, the network's input out.
// A picture is {data, width, height}: data holds RGB, 3 bytes a pixel, row by row.

/** The network's input, a Uint8Array of R * R * 3, from a picture; `contract` is bundle.json's `preprocessing`. */
export function prepare(picture, contract) {
  const size = contract.resolution;
  const { left, top, width, height } = seen(picture.width, picture.height, contract);
  if (contract.resize !== "shortest") {
    return resize(cut(picture, left, top, width, height), size, size, contract.interpolation).data;
  }
  const [w, h] = sides(picture.width, picture.height, contract.short_side);
  const resized = resize(picture, w, h, contract.interpolation);
  return cut(resized, (w - size) >> 1, (h - size) >> 1, size, size).data;
}

/** The part of a picture that the network sees: {left, top, width, height} in pixels of the picture. */
export function seen(width, height, contract) {
  if (contract.resize === "squash") return { left: 0, top: 0, width, height };
  if (contract.resize === "central") {
    const [left, top] = [width, height].map((side) => Math.trunc((side - side * contract.crop_fraction) / 2));
    return { left, top, width: width - 2 * left, height: height - 2 * top };
  }
  const size = contract.resolution;
  const [w, h] = sides(width, height, contract.short_side);
  return {
    left: (((w - size) >> 1) * width) / w,
    top: (((h - size) >> 1) * height) / h,
    width: (size * width) / w,
    height: (size * height) / h,
  };
}

/** RGB of RGBA bytes, what is transparent composited on white. */
export function opaque(rgba) {
  const out = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, o = 0; i < rgba.length; i += 4, o += 3) {
    const alpha = rgba[i + 3];
    for (let c = 0; c < 3; c++) {
      out[o + c] = alpha === 255 ? rgba[i + c] : Math.floor((rgba[i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return out;
}

/** The picture resized to width x height by `interpolation`: area_linear, bilinear or bicubic. */
export function resize(picture, width, height, interpolation) {
  if (interpolation === "area_linear") {
    const smaller = area(picture, Math.min(width, picture.width), Math.min(height, picture.height));
    return linear(smaller, width, height);
  }
  const kernel = { bilinear: [triangle, 1], bicubic: [cubic, 2] }[interpolation];
  if (!kernel) throw new Error(`unknown interpolation ${interpolation}`);
  return convolveDown(convolveAcross(picture, width, ...kernel), height, ...kernel);
}

function sides(width, height, short) {
  const long = Math.floor((Math.max(width, height) * short) / Math.min(width, height) + 0.5);
  return height <= width ? [long, short] : [short, long];
}

function cut(picture, left, top, width, height) {
  if (width === picture.width && height === picture.height) return picture;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * picture.width + left) * 3;
    data.set(picture.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { data, width, height };
}

/** OpenCV's INTER_AREA: both sides shrink or stay. */
function area(picture, width, height) {
  if (width === picture.width && height === picture.height) return picture;
  const across = 1 / (width / picture.width);
  const down = 1 / (height / picture.height);
  const whole = [across, down].every((scale) => Math.abs(scale - Math.round(scale)) < Number.EPSILON);
  return whole
    ? areaOfWhole(picture, width, height, Math.round(across), Math.round(down))
    : areaOfParts(picture, width, height, across, down);
}

/** Each output pixel averages `across` x `down` whole pixels. */
function areaOfWhole({ data, width: w }, width, height, across, down) {
  const out = new Uint8Array(width * height * 3);
  const factor = Math.fround(1 / (across * down));
  for (let y = 0, o = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++, o++) {
        let sum = 0;
        for (let j = 0; j < down; j++) {
          let i = ((y * down + j) * w + x * across) * 3 + c;
          for (let k = 0; k < across; k++, i += 3) sum += data[i];
        }
        out[o] = across === 2 && down === 2 ? (sum + 2) >> 2 : roundHalfEven(Math.fround(sum * factor));
      }
    }
  }
  return { data: out, width, height };
}

/** Each output pixel averages the pixels that it covers, weighted by overlap, in single precision as OpenCV does. */
function areaOfParts({ data, width: w, height: h }, width, height, across, down) {
  const columns = overlaps(w, width, across);
  const rows = overlaps(h, height, down);
  const out = new Uint8Array(width * height * 3);
  const line = new Float32Array(width * 3);
  const sum = new Float32Array(width * 3);
  for (let r = 0; r < rows.to.length; r++) {
    if (r === 0 || rows.from[r] !== rows.from[r - 1]) averageRow(data, rows.from[r] * w * 3, columns, line);
    const weight = rows.weight[r];
    const begins = r === 0 || rows.to[r] !== rows.to[r - 1];
    for (let o = 0; o < sum.length; o++) sum[o] = begins ? weight * line[o] : sum[o] + weight * line[o];
    if (r + 1 === rows.to.length || rows.to[r + 1] !== rows.to[r]) {
      const at = rows.to[r] * width * 3;
      for (let o = 0; o < sum.length; o++) out[at + o] = roundHalfEven(sum[o]);
    }
  }
  return { data: out, width, height };
}

/** Fills `line` with the averages along one row of the input, which begins at data[start]. */
function averageRow(data, start, { to, from, weight }, line) {
  for (let k = 0; k < to.length; ) {
    const x = to[k];
    let red = 0;
    let green = 0;
    let blue = 0;
    for (; k < to.length && to[k] === x; k++) {
      const i = start + from[k] * 3;
      red = Math.fround(red + data[i] * weight[k]);
      green = Math.fround(green + data[i + 1] * weight[k]);
      blue = Math.fround(blue + data[i + 2] * weight[k]);
    }
    line[x * 3] = red;
    line[x * 3 + 1] = green;
    line[x * 3 + 2] = blue;
  }
}

/** Which input pixels each output pixel covers and by how much: parallel lists, in order of the output. */
function overlaps(input, output, scale) {
  const to = [];
  const from = [];
  const weight = [];
  const add = (...entry) => [to, from, weight].forEach((list, index) => list.push(entry[index]));
  for (let i = 0; i < output; i++) {
    const begin = i * scale;
    const end = begin + scale;
    const width = Math.min(scale, input - begin);
    const last = Math.min(Math.floor(end), input - 1);
    const first = Math.min(Math.ceil(begin), last);
    if (first - begin > 1e-3) add(i, first - 1, Math.fround((first - begin) / width));
    for (let pixel = first; pixel < last; pixel++) add(i, pixel, Math.fround(1 / width));
    if (end - last > 1e-3) add(i, last, Math.fround(Math.min(end - last, 1, width) / width));
  }
  return { to: Int32Array.from(to), from: Int32Array.from(from), weight: Float32Array.from(weight) };
}

/** OpenCV's INTER_LINEAR in its fixed-point numbers: both sides grow or stay. */
function linear({ data, width: w, height: h }, width, height) {
  if (width === w && height === h) return { data, width, height };
  const columns = between(w, width);
  const rows = between(h, height);
  const out = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++) {
    const [above, below, near, far] = rows[y];
    for (let x = 0; x < width; x++) {
      const [left, right, a, b] = columns[x];
      for (let c = 0; c < 3; c++, o++) {
        const upper = data[(above * w + left) * 3 + c] * a + data[(above * w + right) * 3 + c] * b;
        const lower = data[(below * w + left) * 3 + c] * a + data[(below * w + right) * 3 + c] * b;
        out[o] = (((near * (upper >> 4)) >> 16) + ((far * (lower >> 4)) >> 16) + 2) >> 2;
      }
    }
  }
  return { data: out, width, height };
}

/** For each output pixel its two neighbours and their weights, in 2048ths. */
function between(input, output) {
  const scale = 1 / (output / input);
  return Array.from({ length: output }, (_, i) => {
    const centre = Math.fround((i + 0.5) * scale - 0.5);
    let first = Math.floor(centre);
    let part = Math.fround(centre - first);
    if (first < 0) [first, part] = [0, 0];
    if (first >= input - 1) [first, part] = [input - 1, 0];
    const far = roundHalfEven(Math.fround(part * 2048));
    return [first, Math.min(first + 1, input - 1), roundHalfEven(Math.fround(Math.fround(1 - part) * 2048)), far];
  });
}

/** Pillow's resampling along each row. */
function convolveAcross({ data, width: w, height }, width, kernel, radius) {
  if (w === width) return { data, width, height };
  const out = new Uint8Array(width * height * 3);
  weights(w, width, kernel, radius).forEach(({ first, values }, x) => {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0, i = (y * w + first) * 3 + c; k < values.length; k++, i += 3) sum += values[k] * data[i];
        out[(y * width + x) * 3 + c] = clipped(Math.fround(sum));
      }
    }
  });
  return { data: out, width, height };
}

/** Pillow's resampling along each column. */
function convolveDown({ data, width, height: h }, height, kernel, radius) {
  if (h === height) return { data, width, height };
  const out = new Uint8Array(width * height * 3);
  const line = width * 3;
  weights(h, height, kernel, radius).forEach(({ first, values }, y) => {
    for (let o = 0; o < line; o++) {
      let sum = 0;
      for (let k = 0, i = first * line + o; k < values.length; k++, i += line) sum += values[k] * data[i];
      out[y * line + o] = clipped(Math.fround(sum));
    }
  });
  return { data: out, width, height };
}

/** For each output pixel the first input pixel of its kernel and the kernel's weights, their sum 1. */
function weights(input, output, kernel, radius) {
  const scale = input / output;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: output }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - radius * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(centre + radius * stretch + 0.5), input);
    const raw = Array.from({ length: end - first }, (_, k) => kernel((first + k + 0.5 - centre) / stretch));
    const total = raw.reduce((sum, value) => sum + value, 0);
    return { first, values: Float32Array.from(raw, (value) => value / total) };
  });
}

function triangle(x) {
  return Math.max(0, 1 - Math.abs(x));
}

/** Keys' cubic convolution with a = -1/2. */
function cubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

function clipped(value) {
  return Math.floor(Math.min(Math.max(value + 0.5, 0), 255.5));
}

function roundHalfEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}
