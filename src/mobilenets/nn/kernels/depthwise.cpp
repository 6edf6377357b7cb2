// Depthwise convolution, multiplier 1, of images that lie in memory as (n, h, w, c).
#include "slide.h"

namespace {

template <typename T> int forward(const T* x, const float* weight, T* y, const Shape& s, int threads) {
    int64_t cp = padded(s.c), parts = parts_per_image(s.n, s.oh, threads);
    int64_t width = (s.ow + WIDE - 2) * s.stride + s.reach() + 1;
    Scratch<float> packed(s.k * s.k * cp);
    if (!packed.data) return 1;
    repack(weight, packed.data, s, false);
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        Lines<T> lines(s.h, s.w, s.c, s.reach() + 1, width, s.left);
        Scratch<const float*> rows(s.k);
        bool ready = lines.memory.data && rows.data;
        failed |= !ready;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < s.n * parts; task++) {
            if (!ready) continue;
            int64_t image = task / parts, p = task % parts;
            int64_t first = part(s.oh, parts, p), end = part(s.oh, parts, p + 1);
            lines.begin(x + image * s.h * s.w * s.c, first * s.stride - s.top);
            for (int64_t o = first; o < end; o++) {
                int64_t top = o * s.stride - s.top;
                lines.reach(top + s.reach());
                for (int64_t i = 0; i < s.k; i++) rows.data[i] = lines.row(top + i * s.dilation);
                one_row(rows.data, packed.data, y + (image * s.oh + o) * s.ow * s.c, s);
            }
        }
    }
    return failed;
}

} // namespace

// 0 when done, 1 when there was no memory. `sizes` are the eleven of Shape, `bf16` says what x and y hold.
extern "C" int depthwise_forward(const void* x, const float* weight, void* y, int bf16, const int64_t* sizes, int threads) {
    Shape s;
    std::memcpy(&s, sizes, sizeof s);
    if (bf16) return forward(static_cast<const BFloat16*>(x), weight, static_cast<BFloat16*>(y), s, threads);
    return forward(static_cast<const float*>(x), weight, static_cast<float*>(y), s, threads);
}
