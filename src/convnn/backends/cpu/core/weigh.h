// How much each neighbour counts: scores of the chosen pairs, and their gradients.
#pragma once

#include <algorithm>
#include <cmath>

#include "neighbors.h"
#include "parallel.h"
#include "select.h"
#include "simd.h"

namespace convnn {

struct PairShape {
    std::size_t batch, queries, length, channels, K;

    std::size_t rows() const { return batch * queries; }
};

template <class T>
T dot(const T* a, const T* b, std::size_t count) {
    Vector<T> sums{};
    std::size_t c = 0;
    for (; c + LANES<T> <= count; c += LANES<T>) sums += load(a + c) * load(b + c);
    T sum = 0;
    for (int i = 0; i < LANES<T>; ++i) sum += sums[i];
    for (; c < count; ++c) sum += a[c] * b[c];
    return sum;
}

template <class T>
T squared_distance(const T* a, const T* b, std::size_t count) {
    Vector<T> sums{};
    std::size_t c = 0;
    for (; c + LANES<T> <= count; c += LANES<T>) {
        const Vector<T> difference = load(a + c) - load(b + c);
        sums += difference * difference;
    }
    T sum = 0;
    for (int i = 0; i < LANES<T>; ++i) sum += sums[i];
    for (; c < count; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
    return sum;
}

template <class T>
class Pairs {
   public:
    static constexpr std::size_t CHANNELS = 64;  // channels of a task that scatters

    Pairs(const PairShape& shape, Metric metric, const T* queries, const T* keys, const NeighborLists& neighbors,
          int threads)
        : s_(shape),
          metric_(metric),
          queries_(queries),
          keys_(keys),
          neighbor_(neighbors),
          threads_(threads),
          query_lengths_(s_.rows()),
          key_lengths_(s_.batch * s_.length) {
        if (metric_ != Metric::cosine) return;
        measure(queries_, s_.rows(), query_lengths_.get());
        measure(keys_, s_.batch * s_.length, key_lengths_.get());
    }

    void scores(T* out) const {
        parallel_for_rows(s_.rows(), threads_, [&](std::size_t row) {
            for (std::size_t k = 0; k < s_.K; ++k) {
                const T score = score_of(row, neighbor_(row, k));
                out[row * s_.K + k] = metric_ != Metric::cosine ? score : score > 1 ? 1 : score < -1 ? -1 : score;
            }
        });
    }

    // With q and j a pair of score s and gradient g, all metrics pass  a k_j - b q  to the query and  a q - c k_j  to the
    // key: a = g / |q||k|, b = g s / |q|^2, c = g s / |k|^2 for the cosine, a = b = c = 2 g for the distance, a = g and
    // b = c = 0 for the product.
    void gradients(const T* grad, T* grad_queries, T* grad_keys) const {
        const Buffer<T> coefficients(2 * s_.rows() * s_.K);  // a and c of every pair
        parallel_for_rows(s_.rows(), threads_, [&](std::size_t row) { pull_query(row, grad, coefficients.get(), grad_queries); });
        const std::size_t parts = ceil_div(s_.channels, CHANNELS);
        parallel_for(s_.batch * parts, threads_, [&](std::size_t i, int) {
            pull_keys(i / parts, i % parts * CHANNELS, coefficients.get(), grad_keys);
        });
    }

   private:
    // Lengths of rows, 0 for those that count as zero vectors.
    void measure(const T* rows, std::size_t count, T* lengths) const {
        parallel_for_rows(count, threads_, [&](std::size_t row) {
            const T* x = rows + row * s_.channels;
            const T length = std::sqrt(dot(x, x, s_.channels));
            lengths[row] = length <= T(1e-12) ? 0 : length;
        });
    }

    T score_of(std::size_t row, std::size_t key) const {
        const T* q = queries_ + row * s_.channels;
        const T* k = keys_ + key * s_.channels;
        if (metric_ == Metric::matmul) return dot(q, k, s_.channels);
        if (metric_ == Metric::euclidean) return -squared_distance(q, k, s_.channels);
        const T lengths = query_lengths_.get()[row] * key_lengths_.get()[key];
        return lengths == 0 ? 0 : dot(q, k, s_.channels) / lengths;
    }

    void pull_query(std::size_t row, const T* grad, T* coefficients, T* grad_queries) const {
        T* __restrict to = grad_queries + row * s_.channels;
        const T* __restrict q = queries_ + row * s_.channels;
        std::fill_n(to, s_.channels, T(0));
        T own = 0;
        for (std::size_t k = 0; k < s_.K; ++k) {
            const std::size_t key = neighbor_(row, k);
            T* pair = coefficients + 2 * (row * s_.K + k);
            own += weigh_pair(row, key, grad[row * s_.K + k], pair);
            const T* __restrict other = keys_ + key * s_.channels;
            for (std::size_t c = 0; c < s_.channels; ++c) to[c] += pair[0] * other[c];
        }
        for (std::size_t c = 0; c < s_.channels; ++c) to[c] -= own * q[c];
    }

    // Writes a and c, returns b.
    T weigh_pair(std::size_t row, std::size_t key, T grad, T* pair) const {
        if (metric_ == Metric::matmul) return pair[0] = grad, pair[1] = 0;
        if (metric_ == Metric::euclidean) return pair[0] = pair[1] = 2 * grad;
        const T score = score_of(row, key);
        const T query_length = query_lengths_.get()[row], key_length = key_lengths_.get()[key];
        const bool passes = query_length != 0 && key_length != 0 && !(std::abs(score) > 1);
        pair[0] = passes ? grad / query_length / key_length : 0;
        pair[1] = passes ? grad * score / key_length / key_length : 0;
        return passes ? grad * score / query_length / query_length : 0;
    }

    // A task owns some channels of the keys of one image.
    void pull_keys(std::size_t image, std::size_t first, const T* coefficients, T* grad_keys) const {
        const std::size_t count = std::min(CHANNELS, s_.channels - first);
        for (std::size_t t = 0; t < s_.length; ++t)
            std::fill_n(grad_keys + (image * s_.length + t) * s_.channels + first, count, T(0));
        for (std::size_t row = image * s_.queries; row < (image + 1) * s_.queries; ++row)
            for (std::size_t k = 0; k < s_.K; ++k) {
                const std::size_t offset = neighbor_(row, k) * s_.channels + first;
                const T* pair = coefficients + 2 * (row * s_.K + k);
                const T* __restrict q = queries_ + row * s_.channels + first;
                const T* __restrict key = keys_ + offset;
                T* __restrict to = grad_keys + offset;
                for (std::size_t c = 0; c < count; ++c) to[c] += pair[0] * q[c] - pair[1] * key[c];
            }
    }

    const PairShape& s_;
    Metric metric_;
    const T *queries_, *keys_;
    NeighborLists neighbor_;
    int threads_;
    Buffer<T> query_lengths_, key_lengths_;
};

}  // namespace convnn
