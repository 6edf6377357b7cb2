// BatchNorm with a batch's own statistics, then an activation, then perhaps a residual sum, of (rows, c) in memory.
//
// Statistics: sums about a first row of every few hundred, so that a mean far from zero costs no digits, joined in double
// (Chan, Golub & LeVeque 1979). The backward pass makes the activation's input again from the convolution's output.
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

struct Moments {
    double count, mean, squares;

    void join(double n, double m, double q) {
        if (n == 0) return;
        double whole = count + n, apart = m - mean;
        squares += q + apart * apart * count * n / whole;
        mean += apart * n / whole;
        count = whole;
    }
};

template <typename T> void measure(const T* y, int64_t begin, int64_t end, int64_t c, Moments* moments) {
    for (int64_t first = begin; first < end; first += CHUNK) {
        int64_t last = first + CHUNK < end ? first + CHUNK : end;
        for (int64_t i = 0; i < c; i += LANES) {
            int64_t lanes = c - i < LANES ? c - i : LANES;
            Floats shift = load(y + first * c + i, lanes), sum{}, squares{};
            for (int64_t r = first; r < last; r++) {
                Floats v = load(y + r * c + i, lanes) - shift;
                sum += v;
                squares += v * v;
            }
            double n = double(last - first);
            for (int64_t l = 0; l < lanes; l++)
                moments[i + l].join(n, shift[l] + sum[l] / n, squares[l] - double(sum[l]) * sum[l] / n);
        }
    }
}

// What a layer's passes share. mean, inverse (1 / standard deviation), gamma and beta hold padded(c) floats.
struct Layer {
    int64_t rows, c;
    const float *mean, *inverse, *gamma, *beta;
};

template <typename T, int A>
void normalise(const T* y, const T* residual, T* z, int64_t begin, int64_t end, const Layer& layer) {
    int64_t c = layer.c;
    for (int64_t r = begin; r < end; r++)
        for (int64_t i = 0; i < c; i += LANES) {
            int64_t at = r * c + i, lanes = c - i;
            Floats scale = load(layer.inverse + i) * load(layer.gamma + i);
            Floats u = (load(y + at, lanes) - load(layer.mean + i)) * scale + load(layer.beta + i);
            Floats v = activate<A>(u);
            if (residual) v += load(residual + at, lanes);
            store(z + at, v, lanes);
        }
}

// Sums of the gradient before the activation, alone and times the normalised input, per channel.
template <typename T, int A>
void reduce(const T* y, const T* dz, int64_t begin, int64_t end, const Layer& layer, double* sums, double* products) {
    int64_t c = layer.c;
    for (int64_t first = begin; first < end; first += CHUNK) {
        int64_t last = first + CHUNK < end ? first + CHUNK : end;
        for (int64_t i = 0; i < c; i += LANES) {
            int64_t lanes = c - i < LANES ? c - i : LANES;
            Floats mean = load(layer.mean + i), inverse = load(layer.inverse + i);
            Floats gamma = load(layer.gamma + i), beta = load(layer.beta + i), sum{}, product{};
            for (int64_t r = first; r < last; r++) {
                Floats x = (load(y + r * c + i, lanes) - mean) * inverse;
                Floats g = deactivate<A>(x * gamma + beta, load(dz + r * c + i, lanes));
                sum += g;
                product += g * x;
            }
            for (int64_t l = 0; l < lanes; l++) {
                sums[i + l] += sum[l];
                products[i + l] += product[l];
            }
        }
    }
}

template <typename T, int A>
void propagate(const T* y, const T* dz, T* dy, int64_t begin, int64_t end, const Layer& layer, const float* sum,
               const float* product) {
    int64_t c = layer.c;
    for (int64_t r = begin; r < end; r++)
        for (int64_t i = 0; i < c; i += LANES) {
            int64_t at = r * c + i, lanes = c - i;
            Floats inverse = load(layer.inverse + i), gamma = load(layer.gamma + i);
            Floats x = (load(y + at, lanes) - load(layer.mean + i)) * inverse;
            Floats g = deactivate<A>(x * gamma + load(layer.beta + i), load(dz + at, lanes));
            store(dy + at, (g - load(sum + i) - x * load(product + i)) * (inverse * gamma), lanes);
        }
}

