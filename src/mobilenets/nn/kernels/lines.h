// The last few image rows as float32 with zeros around them: what a depthwise kernel slides over.
#pragma once

#include "vectors.h"

// The sizes of one depthwise convolution; images lie in memory as (n, h, w, c). `top` and `left` are the padding before;
// what lies after the input's end counts as zero.
struct Shape {
    int64_t n, h, w, c, oh, ow, k, stride, dilation, top, left;

    int64_t reach() const { return (k - 1) * dilation; }
};

// A ring of `rows` rows of `width` columns of padded(c) floats. Row i of the image lies in slot i % rows, its column 0 at
// ring column `left`; what does not fit is cut off. Rows outside the image are a row of zeros.
template <typename T> struct Lines {
    const T* image;
    int64_t h, w, c, cp, rows, width, left;
    int64_t next = 0; // the first row that is not loaded yet
    Scratch<float> memory;

    Lines(int64_t h, int64_t w, int64_t c, int64_t rows, int64_t width, int64_t left)
        : image(nullptr), h(h), w(w), c(c), cp(padded(c)), rows(rows), width(width), left(left),
          memory((rows + 1) * width * cp) {}

    void begin(const T* start, int64_t first_row) {
        image = start;
        next = first_row > 0 ? first_row : 0;
    }

    // Loads the rows up to `last`, the oldest ones make room.
    void reach(int64_t last) {
        for (; next <= last && next < h; next++) {
            float* slot = memory.data + (next % rows) * width * cp;
            const T* row = image + next * w * c;
            int64_t from = left < 0 ? -left : 0;
            int64_t to = w < width - left ? w : width - left;
            for (int64_t x = from; x < to; x++) {
                float* out = slot + (left + x) * cp;
                const T* in = row + x * c;
                int64_t i = 0;
                for (; i + LANES <= c; i += LANES) store(out + i, load(in + i));
                if (i < c) store(out + i, load(in + i, c - i));
            }
        }
    }

    const float* row(int64_t index) const {
        bool inside = index >= 0 && index < h;
        return memory.data + (inside ? index % rows : rows) * width * cp;
    }
};

// (c, k, k) -> (k * k, padded(c)), turned by 180 degrees where `flip`.
inline void repack(const float* weight, float* out, const Shape& s, bool flip) {
    int64_t taps = s.k * s.k, cp = padded(s.c);
    for (int64_t c = 0; c < s.c; c++)
        for (int64_t t = 0; t < taps; t++) out[(flip ? taps - 1 - t : t) * cp + c] = weight[c * taps + t];
}

// How many parts each image's rows are split into, so that every thread has work.
inline int64_t parts_per_image(int64_t images, int64_t rows, int64_t threads) {
    int64_t wanted = images >= 2 * threads ? 1 : (2 * threads + images - 1) / images;
    return wanted < rows ? wanted : rows;
}
