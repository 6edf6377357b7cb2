// BatchNorm with a batch's own statistics, then an activation, then perhaps a residual sum, of (rows, c) in memory.
//
// Statistics: sums of the distances from a value near the mean, so that a mean far from zero costs no digits; float32 over
// a few hundred rows, double beyond. The backward pass makes the activation's input again from the convolution's output.
#include "vectors.h"

namespace {

constexpr int64_t CHUNK = 256; // rows summed in float32

enum Activation { IDENTITY, RELU, RELU6, HARD_SWISH };

template <int A> INLINE Floats activate(Floats u) {
    if (A == RELU) return larger(u, Floats{});
    if (A == RELU6) return smaller(larger(u, Floats{}), all(6));
    if (A == HARD_SWISH) return u * smaller(larger(u + all(3), Floats{}), all(6)) * all(1.f / 6);
    return u;
}

// The gradient before the activation, from the one after it.
template <int A> INLINE Floats deactivate(Floats u, Floats g) {
    Floats zero{};
    if (A == RELU) return u > zero ? g : zero;
    if (A == RELU6) return u > zero ? (u < all(6) ? g : zero) : zero;
    if (A == HARD_SWISH) return u > all(-3) ? (u < all(3) ? g * (u * all(1.f / 3) + all(0.5f)) : g) : zero;
    return g;
}

// Calls work(first row, number of rows as a constant, first channel, lanes) for `begin`...`end`, a few rows at a time so
// that a channel's constants serve them all; `lanes` is a constant LANES except in the last channels.
template <typename Work> INLINE void sweep(int64_t begin, int64_t end, int64_t c, Work work) {
    constexpr std::integral_constant<int64_t, LANES> full{};
    constexpr std::integral_constant<int, 4> four{};
    constexpr std::integral_constant<int, 1> one{};
    int64_t row = begin;
    for (; row + 4 <= end; row += 4) {
        int64_t i = 0;
        for (; i + LANES <= c; i += LANES) work(row, four, i, full);
        if (i < c) work(row, four, i, c - i);
    }
    for (; row < end; row++) {
        int64_t i = 0;
        for (; i + LANES <= c; i += LANES) work(row, one, i, full);
        if (i < c) work(row, one, i, c - i);
    }
}

template <typename T> INLINE Floats part_of(const T* p, std::integral_constant<int64_t, LANES>) { return load(p); }
template <typename T> INLINE Floats part_of(const T* p, int64_t lanes) { return load(p, lanes); }
template <typename T> INLINE void put(T* p, Floats v, std::integral_constant<int64_t, LANES>) { store(p, v); }
template <typename T> INLINE void put(T* p, Floats v, int64_t lanes) { store(p, v, lanes); }

// Two sums per channel: float32 over a chunk of rows, double over the chunks.
struct Sums {
    int64_t cp;
    Scratch<float> chunk;
    Scratch<double> whole;

