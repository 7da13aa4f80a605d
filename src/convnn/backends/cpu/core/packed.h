// The keys of a search, packed for its tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "leaves.h"
#include "parallel.h"
#include "score.h"
#include "simd.h"

namespace convnn {

struct SearchShape {
    std::size_t batch, queries, keys, channels, K;
};

// Keys are stored in panels of TILE_COLUMNS<S>, channel by channel; similar keys of an image are adjacent, in leaves.
template <class T, class S>
class PackedKeys {
   public:
    static constexpr bool IS_EXACT = sizeof(S) == sizeof(double);
    static constexpr std::size_t PANEL = TILE_COLUMNS<S>;

    struct Image {
        std::size_t count;    // keys that may be chosen
        double largest_norm;  // of those
        bool is_cut;          // its leaves are distinct enough to be visited one by one
    };

    PackedKeys(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t num_candidates)
        : shape_(shape),
          metric_(metric),
          candidates_(candidates),
          num_candidates_(candidates ? num_candidates : shape.keys),
          leaves_(ceil_div(num_candidates_, LEAF)),
          panels_(shape.batch * leaves_ * LEAF * shape.channels),
          panel_norms_(shape.batch * leaves_ * LEAF),
          norms_(shape.batch * shape.keys),
          means_(shape.batch * shape.channels),
          members_(shape.batch * num_candidates_),
          balls_(shape.batch * leaves_),
          centers_(shape.batch * leaves_ * shape.channels),
          images_(shape.batch) {}

    void pack(const T* keys, int threads) {
        keys_ = keys;
        parallel_for(shape_.batch, threads, [&](std::size_t image, int) {
            measure(image);
            cut(image);
        });
        parallel_for(shape_.batch * leaves_, threads, [&](std::size_t i, int) {
            if (!images_.get()[i / leaves_].is_cut) pack_leaf(i / leaves_, i % leaves_);
        });
    }

    const Image& image(std::size_t i) const { return images_.get()[i]; }
    std::size_t leaves(std::size_t image) const { return ceil_div(images_.get()[image].count, LEAF); }
    std::size_t most_leaves() const { return leaves_; }

    // The keys of an image that may be chosen, leaf by leaf.
    const int32_t* members(std::size_t image) const { return members_.get() + image * num_candidates_; }
    const T* row(std::size_t image, std::size_t key) const { return keys_ + (image * shape_.keys + key) * shape_.channels; }
    double norm(std::size_t image, std::size_t key) const { return norms_.get()[image * shape_.keys + key]; }
    const double* mean(std::size_t image) const { return means_.get() + image * shape_.channels; }
    const Ball<S>& ball(std::size_t image, std::size_t leaf) const { return balls_.get()[image * leaves_ + leaf]; }

    // The i-th panel of an image.
    const S* panel(std::size_t image, std::size_t i) const {
        return panels_.get() + (image * leaves_ * LEAF + i * PANEL) * shape_.channels;
    }
    const S* panel_norms(std::size_t image, std::size_t i) const {
        return panel_norms_.get() + image * leaves_ * LEAF + i * PANEL;
    }

    // The norm of this row as a key.
    double norm_of(const T* row, std::size_t image) const {
        if (metric_ != Metric::euclidean) return scale_of(exact_length(row, shape_.channels), metric_);
        return IS_EXACT ? 0 : exact_sum<SquaredDifference>(row, mean(image), shape_.channels);
    }

    // A row as input of the tiles: normalised for the cosine, with zero rows unchanged; relative to the mean for
    // float32 distances.
    template <class To>
    void convert(const T* row, double norm, std::size_t image, To* to, std::size_t stride) const {
        const double* middle = mean(image);
        const bool is_unit = metric_ == Metric::cosine, is_centered = !IS_EXACT && metric_ == Metric::euclidean;
        for (std::size_t c = 0; c < shape_.channels; ++c)
            to[c * stride] = is_unit ? (norm == 0 ? 0 : row[c] * norm) : is_centered ? row[c] - middle[c] : row[c];
    }

    // Rows of an image, as the order compares them.
    Points<T> points(const T* rows, const double* scales) const {
        return {rows, metric_ == Metric::cosine ? scales : nullptr, shape_.channels};
    }

   private:
    static constexpr std::size_t FEWEST = 16;  // leaves; with fewer, finding the right ones costs more than it saves

