// Sixteen floats at a time, loaded from and stored as float32 or bfloat16; all arithmetic is float32.
//
// The vector extension of GCC and Clang becomes one AVX-512 register, two AVX2 ones or four of NEON, so one source serves
// every processor; only the rounding to bfloat16 and the loads of a part of
// a vector have instructions of their own where AVX-512 is there.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <omp.h>
#include <type_traits>

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define MASKS
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif
#define INLINE inline __attribute__((always_inline))

constexpr int64_t LANES = 16;

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

struct BFloat16 {
    uint16_t bits;
};

// The next multiple of LANES.
INLINE int64_t padded(int64_t channels) { return (channels + LANES - 1) / LANES * LANES; }

INLINE Floats widen(Halves halves) {
    Words words = __builtin_convertvector(halves, Words) << 16;
    return (Floats)words;
}

// Rounds to nearest, ties to even, as torch does.
INLINE Halves narrow(Floats v) {
#if defined(MASKS) && defined(__AVX512BF16__)
    __m256bh rounded = _mm512_cvtneps_pbh((__m512)v);
    Halves halves;
    std::memcpy(&halves, &rounded, sizeof halves);
    return halves;
#else
    Words words = (Words)v;
    Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
    Ints nan = v != v;
    rounded = (Words)(((Ints)rounded & ~nan) | (nan & 0x7fc0));
    return __builtin_convertvector(rounded, Halves);
#endif
}

INLINE Floats load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

INLINE Floats load(const BFloat16* p) {
    Halves halves;
    std::memcpy(&halves, p, sizeof halves);
    return widen(halves);
}

INLINE void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }

INLINE void store(BFloat16* p, Floats v) {
    Halves halves = narrow(v);
    std::memcpy(p, &halves, sizeof halves);
}

// The first `count` lanes; the others are zero.
#ifdef MASKS
INLINE __mmask16 mask_of(int64_t count) { return count >= LANES ? 0xffff : __mmask16((1u << count) - 1); }

INLINE Floats load(const float* p, int64_t count) { return (Floats)_mm512_maskz_loadu_ps(mask_of(count), p); }

INLINE Floats load(const BFloat16* p, int64_t count) {
    __m256i halves = _mm256_maskz_loadu_epi16(mask_of(count), p);
    return widen((Halves)halves);
}

INLINE void store(float* p, Floats v, int64_t count) { _mm512_mask_storeu_ps(p, mask_of(count), (__m512)v); }

INLINE void store(BFloat16* p, Floats v, int64_t count) {
    _mm256_mask_storeu_epi16(p, mask_of(count), (__m256i)narrow(v));
}
#else
template <typename T> INLINE Floats load(const T* p, int64_t count) {
    if (count >= LANES) return load(p);
    T lanes[LANES] = {};
    std::memcpy(lanes, p, count * sizeof(T));
    return load(lanes);
}

template <typename T> INLINE void store(T* p, Floats v, int64_t count) {
    if (count >= LANES) return store(p, v);
    T lanes[LANES];
    store(lanes, v);
    std::memcpy(p, lanes, count * sizeof(T));
}
#endif

INLINE Floats all(float value) { return Floats{} + value; }
// NaN in `a` stays NaN.
INLINE Floats smaller(Floats a, Floats b) { return b < a ? b : a; }
INLINE Floats larger(Floats a, Floats b) { return b > a ? b : a; }

// Zeroed scratch memory, aligned to a cache line.
template <typename T> struct Scratch {
    T* data;
    explicit Scratch(int64_t count) {
        int64_t bytes = (count * int64_t(sizeof(T)) + 63) / 64 * 64;
        data = static_cast<T*>(std::aligned_alloc(64, bytes > 0 ? bytes : 64));
        if (data) std::memset(data, 0, bytes);
    }
    ~Scratch() { std::free(data); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
};

// Begin of part `index` of `parts` nearly equal ones of `total`.
INLINE int64_t part(int64_t total, int64_t parts, int64_t index) { return total * index / parts; }
