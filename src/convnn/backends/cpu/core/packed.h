// The keys of a search, packed for its tiles.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "parallel.h"
#include "score.h"
#include "simd.h"

namespace convnn {

struct SearchShape {
    std::size_t batch, queries, keys, channels, K;
};

// Keys are stored in panels of TILE_COLUMNS<S>, channel by channel. Each image has as many panels; which keys are in
// them, and in which order, is for derived classes to say.
template <class T, class S>
class PackedKeys {
   public:
    static constexpr bool IS_EXACT = sizeof(S) == sizeof(double);
    static constexpr std::size_t PANEL = TILE_COLUMNS<S>;

    PackedKeys(SearchShape shape, Metric metric, std::size_t panels)
        : shape_(shape),
          metric_(metric),
          panels_(panels),
          rows_(shape.batch * panels * PANEL * shape.channels),
          row_norms_(shape.batch * panels * PANEL),
          norms_(shape.batch * shape.keys),
          means_(shape.batch * shape.channels),
          members_(shape.batch * panels * PANEL),
          largest_norms_(shape.batch) {}

    // The keys of an image in the order of its panels.
    const int32_t* members(std::size_t image) const { return members_.get() + image * panels_ * PANEL; }
    const T* row(std::size_t image, std::size_t key) const { return keys_ + (image * shape_.keys + key) * shape_.channels; }
    double norm(std::size_t image, std::size_t key) const { return norms_.get()[image * shape_.keys + key]; }
    double largest_norm(std::size_t image) const { return largest_norms_.get()[image]; }  // of the keys in the panels

    // The i-th panel of an image.
    const S* panel(std::size_t image, std::size_t i) const {
        return rows_.get() + (image * panels_ + i) * PANEL * shape_.channels;
    }
    const S* panel_norms(std::size_t image, std::size_t i) const {
        return row_norms_.get() + (image * panels_ + i) * PANEL;
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

   protected:
    // Returns whether a key that was measured can be chosen: zero rows, such as padding, tie with each other, so that of
    // those visited together only the first K are ever chosen, and one more by a query among them. `zeros` counts them.
    bool admits(std::size_t image, std::size_t key, std::size_t& zeros) {
        double& norm = norms_.get()[image * shape_.keys + key];
        const double length = norm;
        const bool is_zero = length == 0 || (metric_ == Metric::cosine && length <= 1e-12);
        norm = scale_of(length, metric_);
        if (is_zero && ++zeros > shape_.K + 1) return false;
        keep_largest(image, length);
        return true;
    }

    int32_t* own_members(std::size_t image) { return members_.get() + image * panels_ * PANEL; }

    // Measures the lengths of the keys to be admitted next: in each image key_at(image, 0 .. count-1), or none if negative.
    template <class KeyAt>
    void measure(const T* keys, std::size_t count, int threads, const KeyAt& key_at) {
        keys_ = keys;
        std::fill_n(largest_norms_.get(), shape_.batch, 0.0);
        parallel_for_rows(shape_.batch * count, threads, [&](std::size_t i) {
            const std::size_t image = i / count;
            const int64_t key = key_at(image, i % count);
            if (key >= 0) norms_.get()[image * shape_.keys + key] = exact_length(row(image, key), shape_.channels);
        });
    }

    // After the members are known. For float32 distances, norms become squared distances from the mean of the finite ones.
    void center(std::size_t image, std::size_t count) {
        if (IS_EXACT || metric_ != Metric::euclidean) return;
        const int32_t* keys = members(image);
        double *mean = means_.get() + image * shape_.channels, *norms = norms_.get() + image * shape_.keys;
        std::fill_n(mean, shape_.channels, 0.0);
        std::size_t finite = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (!std::isfinite(norms[keys[i]])) continue;
            ++finite;
            for (std::size_t c = 0; c < shape_.channels; ++c) mean[c] += row(image, keys[i])[c];
        }
        for (std::size_t c = 0; c < shape_.channels; ++c) mean[c] /= std::max<std::size_t>(finite, 1);
        largest_norms_.get()[image] = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const double square = exact_sum<SquaredDifference>(row(image, keys[i]), mean, shape_.channels);
            norms[keys[i]] = square;
            keep_largest(image, square);
        }
    }

    // The members from `first` to before `end`, in whole panels; the last one is repeated up to the end of its panel.
    void pack(std::size_t image, std::size_t first, std::size_t end) {
        S *to = rows_.get() + (image * panels_ * PANEL + first) * shape_.channels;
        S *norms = row_norms_.get() + image * panels_ * PANEL + first;
        for (std::size_t i = 0; i < round_up(end - first, PANEL); ++i) {
            const std::size_t key = members(image)[std::min(first + i, end - 1)];
            norms[i] = norm(image, key);
            convert(row(image, key), norm(image, key), image, to + i / PANEL * PANEL * shape_.channels + i % PANEL, PANEL);
        }
    }

    // Infinite from the first number on that is not finite.
    void keep_largest(std::size_t image, double norm) {
        double& largest = largest_norms_.get()[image];
        largest = norm <= DBL_MAX ? std::max(largest, norm) : std::numeric_limits<double>::infinity();
    }

    const double* mean(std::size_t image) const { return means_.get() + image * shape_.channels; }
    const double* norms(std::size_t image) const { return norms_.get() + image * shape_.keys; }

    SearchShape shape_;
    Metric metric_;
    std::size_t panels_;
    const T* keys_ = nullptr;
    Buffer<S> rows_, row_norms_;
    Buffer<double> norms_;  // of each key: its scale; for float32 distances, its squared distance from the mean
    Buffer<double> means_;  // (batch, channels)
    Buffer<int32_t> members_;
    Buffer<double> largest_norms_;
};

}  // namespace convnn