// Calls `work` with the activation as a constant.
template <typename Work> INLINE void with_activation(int act, Work work) {
    if (act == RELU) return work(std::integral_constant<int, RELU>());
    if (act == RELU6) return work(std::integral_constant<int, RELU6>());
    if (act == HARD_SWISH) return work(std::integral_constant<int, HARD_SWISH>());
    work(std::integral_constant<int, IDENTITY>());
}

template <typename T>
int forward(const T* y, const T* residual, T* z, int64_t rows, int64_t c, const float* gamma, const float* beta, int act,
            double eps, float* mean, float* inverse, float* variance, int threads) {
    int64_t cp = padded(c);
    Scratch<Moments> moments(threads * cp);
    Scratch<float> constants(4 * cp);
    if (!moments.data || !constants.data) return 1;
    float* const table = constants.data;
    std::memcpy(table + 2 * cp, gamma, c * sizeof(float));
    std::memcpy(table + 3 * cp, beta, c * sizeof(float));
    Layer layer{rows, c, table, table + cp, table + 2 * cp, table + 3 * cp};
#pragma omp parallel num_threads(threads)
    {
        int64_t t = omp_get_thread_num(), given_threads = omp_get_num_threads(); // perhaps fewer than asked for
        int64_t begin = part(rows, given_threads, t), end = part(rows, given_threads, t + 1);
        measure(y, begin, end, c, moments.data + t * cp);
#pragma omp barrier
#pragma omp single
        for (int64_t i = 0; i < c; i++) {
            Moments whole{};
            for (int64_t k = 0; k < threads; k++) {
                const Moments& m = moments.data[k * cp + i];
                whole.join(m.count, m.mean, m.squares);
            }
            mean[i] = table[i] = float(whole.mean);
            variance[i] = float(whole.squares / rows);
            inverse[i] = table[cp + i] = float(1 / __builtin_sqrt(whole.squares / rows + eps));
        }
        with_activation(act, [&](auto a) { normalise<T, decltype(a)::value>(y, residual, z, begin, end, layer); });
    }
    return 0;
}

template <typename T>
int backward(const T* y, const T* dz, T* dy, int64_t rows, int64_t c, const float* gamma, const float* beta, int act,
             const float* mean, const float* inverse, float* dgamma, float* dbeta, int threads) {
    int64_t cp = padded(c);
    Scratch<double> sums(2 * threads * cp);
    Scratch<float> constants(6 * cp);
    if (!sums.data || !constants.data) return 1;
    float* const table = constants.data;
    const float* given[] = {mean, inverse, gamma, beta};
    for (int64_t k = 0; k < 4; k++) std::memcpy(table + k * cp, given[k], c * sizeof(float));
    Layer layer{rows, c, table, table + cp, table + 2 * cp, table + 3 * cp};
#pragma omp parallel num_threads(threads)
    {
        int64_t t = omp_get_thread_num(), given_threads = omp_get_num_threads(); // perhaps fewer than asked for
        int64_t begin = part(rows, given_threads, t), end = part(rows, given_threads, t + 1);
        double *mine = sums.data + 2 * t * cp;
        with_activation(act, [&](auto a) {
            reduce<T, decltype(a)::value>(y, dz, begin, end, layer, mine, mine + cp);
        });
#pragma omp barrier
#pragma omp single
        for (int64_t i = 0; i < c; i++) {
            double sum = 0, product = 0;
            for (int64_t k = 0; k < threads; k++) {
                sum += sums.data[2 * k * cp + i];
                product += sums.data[(2 * k + 1) * cp + i];
            }
            dbeta[i] = float(sum);
            dgamma[i] = float(product);
            table[4 * cp + i] = float(sum / rows);
            table[5 * cp + i] = float(product / rows);
        }
        if (dy) {
            with_activation(act, [&](auto a) {
                propagate<T, decltype(a)::value>(y, dz, dy, begin, end, layer, table + 4 * cp, table + 5 * cp);
            });
        }
    }
    return 0;
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
