// The inner loop of convolutions with a kernel for each channel: a block of sums in registers, lines of channels in memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "simd.h"

namespace convnn {

// Channels that are computed together: a line of the cache, whatever the vectors are.
template <class T>
constexpr std::size_t LINE = 64 / sizeof(T);

#if defined(__AVX512F__)
constexpr int MAX_SUMS = 16;  // of 32 registers
#else
constexpr int MAX_SUMS = 12;  // of 16
#endif
constexpr int MAX_ROWS = 4, MAX_COUNT = 4;  // small blocks: those at the edge of the map compute fewer products with zeros

// What `correlate` multiplies: pairs of rows of lines.
template <class T>
struct RowPairs {
    const T* const* values;   // of each pair, one row for each row of sums, one after another
    const T* const* kernels;  // of each pair
    std::size_t pairs;
    std::size_t first, lines;       // of each kernel
    const std::ptrdiff_t* offsets;  // of the values that meet these lines, for the first sum
};

// Where sums are.
template <class T>
struct Sums {
    T* rows[MAX_ROWS];
    std::ptrdiff_t step;  // between the sums of a row
    const T* start;       // a line with which all of them start; null: they go on from what they are
};

// sums[i][a] += sum_r sum_t kernels[r][first + t] values[r][i][offsets[t] + a], for ROWS x COUNT sums, always added in this
// order.
template <int ROWS, int COUNT, class T>
[[gnu::noinline]] void correlate(const Sums<T>& sums, const RowPairs<T>& in) {
    for (std::size_t lane = 0; lane < LINE<T>; lane += LANES<T>) {
        Vector<T> sum[ROWS][COUNT];
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
            for (int a = 0; a < COUNT; ++a) sum[i][a] = load((sums.start ? sums.start : sums.rows[i] + a * sums.step) + lane);
        for (std::size_t r = 0; r < in.pairs; ++r) {
            const T* kernel = in.kernels[r] + in.first * LINE<T> + lane;
            const T* row[ROWS];
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; ++i) row[i] = in.values[r * ROWS + i] + lane;
            for (std::size_t t = 0; t < in.lines; ++t) {
                const Vector<T> factor = load(kernel + t * LINE<T>);
                const std::ptrdiff_t offset = in.offsets[t];
#pragma GCC unroll 4
                for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
                    for (int a = 0; a < COUNT; ++a)
                        sum[i][a] = fused(factor, load(row[i] + offset + a * LINE<T>), sum[i][a]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
            for (int a = 0; a < COUNT; ++a) store(sums.rows[i] + a * sums.step + lane, sum[i][a]);
    }
}

template <class T>
using Correlation = void (*)(const Sums<T>&, const RowPairs<T>&);

template <class T, int ROWS, int COUNT>
constexpr Correlation<T> correlation() {
    if constexpr (ROWS * COUNT <= MAX_SUMS)
        return &correlate<ROWS, COUNT, T>;
    else
        return nullptr;
}

template <class T, int... I>
constexpr std::array<Correlation<T>, sizeof...(I)> correlations(std::integer_sequence<int, I...>) {
    return {correlation<T, I / MAX_COUNT + 1, I % MAX_COUNT + 1>()...};
}

// `correlate` for a block of sums of this size.
template <class T>
Correlation<T> correlation_of(std::size_t rows, std::size_t count) {
    static constexpr auto table = correlations<T>(std::make_integer_sequence<int, MAX_ROWS * MAX_COUNT>{});
    return table[(rows - 1) * MAX_COUNT + count - 1];
}

// Rows of sums that fit beside each other, if they have so many columns.
inline std::size_t rows_beside(std::size_t count) { return std::min<std::size_t>(MAX_ROWS, MAX_SUMS / count); }

}  // namespace convnn
