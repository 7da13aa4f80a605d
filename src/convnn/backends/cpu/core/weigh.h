// Weights of the neighbours: scores of the chosen pairs, and their gradients.
#pragma once

#include <algorithm>
#include <cmath>

#include "neighbors.h"
#include "parallel.h"
#include "rows.h"
#include "score.h"
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
    for (; c + LANES<T> <= count; c += LANES<T>) sums = fused(load(a + c), load(b + c), sums);
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
        sums = fused(difference, difference, sums);
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
            T* to = out + row * s_.K;
            if (metric_ == Metric::euclidean)
                for (std::size_t k = 0; k < s_.K; ++k) to[k] = score_of(row, neighbor_(row, k), 0);
            else
                products(row, [&](std::size_t k, T product) {
                    const T score = score_of(row, neighbor_(row, k), product);
                    to[k] = metric_ == Metric::matmul ? score : score > 1 ? 1 : score < -1 ? -1 : score;
                });
        });
    }

    // With q and j a pair of score s and gradient g, all metrics pass  a k_j - b q  to the query and  a q - c k_j  to the
    // key: a = g / |q||k|, b = g s / |q|^2, c = g s / |k|^2 for the cosine, a = b = c = 2 g for the distance, a = g and
    // b = c = 0 for the product.
    void gradients(const T* grad, T* grad_queries, T* grad_keys) const {
        const Buffer<T> coefficients(2 * s_.rows() * s_.K);  // a and c of every pair
        parallel_for_rows(s_.rows(), threads_, [&](std::size_t row) { pull_query(row, grad, coefficients.get(), grad_queries); });
        if (neighbor_.shared) return gather_keys(coefficients.get(), grad_keys);
        const std::size_t parts = ceil_div(s_.channels, CHANNELS);
        parallel_for(s_.batch * parts, threads_, [&](std::size_t i, int) {
            scatter_keys(i / parts, i % parts * CHANNELS, coefficients.get(), grad_keys);
        });
    }

   private:
    // Lengths of rows, 0 for rows that count as zero vectors.
    void measure(const T* rows, std::size_t count, T* lengths) const {
        parallel_for_rows(count, threads_, [&](std::size_t row) {
            const T* x = rows + row * s_.channels;
            const T length = std::sqrt(dot(x, x, s_.channels));
            lengths[row] = length <= T(1e-12) ? 0 : length;
        });
    }

    // sink(k, q . k_j) for all neighbours of a query.
    template <class Sink>
    void products(std::size_t row, const Sink& sink) const {
        const T* q = queries_ + row * s_.channels;
        const auto term_of = [&](std::size_t k) {
            const T* key = keys_ + neighbor_(row, k) * s_.channels;
            return [=](std::size_t c, const auto& read) { return read(q + c) * read(key + c); };
        };
        sum_channels<T>(s_.channels, s_.K, term_of, sink);
    }

    // The product of the pair is known if its score is computed from it.
    T score_of(std::size_t row, std::size_t key, T product) const {
        if (metric_ == Metric::matmul) return product;
        if (metric_ == Metric::euclidean)
            return -squared_distance(queries_ + row * s_.channels, keys_ + key * s_.channels, s_.channels);
        const T lengths = query_lengths_.get()[row] * key_lengths_.get()[key];
        return lengths == 0 ? 0 : product / lengths;
    }

    void pull_query(std::size_t row, const T* grad, T* coefficients, T* grad_queries) const {
        T* to = grad_queries + row * s_.channels;
        const T* q = queries_ + row * s_.channels;
        T* pairs = coefficients + 2 * row * s_.K;
        T own = 0;
        const auto weigh = [&](std::size_t k, T product) {
            own += weigh_pair(row, neighbor_(row, k), grad[row * s_.K + k], product, pairs + 2 * k);
        };
        if (metric_ == Metric::cosine)
            products(row, weigh);
        else
            for (std::size_t k = 0; k < s_.K; ++k) weigh(k, 0);
        for (std::size_t c = 0; c < s_.channels; ++c) to[c] = own == 0 ? 0 : -own * q[c];
        sum_neighbors(to, s_.channels, s_.K, [&](std::size_t k) {
            const T* key = keys_ + neighbor_(row, k) * s_.channels;
            const T factor = pairs[2 * k];
            return [=](std::size_t c, const auto& read) { return factor * read(key + c); };
        });
    }

    // Writes a and c, returns b.
    T weigh_pair(std::size_t row, std::size_t key, T grad, T product, T* pair) const {
        if (metric_ == Metric::matmul) return pair[0] = grad, pair[1] = 0;
        if (metric_ == Metric::euclidean) return pair[0] = pair[1] = 2 * grad;
        const T score = score_of(row, key, product);
        const T query_length = query_lengths_.get()[row], key_length = key_lengths_.get()[key];
        const bool passes = query_length != 0 && key_length != 0 && !(std::abs(score) > 1);
        pair[0] = passes ? grad / query_length / key_length : 0;
        pair[1] = passes ? grad * score / key_length / key_length : 0;
        return passes ? grad * score / query_length / query_length : 0;
    }

    void gather_keys(const T* coefficients, T* grad_keys) const {
        const Sources sources_of(neighbor_);
        parallel_for_rows(s_.batch * s_.length, threads_, [&](std::size_t position) {
            T* to = grad_keys + position * s_.channels;
            const T* key = keys_ + position * s_.channels;
            const Sources::Of sources = sources_of(position);
            const auto pair = [&](std::size_t i) { return coefficients + 2 * (sources.row(i) * s_.K + sources.k(i)); };
            T own = 0;
            for (std::size_t i = 0; i < sources.count; ++i) own += pair(i)[1];
            for (std::size_t c = 0; c < s_.channels; ++c) to[c] = own == 0 ? 0 : -own * key[c];
            sum_neighbors(to, s_.channels, sources.count, [&](std::size_t i) {
                const T* q = queries_ + sources.row(i) * s_.channels;
                const T factor = pair(i)[0];
                return [=](std::size_t c, const auto& read) { return factor * read(q + c); };
            });
        });
    }

    // A task owns some channels of the keys of one image.
    void scatter_keys(std::size_t image, std::size_t first, const T* coefficients, T* grad_keys) const {
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
                if (metric_ == Metric::matmul)
                    for (std::size_t c = 0; c < count; ++c) to[c] += pair[0] * q[c];
                else
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
