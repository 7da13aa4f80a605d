// Keys ordered so that similar ones are adjacent, cut into leaves with bounds on the distance to any key in them. Order
// and bounds determine how many keys a search visits, never which of them it chooses.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "score.h"

namespace convnn {

constexpr std::size_t LEAF = 32;  // keys; a bound replaces this many scores

// The rows of one image, each times a scale if there are scales.
template <class T>
struct Points {
    const T* rows;
    const double* scales;
    std::size_t channels;

    const T* row(std::size_t i) const { return rows + i * channels; }

    // The square of a distance, up to a factor.
    double distance(std::size_t i, std::size_t j) const {
        if (!scales) return exact_sum<SquaredDifference>(row(i), row(j), channels);
        return 1 - exact_sum<Product>(row(i), row(j), channels) * scales[i] * scales[j];
    }

    double project(std::size_t i, const double* direction) const {
        const double length = exact_sum<Product>(row(i), direction, channels);
        return scales ? length * scales[i] : length;
    }
};

// Whether the nearest of a few points is much nearer than most of them: in high-dimensional noise all distances are
// similar, and no bound would save anything.
template <class T>
bool lies_together(const Points<T>& points, const int32_t* members, std::size_t count) {
    constexpr std::size_t SAMPLE = 64, FEW = 8;
    constexpr double NEAR = 0.4 * 0.4;
    std::size_t near = 0;
    for (std::size_t i = 0; i < FEW; ++i) {
        const int32_t from = members[i * count / FEW];
        double distances[SAMPLE], *end = distances;
        for (std::size_t j = 0; j < SAMPLE; ++j) {
            const int32_t to = members[j * count / SAMPLE];
            const double distance = points.distance(from, to);
            if (to != from && distance <= DBL_MAX) *end++ = distance;
        }
        if (end == distances) continue;
        std::nth_element(distances, distances + (end - distances) / 2, end);
        near += *std::min_element(distances, end) < NEAR * distances[(end - distances) / 2];
    }
    return near > FEW / 2;
}

// Recursive bisection: a set is split at the median along the line between two distant members, until it is no larger
// than a group. All groups but the last are full.
template <class T>
class Halving {
   public:
    Halving(Points<T> points, std::size_t group) : points_(points), group_(group), direction_(points.channels) {}

    void order(int32_t* members, std::size_t count) {
        places_.resize(count);
        halve(members, count);
    }

   private:
    // The position of a row along the line, and then its index, in one number that sorts fast.
    static uint64_t place(double along, int32_t member) {
        const float finite = std::isfinite(float(along)) ? float(along) : FLT_MAX;
        int32_t bits;
        std::memcpy(&bits, &finite, sizeof bits);
        const uint32_t ascending = bits < 0 ? ~uint32_t(bits) : uint32_t(bits) | 0x80000000u;
        return uint64_t(ascending) << 32 | uint32_t(member);
    }

    void halve(int32_t* members, std::size_t count) {
        if (count <= group_) return;
        const std::size_t half = ceil_div(ceil_div(count, group_), 2) * group_;
        find_direction(members, count);
        for (std::size_t i = 0; i < count; ++i) places_[i] = place(points_.project(members[i], direction_.data()), members[i]);
        std::nth_element(places_.begin(), places_.begin() + half, places_.begin() + count);
        for (std::size_t i = 0; i < count; ++i) members[i] = int32_t(uint32_t(places_[i]));
        halve(members, half);
        halve(members + half, count - half);
    }

    // From the member farthest from the first to the one farthest from that, among a sample.
    void find_direction(const int32_t* members, std::size_t count) {
        const int32_t from = farthest(members, count, members[0]), to = farthest(members, count, from);
        const double a = points_.scales ? points_.scales[from] : 1, b = points_.scales ? points_.scales[to] : 1;
        const T *start = points_.row(from), *end = points_.row(to);
        for (std::size_t c = 0; c < points_.channels; ++c) direction_[c] = end[c] * b - start[c] * a;
    }

    int32_t farthest(const int32_t* members, std::size_t count, int32_t member) const {
        constexpr std::size_t FEW = 16;
        const std::size_t step = ceil_div(count, FEW);
        int32_t found = member;
        double largest = -DBL_MAX;
        for (std::size_t i = 0; i < count; i += step) {
            const double distance = points_.distance(member, members[i]);
            if (distance > largest && distance <= DBL_MAX) {
                largest = distance;
                found = members[i];
            }
        }
        return found;
    }

    Points<T> points_;
    std::size_t group_;
    std::vector<double> direction_;
    std::vector<uint64_t> places_;
};

// The ball around the keys of a leaf, in the coordinates of the tiles.
template <class S>
struct Ball {
    S* center;
    S square;  // of the center's length
    S radius;  // infinite where a key is not finite
};

// Around the first `count` keys of a leaf, which lies in panels.
template <class S>
void enclose(Ball<S>& ball, const S* panels, std::size_t count, std::size_t channels) {
    constexpr std::size_t PANEL = TILE_COLUMNS<S>;
    const auto panel_of = [&](std::size_t i) { return panels + i / PANEL * PANEL * channels + i % PANEL; };
    double square = 0, distances[LEAF] = {};
    for (std::size_t c = 0; c < channels; ++c) {
        double values[LEAF], sum = 0;
        for (std::size_t i = 0; i < count; ++i) sum += values[i] = panel_of(i)[c * PANEL];
        const S center = ball.center[c] = S(sum / double(count));
        for (std::size_t i = 0; i < count; ++i) distances[i] += (values[i] - center) * (values[i] - center);
        square += double(center) * center;
    }
    double largest = 0;
    for (std::size_t i = 0; i < count; ++i)
        if (!(distances[i] <= largest)) largest = distances[i];  // also if it is NaN
    ball.square = S(square);
    ball.radius = largest <= DBL_MAX ? S(std::sqrt(largest)) : std::numeric_limits<S>::infinity();
}

// Upper bound on the score of a query with any key in a ball.
template <class S>
struct Reach {
    Metric metric;
    Vector<S> squares, lengths;  // of the queries
    Vector<S> errors;            // largest error of a score that is a sum of products

    // From the sums of the queries with the center, as the tiles compute them; `by_differences` tells of which terms.
    Vector<S> operator()(Vector<S> sums, const Ball<S>& ball, bool by_differences) const {
        constexpr S MORE = 1 + ROUNDING, LESS = 1 - ROUNDING;
        if (metric == Metric::matmul)
            return sums + lengths * (ball.radius * MORE + std::sqrt(ball.square) * ROUNDING) + errors;
        const Vector<S> far = by_differences ? sums * LESS : squares + ball.square - 2 * sums - errors;
        const Vector<S> near = at_least_zero(square_root(at_least_zero(far)) * LESS - ball.radius * MORE);
        return (metric == Metric::cosine ? S(1) - near * near / 2 : -near * near * LESS) + errors;
    }

   private:
    static constexpr S ROUNDING = sizeof(S) == sizeof(double) ? S(1e-12) : S(1e-6);

    static Vector<S> at_least_zero(Vector<S> v) { return v > 0 ? v : Vector<S>{}; }  // NaN becomes 0, as unknown
};

}  // namespace convnn
