// The inner loops of convolutions along rows: blocks of sums in registers, vectors of neighbouring positions in memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "simd.h"

namespace convnn {

// Rows and vectors of a block of sums. Every vector that is loaded is used by all rows, and every tap by all vectors.
#if defined(__AVX512F__)
constexpr int SLIDE_SUMS = 24;  // of 32 registers
constexpr int SLIDE_ROWS = 8, SLIDE_VECTORS = 4;
#else
constexpr int SLIDE_SUMS = 12;  // of 16
constexpr int SLIDE_ROWS = 6, SLIDE_VECTORS = 3;
#endif

// Positions of a block.
template <class T>
constexpr std::size_t SLIDE_WIDTH = SLIDE_VECTORS * LANES<T>;

// What `slide` multiplies: rows of values, each with the taps that meet it.
template <class T>
struct Slides {
    const T* const* values;  // of each pair, the row at the first position of the block under the first tap
    const T* const* taps;    // of each pair, the first tap of all rows of sums, one after another
    std::size_t pairs;
    std::size_t count;      // taps of each pair
    std::ptrdiff_t apart;   // positions between two taps
    std::ptrdiff_t stride;  // numbers between two taps in memory
};

// sums[r][i] += sum_p sum_t taps[p][t * stride + r] values[p][t * apart + i], always added in this order; the rows of sums
// are SLIDE_WIDTH numbers apart.
template <int ROWS, int VECTORS, class T>
[[gnu::noinline]] void slide(T* sums, const Slides<T>& in) {
    Vector<T> sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) sum[r][v] = load(sums + r * SLIDE_WIDTH<T> + v * LANES<T>);
    for (std::size_t p = 0; p < in.pairs; ++p) {
        const T *value = in.values[p], *tap = in.taps[p];
        for (std::size_t t = 0; t < in.count; ++t, value += in.apart, tap += in.stride) {
            Vector<T> moved[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) moved[v] = load(value + v * LANES<T>);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; ++r) {
                const Vector<T> factor = broadcast(tap[r]);
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; ++v) sum[r][v] = fused(factor, moved[v], sum[r][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) store(sums + r * SLIDE_WIDTH<T> + v * LANES<T>, sum[r][v]);
}

// What `dot` multiplies: rows of values, and rows of gradients that meet them.
template <class T>
struct Dots {
    const T* const* values;     // of each pair, a row under tap 0 of the kernel
    const T* const* gradients;  // of each pair, a row for each row of sums, one after another
    std::size_t pairs;
    std::size_t vectors;   // of each row
    std::ptrdiff_t apart;  // positions between two taps
    std::ptrdiff_t first;  // position of the first tap
};

template <class T>
inline T sum_of_lanes(Vector<T> vector) {
    T lanes[LANES<T>];
    store(lanes, vector);
    for (int half = LANES<T> / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

// sums[r][t] += sum_p sum_i gradients[p][r][i] values[p][t * apart + i], for ROWS x TAPS sums, which are `stride` apart in
// rows and contiguous in taps.
template <int ROWS, int TAPS, class T>
[[gnu::noinline]] void dot(T* sums, std::size_t stride, const Dots<T>& in) {
    Vector<T> sum[ROWS][TAPS] = {};
    for (std::size_t p = 0; p < in.pairs; ++p) {
        const T *value = in.values[p] + in.first, *row[ROWS];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) row[r] = in.gradients[p * ROWS + r];
        for (std::size_t i = 0; i < in.vectors * LANES<T>; i += LANES<T>) {
            Vector<T> moved[TAPS];
#pragma GCC unroll 4
            for (int t = 0; t < TAPS; ++t) moved[t] = load(value + i + t * in.apart);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; ++r) {
                const Vector<T> factor = load(row[r] + i);
#pragma GCC unroll 4
                for (int t = 0; t < TAPS; ++t) sum[r][t] = fused(factor, moved[t], sum[r][t]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int t = 0; t < TAPS; ++t) sums[r * stride + t] += sum_of_lanes<T>(sum[r][t]);
}

template <class T>
using Slide = void (*)(T*, const Slides<T>&);
template <class T>
using Dot = void (*)(T*, std::size_t, const Dots<T>&);

template <class T, int ROWS, int VECTORS>
constexpr Slide<T> slide_or_none() {
    if constexpr (ROWS * VECTORS <= SLIDE_SUMS)
        return &slide<ROWS, VECTORS, T>;
    else
        return nullptr;
}

template <class T, int ROWS, int TAPS>
constexpr Dot<T> dot_or_none() {
    if constexpr (ROWS * TAPS <= SLIDE_SUMS)
        return &dot<ROWS, TAPS, T>;
    else
        return nullptr;
}

template <class T, int... I>
constexpr std::array<Slide<T>, sizeof...(I)> slides(std::integer_sequence<int, I...>) {
    return {slide_or_none<T, I / SLIDE_VECTORS + 1, I % SLIDE_VECTORS + 1>()...};
}

template <class T, int... I>
constexpr std::array<Dot<T>, sizeof...(I)> dots(std::integer_sequence<int, I...>) {
    return {dot_or_none<T, I / SLIDE_VECTORS + 1, I % SLIDE_VECTORS + 1>()...};
}

// `slide` for a block of sums of this size.
template <class T>
Slide<T> slide_of(std::size_t rows, std::size_t vectors) {
    static constexpr auto table = slides<T>(std::make_integer_sequence<int, SLIDE_ROWS * SLIDE_VECTORS>{});
    return table[(rows - 1) * SLIDE_VECTORS + vectors - 1];
}

// `dot` for a block of sums of this size.
template <class T>
Dot<T> dot_of(std::size_t rows, std::size_t taps) {
    static constexpr auto table = dots<T>(std::make_integer_sequence<int, SLIDE_ROWS * SLIDE_VECTORS>{});
    return table[(rows - 1) * SLIDE_VECTORS + taps - 1];
}

// Rows of sums in a block of so many vectors.
inline std::size_t rows_of_block(std::size_t vectors) { return std::min<std::size_t>(SLIDE_ROWS, SLIDE_SUMS / vectors); }

}  // namespace convnn
