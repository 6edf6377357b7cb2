"""The programs that a bundle carries for ExecuTorch: Python, and C++ with all that an app does before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import Template
from typing import Any

from ...arch.spec import Preprocessing, Spec
from ...data.preprocess import resized_sides
from ..example import python_example


def example_in_python(manifest: Mapping[str, Any], path: str) -> str:
    """A program of under 40 lines; ExecuTorch's Python runtime takes torch's tensors only, so torch is needed."""
    return python_example(
        Spec.from_json(manifest["spec"]).preprocessing,
        name="example_executorch.py",
        package="executorch (whose Python runtime takes torch tensors only)",
        imports="import torch\nfrom executorch.runtime import Runtime",
        setup=f'method = Runtime.get().load_program(HERE / "{path}").load_method("forward")',
        run="method.execute([torch.from_numpy(image[None])])[0][0].numpy()",
    )


def cpp_example(manifest: Mapping[str, Any], path: str) -> str:
    """C++17 that reads a PPM picture, resizes and crops as `bundle.json` states, and prints the answer."""
    preprocessing = Spec.from_json(manifest["spec"]).preprocessing
    decision = manifest["decision"]
    return Template(_PROGRAM).substitute(
        path=path,
        size=preprocessing.resolution,
        temperature=f"{float(decision['temperature'] or 1.0)!r}f",
        threshold=f"{float(decision['threshold'] or 0.0)!r}f",
        labels="\n".join(f"    {json.dumps(row['name'], ensure_ascii=False)}," for row in manifest["labels"]),
        resize=_RESIZE[preprocessing.interpolation],
        fit=Template(_FIT[preprocessing.resize]).substitute(_numbers(preprocessing)),
    )


def _numbers(preprocessing: Preprocessing) -> dict[str, str]:
    size = preprocessing.resolution
    return {
        "short": str(min(resized_sides(size, size, preprocessing))),
        "fraction": repr(preprocessing.crop_fraction),
    }


_PROGRAM = """\
// Says what a picture shows: ./main $path PICTURE.ppm   (a binary PPM; an app has its camera's RGB pixels instead)
//
// CMakeLists.txt, with ExecuTorch from pip (CMake 3.28) or from source:
//   find_package(executorch CONFIG REQUIRED COMPONENTS runtime kernels_optimized backend_xnnpack)
//   add_executable(main main.cpp)
//   target_compile_features(main PRIVATE cxx_std_17)
//   target_link_libraries(main PRIVATE executorch::runtime executorch::kernels_optimized executorch::backend_xnnpack)
// and -DCMAKE_PREFIX_PATH=$$(python -c 'import executorch; print(executorch.__path__[0])')/share/cmake
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

constexpr int kSize = $size;
constexpr float kTemperature = $temperature;
constexpr float kThreshold = $threshold;  // an answer whose score lies below it is "unknown"
const char* const kLabels[] = {
$labels
};
constexpr int kClasses = sizeof(kLabels) / sizeof(kLabels[0]);

struct Image {  // RGB, row after row
  int width, height;
  std::vector<uint8_t> pixels;
};

struct Taps {  // which input pixels make one output pixel, and by what weights
  int first;
  std::vector<double> weights;
};

uint8_t Rounded(double value) { return static_cast<uint8_t>(std::clamp(std::floor(value + 0.5), 0.0, 255.0)); }

Image Filtered(const Image& in, const std::vector<Taps>& columns, const std::vector<Taps>& rows) {
  Image out{static_cast<int>(columns.size()), static_cast<int>(rows.size()), {}};
  out.pixels.resize(size_t{3} * out.width * out.height);
  std::vector<double> line(size_t{3} * in.width);
  for (int y = 0; y < out.height; ++y) {
    std::fill(line.begin(), line.end(), 0.0);
    for (size_t k = 0; k < rows[y].weights.size(); ++k)
      for (size_t i = 0; i < line.size(); ++i)
        line[i] += rows[y].weights[k] * in.pixels[(rows[y].first + k) * line.size() + i];
    for (int x = 0; x < out.width; ++x)
      for (int c = 0; c < 3; ++c) {
        double sum = 0;
        for (size_t k = 0; k < columns[x].weights.size(); ++k)
          sum += columns[x].weights[k] * line[3 * (columns[x].first + k) + c];
        out.pixels[3 * (size_t{1} * y * out.width + x) + c] = Rounded(sum);
      }
  }
  return out;
}

$resize
Image Cut(const Image& in, int left, int top, int width, int height) {
  Image out{width, height, {}};
  for (int y = top; y < top + height; ++y) {
    const uint8_t* row = &in.pixels[3 * (size_t{1} * y * in.width + left)];
    out.pixels.insert(out.pixels.end(), row, row + 3 * width);
  }
  return out;
}

Image Fitted(const Image& in) {
$fit
}

