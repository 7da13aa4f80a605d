// A pass of skip-gram with negative samples, in place: groups of pairs that have no row in common run at once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "parallel.h"
#include "simd.h"

namespace convnn {

struct SkipGramShape {
    std::size_t channels, negatives;
};

template <class T>
class SkipGram {
   public:
    SkipGram(SkipGramShape shape, double decay, double negative_weight, int threads)
        : shape_(shape), decay_(decay), negative_weight_(negative_weight), threads_(threads) {}

    // vertex and context (., channels); positive (pairs, 2), negative (pairs, negatives), rates and losses (pairs),
    // groups (count + 1) ascending.
    void run(T* vertex, T* context, const int64_t* positive, const int64_t* negative, const double* rates,
             const int64_t* groups, std::size_t count, T* losses) const {
        const double total = 1 + shape_.negatives * negative_weight_;
        parallel_for(count, threads_, [&](std::size_t group, int) {
            for (int64_t i = groups[group]; i < groups[group + 1]; ++i) {
                if (i + AHEAD < groups[group + 1]) fetch(vertex, context, positive, negative, i + AHEAD);
                T* v = vertex + positive[2 * i] * shape_.channels;
                double loss = 0;
                for (std::size_t k = 0; k < shape_.negatives; ++k)
                    loss += step(v, context + negative[i * shape_.negatives + k] * shape_.channels, T(0), rates[i]);
                loss += step(v, context + positive[2 * i + 1] * shape_.channels, T(1), rates[i]);
                losses[i] = T(loss / total);
            }
        });
    }

   private:
    static constexpr int64_t AHEAD = 8;
    static constexpr double LEAST = 1e-15;

    // One step of both rows from their old values; returns the weighted loss before it.
    double step(T* v, T* c, T label, double rate) const {
        const double weight = label ? 1 : negative_weight_;
        const double share = 1 / (1 + std::exp(-double(product(v, c))));
        const T by = T(rate * weight * (share - label)), keep = T(1 - rate * weight * decay_);
        const Vector<T> by_all = broadcast(by), keep_all = broadcast(keep);
        for (std::size_t i = 0; i < shape_.channels; i += LANES<T>) {
            const std::size_t left = shape_.channels - i;
            const Vector<T> old_v = load_some(v + i, left), old_c = load_some(c + i, left);
            store_some(v + i, keep_all * old_v - by_all * old_c, left);
            store_some(c + i, keep_all * old_c - by_all * old_v, left);
        }
        return -weight * std::log((label ? share : 1 - share) + LEAST);
    }

    T product(const T* a, const T* b) const {
        Vector<T> sums{};
        for (std::size_t i = 0; i < shape_.channels; i += LANES<T>)
            sums = fused(load_some(a + i, shape_.channels - i), load_some(b + i, shape_.channels - i), sums);
        T sum = 0;
        for (int lane = 0; lane < LANES<T>; ++lane) sum += sums[lane];
        return sum;
    }

    void fetch(const T* vertex, const T* context, const int64_t* positive, const int64_t* negative, int64_t i) const {
        prefetch(vertex + positive[2 * i] * shape_.channels, shape_.channels);
        prefetch(context + positive[2 * i + 1] * shape_.channels, shape_.channels);
        for (std::size_t k = 0; k < shape_.negatives; ++k)
            prefetch(context + negative[i * shape_.negatives + k] * shape_.channels, shape_.channels);
    }

    SkipGramShape shape_;
    double decay_, negative_weight_;
    int threads_;
};

}  // namespace convnn
