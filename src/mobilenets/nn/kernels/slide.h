// One row of a depthwise convolution's output from the rows of its input.
//
// Channels are the vector axis. A block of B output columns stays in registers, so that each loaded input vector serves all
// the taps that it meets. `weight` is (k * k, padded(c)); accumulation is float32.
#pragma once

#include "lines.h"

// Sixteen channels of B outputs in a row, from K rows of input.
template <int K, int S, int B>
INLINE void slide(const float* const* rows, const float* weight, int64_t cp, int64_t c, Floats* sum) {
    UNROLL for (int b = 0; b < B; b++) sum[b] = Floats{};
    for (int i = 0; i < K; i++) {
        const float* row = rows[i] + c;
        Floats tap[K];
        UNROLL for (int j = 0; j < K; j++) tap[j] = load(weight + (i * K + j) * cp + c);
        UNROLL for (int x = 0; x < (B - 1) * S + K; x++) {
            Floats v = load(row + x * cp);
            UNROLL for (int j = 0; j < K; j++) {
                if (x >= j && (x - j) % S == 0 && (x - j) / S < B) sum[(x - j) / S] += v * tap[j];
            }
        }
    }
}

template <typename T> INLINE void keep(T* out, const Floats* sum, int64_t c, int64_t channels, int64_t columns) {
    int64_t lanes = channels - c;
    for (int64_t b = 0; b < columns; b++) store(out + b * channels + c, sum[b], lanes);
}

template <typename T, int K, int S, int B>
void row_of_blocks(const float* const* rows, const float* weight, T* out, int64_t width, int64_t channels) {
    int64_t cp = padded(channels);
    for (int64_t x = 0; x < width; x += B) {
        const float* at[K];
        for (int i = 0; i < K; i++) at[i] = rows[i] + x * S * cp;
        int64_t columns = width - x < B ? width - x : B;
        for (int64_t c = 0; c < channels; c += LANES) {
            Floats sum[B];
            slide<K, S, B>(at, weight, cp, c, sum);
            if (columns == B && c + LANES <= channels) {
                UNROLL for (int b = 0; b < B; b++) store(out + (x + b) * channels + c, sum[b]);
            } else {
                keep(out + x * channels, sum, c, channels, columns);
            }
        }
    }
}

// Any kernel, stride and dilation, one output at a time.
template <typename T>
void row_of_any(const float* const* rows, const float* weight, T* out, const Shape& s) {
    int64_t cp = padded(s.c);
    for (int64_t x = 0; x < s.ow; x++)
        for (int64_t c = 0; c < s.c; c += LANES) {
            Floats sum{};
            for (int64_t i = 0; i < s.k; i++)
                for (int64_t j = 0; j < s.k; j++)
                    sum += load(rows[i] + (x * s.stride + j * s.dilation) * cp + c) * load(weight + (i * s.k + j) * cp + c);
            store(out + x * s.c + c, sum, s.c - c);
        }
}

constexpr int NARROW = 4, WIDE = 7; // columns in registers: 7 divides the rows of a 224-pixel network, 4 most others

INLINE int64_t columns_in_blocks(int64_t width, int64_t block) { return (width + block - 1) / block * block; }

INLINE bool wide_is_better(int64_t width) {
    return 10 * columns_in_blocks(width, WIDE) <= 11 * columns_in_blocks(width, NARROW);
}

template <typename T> void one_row(const float* const* rows, const float* weight, T* out, const Shape& s) {
    bool wide = wide_is_better(s.ow);
#define CASE(K, S)                                                                                                         \
    if (s.k == K && s.stride == S)                                                                                         \
        return wide ? row_of_blocks<T, K, S, WIDE>(rows, weight, out, s.ow, s.c)                                           \
                    : row_of_blocks<T, K, S, NARROW>(rows, weight, out, s.ow, s.c);
    if (s.dilation == 1) {
        CASE(3, 1) CASE(3, 2) CASE(5, 1) CASE(5, 2) CASE(7, 1) CASE(7, 2)
    }
#undef CASE
    row_of_any(rows, weight, out, s);
}