bool Read(const char* path, Image& image) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int largest = 0;
  if (!(file >> magic >> image.width >> image.height >> largest) || magic != "P6" || largest != 255) return false;
  file.get();
  image.pixels.resize(size_t{3} * image.width * image.height);
  return static_cast<bool>(file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size()));
}

int main(int argc, char** argv) {
  Image picture;
  if (argc != 3 || !Read(argv[2], picture)) {
    std::fprintf(stderr, "usage: %s MODEL.pte PICTURE.ppm\\n", argv[0]);
    return 2;
  }
  Image image = Fitted(picture);
  executorch::extension::Module module(argv[1]);
  auto input = executorch::extension::from_blob(
      image.pixels.data(), {1, kSize, kSize, 3}, executorch::aten::ScalarType::Byte);
  const auto output = module.forward(input);
  if (!output.ok()) {
    std::fprintf(stderr, "%s could not be run\\n", argv[1]);
    return 1;
  }
  const float* logits = output->at(0).toTensor().const_data_ptr<float>();

  std::vector<float> scores(logits, logits + kClasses);
  const float largest = *std::max_element(scores.begin(), scores.end());
  for (float& score : scores) score = std::exp((score - largest) / kTemperature);
  const float sum = std::accumulate(scores.begin(), scores.end(), 0.0f);
  const int best = static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  const float score = scores[best] / sum;
  std::printf("%s\\t%.4f\\n", score < kThreshold ? "unknown" : kLabels[best], score);
  return 0;
}
"""

_AREA_LINEAR = """\
// A side that shrinks averages the pixels it covers, a side that grows is interpolated, the shrinking first.
std::vector<Taps> Side(int from, int to) {
  std::vector<Taps> taps(to);
  const double scale = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    if (to > from) {
      const double centre = std::clamp((i + 0.5) * scale - 0.5, 0.0, from - 1.0);
      const int first = std::min(static_cast<int>(centre), std::max(from - 2, 0));
      taps[i] = from == 1 ? Taps{0, {1.0}} : Taps{first, {1 - (centre - first), centre - first}};
      continue;
    }
    const int first = static_cast<int>(i * scale + 1e-9);
    taps[i].first = first;
    for (int k = first; k < from && k < (i + 1) * scale - 1e-9; ++k)
      taps[i].weights.push_back((std::min(k + 1.0, (i + 1) * scale) - std::max<double>(k, i * scale)) / scale);
  }
  return taps;
}

Image Resized(const Image& in, int width, int height) {
  const int w = std::min(width, in.width), h = std::min(height, in.height);
  const Image less = Filtered(in, Side(in.width, w), Side(in.height, h));
  return Filtered(less, Side(w, width), Side(h, height));
}
"""

_PILLOW = """\
// Pillow's antialiased $name kernel: stretched where a side shrinks, the horizontal pass first, each rounded.
double Kernel(double x) {
  x = std::fabs(x);
  $kernel
}

std::vector<Taps> Side(int from, int to) {
  std::vector<Taps> taps(to);
  const double scale = static_cast<double>(from) / to, stretch = std::max(scale, 1.0);
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - $support * stretch + 0.5), 0);
    const int end = std::min(static_cast<int>(centre + $support * stretch + 0.5), from);
    taps[i].first = first;
    double sum = 0;
    for (int k = first; k < end; ++k) taps[i].weights.push_back(Kernel((k - centre + 0.5) / stretch));
    for (double weight : taps[i].weights) sum += weight;
    for (double& weight : taps[i].weights) weight /= sum;
  }
  return taps;
}

Image Resized(const Image& in, int width, int height) {
  std::vector<Taps> same(in.height);
  for (int y = 0; y < in.height; ++y) same[y] = {y, {1.0}};
  const Image across = Filtered(in, Side(in.width, width), same);
  std::vector<Taps> columns(width);
  for (int x = 0; x < width; ++x) columns[x] = {x, {1.0}};
  return Filtered(across, columns, Side(in.height, height));
}
"""

_RESIZE = {
    "area_linear": _AREA_LINEAR,
    "bilinear": Template(_PILLOW).substitute(name="bilinear", support="1.0", kernel="return std::max(1 - x, 0.0);"),
    "bicubic": Template(_PILLOW).substitute(
        name="bicubic",
        support="2.0",
        kernel="return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0.0;",
    ),
}

_FIT = {
    "shortest": """\
  const int longest = static_cast<int>(std::max(in.width, in.height) * $short.0 / std::min(in.width, in.height) + 0.5);
  const Image fitted = in.height <= in.width ? Resized(in, longest, $short) : Resized(in, $short, longest);
  return Cut(fitted, (fitted.width - kSize) / 2, (fitted.height - kSize) / 2, kSize, kSize);""",
    "squash": "  return Resized(in, kSize, kSize);",
    "central": """\
  const int left = static_cast<int>((in.width - in.width * $fraction) / 2);
  const int top = static_cast<int>((in.height - in.height * $fraction) / 2);
  return Resized(Cut(in, left, top, in.width - 2 * left, in.height - 2 * top), kSize, kSize);""",
}
