"""The program in C++ that a bundle carries for ncnn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...arch.spec import Preprocessing
from ...data.preprocess import resized_sides

_PROGRAM = """\
// Says what a picture shows. It needs ncnn and OpenCV (for reading{and_resizing} pictures):
//   g++ -std=c++17 main.cpp -o classify $(pkg-config --cflags --libs opencv4) -lncnn -fopenmp
//   ./classify BUNDLE IMAGE...
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

#include "net.h"

static const char *const LABELS[] = {{
    {labels},
}};
static const int SIZE = {size};            // pixels, of a side
static const float TEMPERATURE = {temperature}f;  // scores are softmax(logits / TEMPERATURE)
static const float THRESHOLD = {threshold}f;    // below it the answer is "unknown"

{fit}

int main(int argc, char **argv) {{
    if (argc < 3) {{
        std::fprintf(stderr, "usage: %s BUNDLE IMAGE...\\n", argv[0]);
        return 2;
    }}
    const std::string bundle = argv[1];
    ncnn::Net net;
{exact}    if (net.load_param((bundle + "/{param}").c_str()) ||
        net.load_model((bundle + "/{numbers}").c_str())) {{
        std::fprintf(stderr, "error: %s: no bundle with files of ncnn\\n", bundle.c_str());
        return 2;
    }}
    for (int i = 2; i < argc; ++i) {{
        cv::Mat bgr = cv::imread(argv[i], cv::IMREAD_COLOR), rgb;
        if (bgr.empty()) {{
            std::fprintf(stderr, "error: %s: no picture\\n", argv[i]);
            return 2;
        }}
        cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
        rgb = fit(rgb);
        ncnn::Extractor extractor = net.create_extractor();
        extractor.input("image", ncnn::Mat::from_pixels(rgb.data, ncnn::Mat::PIXEL_RGB, SIZE, SIZE));
        ncnn::Mat logits;
        extractor.extract("logits", logits);
        std::vector<float> scores(logits.w);
        const float largest = *std::max_element(logits.row(0), logits.row(0) + logits.w);
        for (int c = 0; c < logits.w; ++c) scores[c] = std::exp((logits[c] - largest) / TEMPERATURE);
        const float sum = std::accumulate(scores.begin(), scores.end(), 0.f);
        std::vector<int> order(logits.w);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) {{ return scores[a] > scores[b]; }});
        const float best = scores[order[0]] / sum;
        if (best < THRESHOLD) std::printf("%s\\tunknown\\t%.4f\\n", argv[i], best);
        for (size_t k = 0; k < order.size() && k < 5; ++k)
            std::printf("%s\\t%s\\t%.4f\\n", argv[i], LABELS[order[k]], scores[order[k]] / sum);
    }}
    return 0;
}}
"""

_RESIZE = """\
// Averages along a side that shrinks, interpolates along a side that grows, the shrinking first.
static cv::Mat resize(cv::Mat image, int height, int width) {
    cv::resize(image, image, cv::Size(std::min(width, image.cols), std::min(height, image.rows)), 0, 0, cv::INTER_AREA);
    cv::resize(image, image, cv::Size(width, height), 0, 0, cv::INTER_LINEAR);
    return image;
}

"""

_SHORTEST = """\
// The picture as the network takes it: the short side becomes {short}, then the centre is cut out.
static cv::Mat fit(const cv::Mat &image) {{
    const int h = image.rows, w = image.cols;
    const int longer = int(double(std::max(h, w)) * {short} / std::min(h, w) + 0.5);
    cv::Mat resized = h <= w ? resize(image, {short}, longer) : resize(image, longer, {short});
    return resized(cv::Rect((resized.cols - SIZE) / 2, (resized.rows - SIZE) / 2, SIZE, SIZE)).clone();
}}"""

_SQUASH = """\
// The picture as the network takes it: resized, whatever its shape.
static cv::Mat fit(const cv::Mat &image) {{ return resize(image, SIZE, SIZE); }}"""

_CENTRAL = """\
// The picture as the network takes it: its middle, resized.
static cv::Mat fit(const cv::Mat &image) {{
    const int top = int((image.rows - image.rows * {fraction!r}) / 2);
    const int left = int((image.cols - image.cols * {fraction!r}) / 2);
    return resize(image(cv::Rect(left, top, image.cols - 2 * left, image.rows - 2 * top)), SIZE, SIZE);
}}"""

_FITTED = """\
// This network's pictures are resized with Pillow's {interpolation} kernel, which OpenCV does not have: they have to
// come resized and cropped, as bundle.json says under preprocessing.by_the_app.
static cv::Mat fit(const cv::Mat &image) {{
    if (image.rows != SIZE || image.cols != SIZE) {{
        std::fprintf(stderr, "error: a picture has to have %d x %d pixels\\n", SIZE, SIZE);
        std::exit(2);
    }}
    return image;
}}"""

_EXACT = """\
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = false;  // float32, as stored
"""


def cpp_example(
    preprocessing: Preprocessing,
    param: str,
    numbers: str,
    *,
    labels: list[str],
    decision: Mapping[str, Any],
    exact: bool,
) -> str:
    """The source of main.cpp; `decision` as in bundle.json; `exact`: ncnn must not compute in float16."""
    size = preprocessing.resolution
    short = min(resized_sides(size, size, preprocessing))
    fits = {"shortest": _SHORTEST, "squash": _SQUASH, "central": _CENTRAL}
    if preprocessing.interpolation == "area_linear":
        fit, resize = fits[preprocessing.resize], _RESIZE
    else:
        fit, resize = _FITTED, ""
    names = {"short": short, "fraction": preprocessing.crop_fraction, "interpolation": preprocessing.interpolation}
    return _PROGRAM.format(
        and_resizing=" and resizing" if resize else "",
        labels=",\n    ".join(map(quoted, labels)),
        size=size,
        temperature=repr(float(decision["temperature"] or 1.0)),
        threshold=repr(float(decision["threshold"] or 0.0)),
        fit=resize + fit.format(**names),
        exact=_EXACT if exact else "",
        param=param,
        numbers=numbers,
    )


def quoted(text: str) -> str:
    """A string literal of C++: UTF-8 bytes as they are, what would end it escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("?", "\\?")
    return f'"{escaped}"'