    // Norms, candidates, and their order. Zero rows, such as padding, tie with each other, so that at most the first K,
    // and one more for a query among them, are ever chosen.
    void measure(std::size_t image) {
        Image found{0, 0, false};
        int32_t* members = members_.get() + image * num_candidates_;
        std::size_t zeros = 0;
        for (std::size_t i = 0; i < num_candidates_; ++i) {
            const std::size_t key = candidates_ ? candidates_[i] : i;
            const double length = exact_length(row(image, key), shape_.channels);
            const bool is_zero = length == 0 || (metric_ == Metric::cosine && length <= 1e-12);
            norm(image, key) = scale_of(length, metric_);
            if (is_zero && ++zeros > shape_.K + 1) continue;
            members[found.count++] = key;
            if (!(length <= found.largest_norm)) found.largest_norm = length;  // also true for NaN
        }
        if (!IS_EXACT && metric_ == Metric::euclidean) center(image, found);
        images_.get()[image] = found;
    }

    // Leaves, if their bounds are likely to save work.
    void cut(std::size_t image) {
        Image& in = images_.get()[image];
        int32_t* members = members_.get() + image * num_candidates_;
        const Points<T> keys = points(row(image, 0), norms_.get() + image * shape_.keys);
        if (in.count < FEWEST * LEAF || !lies_together(keys, members, in.count)) return;
        const std::vector<int32_t> ascending(members, members + in.count);
        Halving<T>(keys, LEAF).order(members, in.count);
        in.is_cut = true;
        for (std::size_t leaf = 0; leaf < leaves(image); ++leaf) pack_leaf(image, leaf);
        if (share_apart(image) > 0.1) return;
        in.is_cut = false;
        std::copy(ascending.begin(), ascending.end(), members);
    }

    // The mean of the finite keys, and squared lengths about it.
    void center(std::size_t image, Image& found) {
        double* mean = means_.get() + image * shape_.channels;
        std::fill_n(mean, shape_.channels, 0.0);
        std::size_t count = 0;
        for (std::size_t i = 0; i < found.count; ++i) {
            const std::size_t key = members(image)[i];
            if (!std::isfinite(norm(image, key))) continue;
            ++count;
            for (std::size_t c = 0; c < shape_.channels; ++c) mean[c] += row(image, key)[c];
        }
        for (std::size_t c = 0; c < shape_.channels; ++c) mean[c] /= std::max<std::size_t>(count, 1);
        found.largest_norm = 0;
        for (std::size_t i = 0; i < found.count; ++i) {
            const std::size_t key = members(image)[i];
            const double square = exact_sum<SquaredDifference>(row(image, key), mean, shape_.channels);
            norm(image, key) = square;
            if (!(square <= found.largest_norm)) found.largest_norm = square;
        }
    }

    // The last key is repeated up to the end of a panel.
    void pack_leaf(std::size_t image, std::size_t leaf) {
        const Image& in = images_.get()[image];
        const std::size_t first = leaf * LEAF;
        if (first >= in.count) return;
        S* to = panels_.get() + (image * leaves_ * LEAF + first) * shape_.channels;
        S* norms = panel_norms_.get() + image * leaves_ * LEAF + first;
        for (std::size_t i = 0; i < LEAF; ++i) {
            const std::size_t key = members(image)[std::min(first + i, in.count - 1)];
            norms[i] = norm(image, key);
            convert(row(image, key), norm(image, key), image, to + i / PANEL * PANEL * shape_.channels + i % PANEL, PANEL);
        }
        if (!in.is_cut) return;
        Ball<S>& ball = balls_.get()[image * leaves_ + leaf];
        ball.center = centers_.get() + (image * leaves_ + leaf) * shape_.channels;
        enclose(ball, to, std::min(LEAF, in.count - first), shape_.channels);
    }

    // The share of leaves that a bound excludes for a key of another leaf, estimated from a few.
    double share_apart(std::size_t image) const {
        constexpr std::size_t FEW = 16;
        const std::size_t count = leaves(image), step = ceil_div(count, FEW);
        std::size_t apart = 0, pairs = 0;
        for (std::size_t i = 0; i < count; i += step) {
            for (std::size_t j = 0; j < count; ++j, ++pairs) {
                const Ball<S>&a = ball(image, i), &b = ball(image, j);
                const double square = exact_sum<SquaredDifference>(a.center, b.center, shape_.channels);
                apart += std::sqrt(square) > double(a.radius) + b.radius;
            }
        }
        return double(apart) / pairs;
    }

    double& norm(std::size_t image, std::size_t key) { return norms_.get()[image * shape_.keys + key]; }

    SearchShape shape_;
    Metric metric_;
    const int64_t* candidates_;
    std::size_t num_candidates_, leaves_;
    const T* keys_ = nullptr;
    Buffer<S> panels_, panel_norms_;
    Buffer<double> norms_;  // of each key: its scale; for float32 distances, its squared distance from the mean
    Buffer<double> means_;  // (batch, channels)
    Buffer<int32_t> members_;
    Buffer<Ball<S>> balls_;
    Buffer<S> centers_;  // of balls
    Buffer<Image> images_;
};

}  // namespace convnn
