// Rounding to a grid of integers as quantisation-aware training has it, with the gradient of the grid's step.
//
// y = clamp(round(x / step), low, high) * step, `low` and `high` counted from the zero point. The gradient of x passes
// where x is inside; that of the step is round(x / step) - x / step inside and the nearer end outside (Esser et al. 2020).
#include "vectors.h"

namespace {

constexpr int64_t CHUNK = 4096; // products summed in float32
constexpr float HALF_ULP = 12582912.f; // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer, ties to even

INLINE Floats rounded(Floats bounded) { return (bounded + all(HALF_ULP)) - all(HALF_ULP); }

INLINE Floats bounded(Floats v, float low, float high) { return smaller(larger(v, all(low)), all(high)); }

template <typename Work> INLINE void vectors(int64_t begin, int64_t end, Work work) {
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES) work(i, std::integral_constant<int64_t, LANES>());
    if (i < end) work(i, end - i);
}

INLINE Floats part_of(const float* p, std::integral_constant<int64_t, LANES>) { return load(p); }
INLINE Floats part_of(const float* p, int64_t lanes) { return load(p, lanes); }
INLINE void put(float* p, Floats v, std::integral_constant<int64_t, LANES>) { store(p, v); }
INLINE void put(float* p, Floats v, int64_t lanes) { store(p, v, lanes); }

INLINE double sum_of(Floats v) {
    double sum = 0;
    for (int64_t i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

} // namespace

// x and y hold n values.
extern "C" int round_forward(const float* x, float* y, int64_t n, float step, float low, float high, int threads) {
    float inverse = 1.f / step;
#pragma omp parallel num_threads(threads)
    {
        int64_t t = omp_get_thread_num(), present = omp_get_num_threads();
        vectors(part(n, present, t), part(n, present, t + 1), [&](int64_t i, auto lanes) {
            put(y + i, rounded(bounded(part_of(x + i, lanes) * all(inverse), low, high)) * all(step), lanes);
        });
    }
    return 0;
}

// dx = the gradient of x, *dstep = that of the step. 0 when done, 1 when there was no memory.
extern "C" int round_backward(const float* x, const float* dy, float* dx, double* dstep, int64_t n, float step, float low,
                              float high, int threads) {
    float inverse = 1.f / step;
    Scratch<double> sums(threads);
    if (!sums.data) return 1;
#pragma omp parallel num_threads(threads)
    {
        int64_t t = omp_get_thread_num(), present = omp_get_num_threads();
        int64_t begin = part(n, present, t), end = part(n, present, t + 1);
        double whole = 0;
        for (int64_t first = begin; first < end; first += CHUNK) {
            Floats sum{};
            vectors(first, first + CHUNK < end ? first + CHUNK : end, [&](int64_t i, auto lanes) {
                Floats v = part_of(x + i, lanes) * all(inverse), g = part_of(dy + i, lanes);
                Floats r = rounded(bounded(v, low, high));
                auto inside = (v > all(low - 0.5f)) & (v < all(high + 0.5f));
                put(dx + i, inside ? g : Floats{}, lanes);
                sum += g * (inside ? r - v : r);
            });
            whole += sum_of(sum);
        }
        sums.data[t] = whole;
    }
    *dstep = 0;
    for (int64_t t = 0; t < threads; t++) *dstep += sums.data[t];
    return 0;
}
