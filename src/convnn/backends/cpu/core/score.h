// Similarity of two rows in a search: sums in float64, always added in the same order, rounded to float32. Larger is
// closer. Equal keys have exactly equal scores at any position.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <limits>

#include "simd.h"

namespace convnn {

enum class Metric { cosine, euclidean, matmul };

// NaN and positive overflow rank below all numbers, and negative overflow next.
inline float bounded(float score) {
    score = score < -FLT_MAX / 2 ? -FLT_MAX / 2 : score;
    return score <= FLT_MAX ? score : -FLT_MAX;
}

template <class V>
inline void store_bounded(float* to, V scores) {
    typedef float Rounded __attribute__((vector_size(sizeof(V) / sizeof(scores[0]) * sizeof(float))));
    Rounded v = __builtin_convertvector(scores, Rounded);
    v = v < -FLT_MAX / 2 ? Rounded{} - FLT_MAX / 2 : v;
    v = v <= FLT_MAX ? v : Rounded{} - FLT_MAX;
    __builtin_memcpy(to, &v, sizeof v);
}

template <class T>
inline Vector<double> load_exactly(const T* from) {
    typedef T Narrow __attribute__((vector_size(LANES<double> * sizeof(T))));
    Narrow v;
    __builtin_memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, Vector<double>);
}

// The sum of the terms of two rows; a product of float32 numbers is exact in float64.
template <class Term, class A, class B>
double exact_sum(const A* a, const B* b, std::size_t channels) {
    constexpr std::size_t WIDTH = LANES<double>;
    Vector<double> sums[4]{};
    std::size_t c = 0;
    for (; c + 4 * WIDTH <= channels; c += 4 * WIDTH)
        for (std::size_t i = 0; i < 4; ++i)
            sums[i] = Term::add(sums[i], load_exactly(a + c + i * WIDTH), load_exactly(b + c + i * WIDTH));
    for (; c + WIDTH <= channels; c += WIDTH) sums[0] = Term::add(sums[0], load_exactly(a + c), load_exactly(b + c));
    const Vector<double> lanes = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = 0;
    for (std::size_t i = 0; i < WIDTH; ++i) sum += lanes[i];
    for (; c < channels; ++c) sum = Term::add(sum, double(a[c]), double(b[c]));
    return sum;
}

template <class T>
double exact_length(const T* row, std::size_t channels) {
    return std::sqrt(exact_sum<Product>(row, row, channels));
}

// The factor of each row that turns an inner product into a cosine: 0 for a row that counts as zero, and for the cosine
// NaN for a row that is not finite, so that it does not count as zero.
inline double scale_of(double length, Metric metric) {
    if (metric == Metric::matmul) return 1 / length;
    if (length <= 1e-12) return 0;
    return length <= DBL_MAX ? 1 / length : std::numeric_limits<double>::quiet_NaN();
}

// When products cancel, about 1e-16 of the lengths remains: sums below 1e-12 of the lengths are set to zero, so that
// orthogonal rows tie.
inline double score_of_product(double product, double scale, double other_scale, Metric metric) {
    const double cosine = product * scale * other_scale;
    if (metric == Metric::matmul) return std::abs(cosine) <= 1e-12 ? 0 : product;
    if (scale == 0 || other_scale == 0) return 0;
    return std::abs(cosine) <= 1e-12 ? 0 : std::clamp(cosine, -1.0, 1.0);
}

// The score before rounding; the scales are those of the rows, and the distance does not need them.
template <class A, class B>
double exact_score(const A* a, const B* b, std::size_t channels, double scale, double other_scale, Metric metric) {
    if (metric == Metric::euclidean) return -exact_sum<SquaredDifference>(a, b, channels);
    return score_of_product(exact_sum<Product>(a, b, channels), scale, other_scale, metric);
}

}  // namespace convnn