    explicit Sums(int64_t cp) : cp(cp), chunk(2 * cp), whole(2 * cp) {}
    bool ready() const { return chunk.data && whole.data; }
    void flush() {
        for (int64_t i = 0; i < 2 * cp; i++) {
            whole.data[i] += chunk.data[i];
            chunk.data[i] = 0;
        }
    }
};

// Sums of y - shift and of its square.
template <typename T>
void measure(const T* y, int64_t begin, int64_t end, int64_t c, const float* shift, Sums& sums) {
    float *sum = sums.chunk.data, *squares = sum + sums.cp;
    for (int64_t first = begin; first < end; first += CHUNK) {
        sweep(first, first + CHUNK < end ? first + CHUNK : end, c, [&](int64_t row, auto rows, int64_t i, auto lanes) {
            Floats s = load(sum + i), q = load(squares + i), from = load(shift + i);
            UNROLL for (int r = 0; r < decltype(rows)::value; r++) {
                Floats v = part_of(y + (row + r) * c + i, lanes) - from;
                s += v;
                q += v * v;
            }
            store(sum + i, s);
            store(squares + i, q);
        });
        sums.flush();
    }
}

// What a layer's passes share: padded(c) floats each. `inverse` is 1 / standard deviation, `scale` gamma * inverse.
struct Layer {
    int64_t c;
    const float *mean, *inverse, *scale, *gamma, *beta;
};

template <typename T, int A>
void normalise(const T* y, const T* residual, T* z, int64_t begin, int64_t end, const Layer& layer) {
    int64_t c = layer.c;
    sweep(begin, end, c, [&](int64_t row, auto rows, int64_t i, auto lanes) {
        Floats mean = load(layer.mean + i), scale = load(layer.scale + i), beta = load(layer.beta + i);
        UNROLL for (int r = 0; r < decltype(rows)::value; r++) {
            int64_t at = (row + r) * c + i;
            Floats v = activate<A>((part_of(y + at, lanes) - mean) * scale + beta);
            if (residual) v += part_of(residual + at, lanes);
            put(z + at, v, lanes);
        }
    });
}

// Sums of the gradient before the activation, alone and times the normalised input, per channel.
template <typename T, int A>
void reduce(const T* y, const T* dz, int64_t begin, int64_t end, const Layer& layer, Sums& sums) {
    int64_t c = layer.c;
    float *sum = sums.chunk.data, *products = sum + sums.cp;
    for (int64_t first = begin; first < end; first += CHUNK) {
        sweep(first, first + CHUNK < end ? first + CHUNK : end, c, [&](int64_t row, auto rows, int64_t i, auto lanes) {
            Floats mean = load(layer.mean + i), inverse = load(layer.inverse + i);
            Floats gamma = load(layer.gamma + i), beta = load(layer.beta + i);
            Floats s = load(sum + i), p = load(products + i);
            UNROLL for (int r = 0; r < decltype(rows)::value; r++) {
                int64_t at = (row + r) * c + i;
                Floats x = (part_of(y + at, lanes) - mean) * inverse;
                Floats g = deactivate<A>(x * gamma + beta, part_of(dz + at, lanes));
                s += g;
                p += g * x;
            }
            store(sum + i, s);
            store(products + i, p);
        });
        sums.flush();
    }
}

template <typename T, int A>
void propagate(const T* y, const T* dz, T* dy, int64_t begin, int64_t end, const Layer& layer, const float* sum,
               const float* product) {
    int64_t c = layer.c;
    sweep(begin, end, c, [&](int64_t row, auto rows, int64_t i, auto lanes) {
        Floats mean = load(layer.mean + i), inverse = load(layer.inverse + i), scale = load(layer.scale + i);
        Floats gamma = load(layer.gamma + i), beta = load(layer.beta + i), s = load(sum + i), p = load(product + i);
        UNROLL for (int r = 0; r < decltype(rows)::value; r++) {
            int64_t at = (row + r) * c + i;
            Floats x = (part_of(y + at, lanes) - mean) * inverse;
            Floats g = deactivate<A>(x * gamma + beta, part_of(dz + at, lanes));
            put(dy + at, (g - s - x * p) * scale, lanes);
        }
    });
}

// Calls `work` with the activation as a constant.
template <typename Work> INLINE void with_activation(int act, Work work) {
    if (act == RELU) return work(std::integral_constant<int, RELU>());
    if (act == RELU6) return work(std::integral_constant<int, RELU6>());
    if (act == HARD_SWISH) return work(std::integral_constant<int, HARD_SWISH>());
    work(std::integral_constant<int, IDENTITY>());
}

// The mean of the first rows: near every channel's mean, which is all that a shift needs.
template <typename T> void mean_of_some(const T* y, int64_t rows, int64_t c, float* shift) {
    int64_t some = rows < 64 ? rows : 64;
    for (int64_t r = 0; r < some; r++)
        for (int64_t i = 0; i < c; i += LANES) store(shift + i, load(shift + i) + load(y + r * c + i, c - i));
    for (int64_t i = 0; i < c; i++) shift[i] /= float(some);
}

// mean, inverse and scale of a table (see Layer) from all threads' sums of y - shift and of its square.
void finish(const double* totals, int64_t threads, int64_t rows, int64_t c, const float* shift, double eps, float* table,
            float* variance) {
    int64_t cp = padded(c);
    for (int64_t i = 0; i < c; i++) {
        double sum = 0, squares = 0;
        for (int64_t k = 0; k < threads; k++) {
            sum += totals[2 * k * cp + i];
            squares += totals[(2 * k + 1) * cp + i];
        }
        double biased = (squares - sum * sum / rows) / rows;
        if (biased < 0) biased = 0;
        variance[i] = float(biased);
        table[i] = float(shift[i] + sum / rows);
        table[cp + i] = float(1 / __builtin_sqrt(biased + eps));
        table[2 * cp + i] = table[cp + i] * table[3 * cp + i];
    }
}

template <typename T>
int forward(const T* y, const T* residual, T* z, int64_t rows, int64_t c, const float* gamma, const float* beta, int act,
            double eps, float* mean, float* inverse, float* variance, int threads) {
    int64_t cp = padded(c);
    Scratch<double> totals(2 * threads * cp);
    Scratch<float> constants(6 * cp);
    if (!totals.data || !constants.data) return 1;
    float *const table = constants.data, *const shift = table + 5 * cp;
    std::memcpy(table + 3 * cp, gamma, c * sizeof(float));
    std::memcpy(table + 4 * cp, beta, c * sizeof(float));
    mean_of_some(y, rows, c, shift);
    Layer layer{c, table, table + cp, table + 2 * cp, table + 3 * cp, table + 4 * cp};
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        int64_t t = omp_get_thread_num(), present = omp_get_num_threads(); // perhaps fewer than asked for
        int64_t begin = part(rows, present, t), end = part(rows, present, t + 1);
        Sums sums(cp);
        failed |= !sums.ready();
        if (!failed) {
            measure(y, begin, end, c, shift, sums);
            std::memcpy(totals.data + 2 * t * cp, sums.whole.data, 2 * cp * sizeof(double));
        }
#pragma omp barrier
#pragma omp single
        finish(totals.data, threads, rows, c, shift, eps, table, variance);
        with_activation(act, [&](auto a) { normalise<T, decltype(a)::value>(y, residual, z, begin, end, layer); });
    }
    std::memcpy(mean, table, c * sizeof(float));
    std::memcpy(inverse, table + cp, c * sizeof(float));
    return failed;
}

