// The gradients of a depthwise convolution, multiplier 1, of images that lie in memory as (n, h, w, c).
//
// Both are made in one pass over the rows of the output's gradient. At stride 1 the input's gradient is a convolution with
// the kernel turned by 180 degrees; at stride 2 each row uses the taps of its own parity. The weight's gradient is summed
// in float32 within an image and in double over a thread's images; the threads' sums are added in their order.
#include "slide.h"

namespace {

constexpr int SPREAD = 8; // columns of the input's gradient in registers at stride 2

template <typename T, int K>
void spread_row(const float* const* rows, const int64_t* taps, int64_t count, const float* weight, T* out, const Shape& s) {
    int64_t cp = padded(s.c), begin = s.left & ~int64_t(1);
    for (int64_t u = begin; u < s.left + s.w; u += SPREAD) {
        int64_t from = u < s.left ? s.left - u : 0;
        int64_t to = s.left + s.w - u < SPREAD ? s.left + s.w - u : SPREAD;
        int64_t column = (u - begin) / 2 * cp;
        for (int64_t c = 0; c < s.c; c += LANES) {
            Floats sum[SPREAD] = {};
            for (int64_t r = 0; r < count; r++) {
                const float* row = rows[r] + column + c;
                Floats tap[K];
                UNROLL for (int j = 0; j < K; j++) tap[j] = load(weight + (taps[r] * K + j) * cp + c);
                UNROLL for (int t = 0; t < (SPREAD + K - 1) / 2; t++) {
                    Floats v = load(row + t * cp);
                    UNROLL for (int j = 0; j < K; j++) {
                        int b = 2 * t - (K - 1) + j;
                        if (b >= 0 && b < SPREAD) sum[b] += v * tap[j];
                    }
                }
            }
            T* to_here = out + (u - s.left) * s.c + c;
            if (from == 0 && to == SPREAD && c + LANES <= s.c) {
                UNROLL for (int b = 0; b < SPREAD; b++) store(to_here + b * s.c, sum[b]);
            } else {
                for (int64_t b = from; b < to; b++) store(to_here + b * s.c, sum[b], s.c - c);
            }
        }
    }
}

// The same for any kernel, stride and dilation; column 0 of dy lies at `rows[r]`.
template <typename T>
void spread_any(const float* const* rows, const int64_t* taps, int64_t count, const float* weight, T* out, const Shape& s) {
    int64_t cp = padded(s.c);
    for (int64_t x = 0; x < s.w; x++)
        for (int64_t c = 0; c < s.c; c += LANES) {
            Floats sum{};
            for (int64_t j = 0; j < s.k; j++) {
                int64_t u = x + s.left - j * s.dilation;
                if (u < 0 || u % s.stride || u / s.stride >= s.ow) continue;
                for (int64_t r = 0; r < count; r++)
                    sum += load(rows[r] + u / s.stride * cp + c) * load(weight + (taps[r] * s.k + j) * cp + c);
            }
            store(out + x * s.c + c, sum, s.c - c);
        }
}

// Adds one row's part of the weight's gradient to G rows of taps.
template <int K, int S, int G>
INLINE void gather(const float* const* rows, const float* dy, float* sums, int64_t width, int64_t cp, int64_t c) {
    Floats sum[G * K];
    UNROLL for (int t = 0; t < G * K; t++) sum[t] = load(sums + t * cp + c);
    for (int64_t x = 0; x < width; x += NARROW) {
        Floats g[NARROW];
        UNROLL for (int b = 0; b < NARROW; b++) g[b] = load(dy + (x + b) * cp + c);
        UNROLL for (int i = 0; i < G; i++) {
            const float* row = rows[i] + x * S * cp + c;
            UNROLL for (int e = 0; e < (NARROW - 1) * S + K; e++) {
                Floats v = load(row + e * cp);
                UNROLL for (int j = 0; j < K; j++) {
                    if (e >= j && (e - j) % S == 0 && (e - j) / S < NARROW) sum[i * K + j] += v * g[(e - j) / S];
                }
            }
        }
    }
    UNROLL for (int t = 0; t < G * K; t++) store(sums + t * cp + c, sum[t]);
}

template <int K, int S> void gather_row(const float* const* rows, const float* dy, float* sums, const Shape& s) {
    constexpr int G = K <= 5 ? K : 3; // G * K sums fit the registers
    int64_t cp = padded(s.c);
    for (int64_t c = 0; c < s.c; c += LANES) {
        int i = 0;
        for (; i + G <= K; i += G) gather<K, S, G>(rows + i, dy, sums + i * K * cp, s.ow, cp, c);
        for (; i < K; i++) gather<K, S, 1>(rows + i, dy, sums + i * K * cp, s.ow, cp, c);
    }
}

void gather_any(const float* const* rows, const float* dy, float* sums, const Shape& s) {
    int64_t cp = padded(s.c);
    for (int64_t i = 0; i < s.k; i++)
        for (int64_t j = 0; j < s.k; j++)
            for (int64_t x = 0; x < s.ow; x++) {
                const float* v = rows[i] + (x * s.stride + j * s.dilation) * cp;
                float* sum = sums + (i * s.k + j) * cp;
                for (int64_t c = 0; c < cp; c += LANES)
                    store(sum + c, load(sum + c) + load(v + c) * load(dy + x * cp + c));
            }
}

void weight_row(const float* const* rows, const float* dy, float* sums, const Shape& s) {
#define CASE(K, S) if (s.k == K && s.stride == S) return gather_row<K, S>(rows, dy, sums, s);
    if (s.dilation == 1) {
        CASE(3, 1) CASE(3, 2) CASE(5, 1) CASE(5, 2) CASE(7, 1) CASE(7, 2)
    }
#undef CASE
    gather_any(rows, dy, sums, s);
}

// How the input's gradient is made.
enum Way { TURNED, PARITY, ANY };

Way way_of(const Shape& s) {
    if (s.stride == 1) return TURNED;
    bool known = s.k == 3 || s.k == 5 || s.k == 7;
    return s.stride == 2 && s.dilation == 1 && known ? PARITY : ANY;
}

INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
INLINE int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger_of(int64_t a, int64_t b) { return a > b ? a : b; }

template <typename T> struct Backward {
    const Shape& s;
    Way way;
    const float* packed;
    int64_t cp, dy_left;
    Lines<T> x_lines, dy_lines;
    Scratch<float> sums; // of one image
    Scratch<const float*> rows;
    Scratch<int64_t> taps;

    static int64_t left_of_dy(const Shape& s) {
        Way way = way_of(s);
        if (way == TURNED) return s.reach() - s.left;
        return way == PARITY ? (s.k - 1 - (s.left & ~int64_t(1))) / 2 : 0;
    }
    static int64_t width_of_dy(const Shape& s) {
        return larger_of(s.w + WIDE + s.reach(), left_of_dy(s) + s.ow + NARROW + SPREAD) + s.k;
    }

    Backward(const Shape& s, const float* packed)
        : s(s), way(way_of(s)), packed(packed), cp(padded(s.c)), dy_left(left_of_dy(s)),
          x_lines(s.h, s.w, s.c, s.reach() + 1, (s.ow + NARROW - 2) * s.stride + s.reach() + 1, s.left),
          dy_lines(s.oh, s.ow, s.c, s.reach() / s.stride + 2, width_of_dy(s), dy_left), sums(s.k * s.k * cp),
          rows(s.k), taps(s.k) {}

    bool ready() const { return x_lines.memory.data && dy_lines.memory.data && sums.data && rows.data && taps.data; }

    void input_row(int64_t row, T* out) {
        if (way == TURNED) {
            for (int64_t i = 0; i < s.k; i++) rows.data[i] = dy_lines.row(row + s.top - s.reach() + i * s.dilation);
            Shape turned = s;
            turned.ow = s.w;
            return one_row(rows.data, packed, out, turned);
        }
        int64_t count = 0;
        for (int64_t i = 0; i < s.k; i++) {
            int64_t u = row + s.top - i * s.dilation;
            if (u < 0 || u % s.stride || u / s.stride >= s.oh) continue;
            rows.data[count] = dy_lines.row(u / s.stride);
            taps.data[count++] = i;
        }
        if (way == ANY) return spread_any(rows.data, taps.data, count, packed, out, s);
        if (s.k == 3) return spread_row<T, 3>(rows.data, taps.data, count, packed, out, s);
        if (s.k == 5) return spread_row<T, 5>(rows.data, taps.data, count, packed, out, s);
        spread_row<T, 7>(rows.data, taps.data, count, packed, out, s);
    }

    // Part p of `parts` of one image: `dx` or `total` may be null.
    void image(const T* x, const T* dy, T* dx, double* total, int64_t parts, int64_t p) {
        int64_t o_first = total ? part(s.oh, parts, p) : s.oh, o_end = total ? part(s.oh, parts, p + 1) : 0;
        int64_t i_next = dx ? part(s.h, parts, p) : s.h, i_end = dx ? part(s.h, parts, p + 1) : s.h;
        int64_t begin = o_first, end = o_end;
        if (i_next < i_end) {
            begin = smaller_of(begin, larger_of(0, -floor_div(-(i_next + s.top - s.reach()), s.stride)));
            end = larger_of(end, smaller_of(s.oh, floor_div(i_end - 1 + s.top, s.stride) + 1));
        }
        begin = smaller_of(begin, s.oh - 1); // rows that no output sees are written as zeros
        end = larger_of(end, begin + 1);
        if (total) std::memset(sums.data, 0, s.k * s.k * cp * sizeof(float));
        dy_lines.begin(dy, begin);
        if (total) x_lines.begin(x, o_first * s.stride - s.top);
        for (int64_t o = begin; o < end; o++) {
            dy_lines.reach(o);
            if (o >= o_first && o < o_end) {
                int64_t top = o * s.stride - s.top;
                x_lines.reach(top + s.reach());
                for (int64_t i = 0; i < s.k; i++) rows.data[i] = x_lines.row(top + i * s.dilation);
                weight_row(rows.data, dy_lines.row(o) + dy_left * cp, sums.data, s);
            }
            for (; i_next < i_end && (o == end - 1 || floor_div(i_next + s.top, s.stride) <= o); i_next++)
                input_row(i_next, dx + i_next * s.w * s.c);
        }
        for (int64_t t = 0; total && t < s.k * s.k * cp; t++) total[t] += sums.data[t];
    }
};

template <typename T>
int backward(const T* x, const float* weight, const T* dy, T* dx, float* dw, const Shape& s, int threads) {
    int64_t cp = padded(s.c), taps = s.k * s.k, parts = parts_per_image(s.n, s.oh, threads);
    Scratch<float> packed(taps * cp);
    Scratch<double> totals(dw ? threads * taps * cp : 1);
    if (!packed.data || !totals.data) return 1;
    repack(weight, packed.data, s, way_of(s) == TURNED);
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        Backward<T> work(s, packed.data);
        bool ready = work.ready();
        failed |= !ready;
        double* total = dw ? totals.data + omp_get_thread_num() * taps * cp : nullptr;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < s.n * parts; task++) {
            if (!ready) continue;
            int64_t image = task / parts, before = image * s.h * s.w * s.c;
            work.image(x + before, dy + image * s.oh * s.ow * s.c, dx ? dx + before : nullptr, total, parts, task % parts);
        }
    }
    for (int64_t c = 0; dw && c < s.c; c++)
        for (int64_t t = 0; t < taps; t++) {
            double sum = 0;
            for (int64_t i = 0; i < threads; i++) sum += totals.data[(i * taps + t) * cp + c];
            dw[c * taps + t] = float(sum);
        }
    return failed;
}

} // namespace

// 0 when done, 1 when there was no memory. `dx` or `dw` may be null; dw is float32 (c, k, k). The rest as in the forward.
extern "C" int depthwise_backward(const void* x, const float* weight, const void* dy, void* dx, float* dw, int bf16,
                                  const int64_t* sizes, int threads) {
    Shape s;
    std::memcpy(&s, sizes, sizeof s);
    if (bf16)
        return backward(static_cast<const BFloat16*>(x), weight, static_cast<const BFloat16*>(dy),
                        static_cast<BFloat16*>(dx), dw, s, threads);
    return backward(static_cast<const float*>(x), weight, static_cast<const float*>(dy), static_cast<float*>(dx), dw, s,
                    threads);
}