template <typename T>
int backward(const T* y, const T* dz, T* dy, int64_t rows, int64_t c, const float* gamma, const float* beta, int act,
             const float* mean, const float* inverse, float* dgamma, float* dbeta, int threads) {
    int64_t cp = padded(c);
    Scratch<double> totals(2 * threads * cp);
    Scratch<float> constants(7 * cp);
    if (!totals.data || !constants.data) return 1;
    float* const table = constants.data;
    for (int64_t i = 0; i < c; i++) {
        table[i] = mean[i];
        table[cp + i] = inverse[i];
        table[2 * cp + i] = inverse[i] * gamma[i];
        table[3 * cp + i] = gamma[i];
        table[4 * cp + i] = beta[i];
    }
    Layer layer{c, table, table + cp, table + 2 * cp, table + 3 * cp, table + 4 * cp};
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        int64_t t = omp_get_thread_num(), present = omp_get_num_threads(); // perhaps fewer than asked for
        int64_t begin = part(rows, present, t), end = part(rows, present, t + 1);
        Sums sums(cp);
        failed |= !sums.ready();
        if (!failed) {
            with_activation(act, [&](auto a) { reduce<T, decltype(a)::value>(y, dz, begin, end, layer, sums); });
            std::memcpy(totals.data + 2 * t * cp, sums.whole.data, 2 * cp * sizeof(double));
        }
#pragma omp barrier
#pragma omp single
        for (int64_t i = 0; i < c; i++) {
            double sum = 0, product = 0;
            for (int64_t k = 0; k < threads; k++) {
                sum += totals.data[2 * k * cp + i];
                product += totals.data[(2 * k + 1) * cp + i];
            }
            dbeta[i] = float(sum);
            dgamma[i] = float(product);
            table[5 * cp + i] = float(sum / rows);
            table[6 * cp + i] = float(product / rows);
        }
        if (dy)
            with_activation(act, [&](auto a) {
                propagate<T, decltype(a)::value>(y, dz, dy, begin, end, layer, table + 5 * cp, table + 6 * cp);
            });
    }
    return failed;
}

} // namespace

// 0 when done, 1 when there was no memory. y, residual (may be null) and z hold rows * c values, bfloat16 where `bf16`;
// the rest is float32 (c). `variance` is the biased one.
extern "C" int norm_act_forward(const void* y, const void* residual, void* z, int bf16, int64_t rows, int64_t c,
                                const float* gamma, const float* beta, int act, double eps, float* mean, float* inverse,
                                float* variance, int threads) {
    if (bf16)
        return forward(static_cast<const BFloat16*>(y), static_cast<const BFloat16*>(residual), static_cast<BFloat16*>(z),
                       rows, c, gamma, beta, act, eps, mean, inverse, variance, threads);
    return forward(static_cast<const float*>(y), static_cast<const float*>(residual), static_cast<float*>(z), rows, c, gamma,
                   beta, act, eps, mean, inverse, variance, threads);
}

// `dy` may be null, or dz itself.
extern "C" int norm_act_backward(const void* y, const void* dz, void* dy, int bf16, int64_t rows, int64_t c,
                                 const float* gamma, const float* beta, int act, const float* mean, const float* inverse,
                                 float* dgamma, float* dbeta, int threads) {
    if (bf16)
        return backward(static_cast<const BFloat16*>(y), static_cast<const BFloat16*>(dz), static_cast<BFloat16*>(dy), rows,
                        c, gamma, beta, act, mean, inverse, dgamma, dbeta, threads);
    return backward(static_cast<const float*>(y), static_cast<const float*>(dz), static_cast<float*>(dy), rows, c, gamma,
                    beta, act, mean, inverse, dgamma, dbeta, threads);
}
