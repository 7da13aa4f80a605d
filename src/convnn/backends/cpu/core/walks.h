// Random walks on lists of any length, a step for each given number.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "ragged.h"

namespace convnn {

// Number `place` of SplitMix64 with a seed.
inline uint64_t random_bits(uint64_t seed, uint64_t place) {
    uint64_t bits = seed + (place + 1) * 0x9E3779B97F4A7C15u;
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
    return bits ^ (bits >> 31);
}

inline void random_bits(uint64_t seed, uint64_t first, std::size_t count, int64_t* out, int threads) {
    constexpr std::size_t BLOCK = 1 << 14;
    parallel_for(ceil_div(count, BLOCK), threads, [&](std::size_t task, int) {
        for (std::size_t i = task * BLOCK; i < std::min(count, (task + 1) * BLOCK); ++i)
            out[i] = random_bits(seed, first + i);
    });
}

// Running sums within each list.
inline void cumulative_weights(RaggedLists lists, const double* weights, double* out, int threads) {
    parallel_for_rows(lists.count, threads, [&](std::size_t list) {
        double sum = 0;
        for (int64_t e = lists.starts[list]; e < lists.starts[list + 1]; ++e) out[e] = sum += weights[e];
    });
}

// What makes steps likely: weights and their running sums, or null where they are equal; of second order, also the
// transposed lists, or null.
struct Likelihood {
    const double* weights;
    const double* cumulative;
    const int64_t* back_starts;
    const int64_t* back_indices;
    double p, q;
};

class Walks {
   public:
    Walks(RaggedLists lists, Likelihood likely, int threads) : lists_(lists), likely_(likely), threads_(threads) {}

    // out (count, length + 1) from numbers (count, length) in [0, 1), or integers.
    template <class Number>
    void run(const int64_t* nodes, const Number* numbers, std::size_t count, std::size_t length, int64_t* out) const {
        const Scratch<double> sums(likely_.back_starts ? longest() : 0, threads_);
        parallel_for(ceil_div(count, TOGETHER), threads_, [&](std::size_t task, int thread) {
            const std::size_t first = task * TOGETHER, end = std::min(count, first + TOGETHER);
            for (std::size_t w = first; w < end; ++w) out[w * (length + 1)] = nodes[w];
            for (std::size_t step = 0; step < length; ++step)
                for (std::size_t w = first; w < end; ++w) {
                    int64_t* at = out + w * (length + 1) + step;
                    const int64_t before = likely_.back_starts && step ? at[-1] : -1;
                    at[1] = next(*at, before, numbers[w * length + step], sums.get(thread));
                    __builtin_prefetch(lists_.starts + at[1]);
                }
        });
    }

   private:
    static constexpr std::size_t TOGETHER = 64;  // walks in turn: the memory of one is on its way while others step

    template <class Number>
    int64_t next(int64_t at, int64_t before, Number number, double* sums) const {
        const int64_t first = lists_.starts[at], degree = lists_.starts[at + 1] - first;
        if (!degree) return at;
        return lists_.indices[first + place(first, degree, before, number, sums)];
    }

    int64_t place(int64_t, int64_t degree, int64_t, int64_t number, double*) const { return number % degree; }

    int64_t place(int64_t first, int64_t degree, int64_t before, double number, double* sums) const {
        if (before >= 0) {
            bias(first, degree, before, sums);
            return first_above(sums, degree, number);
        }
        return likely_.cumulative ? first_above(likely_.cumulative + first, degree, number) : int64_t(number * degree);
    }

    static int64_t first_above(const double* sums, int64_t count, double number) {
        return std::min<int64_t>(std::upper_bound(sums, sums + count, number * sums[count - 1]) - sums, count - 1);
    }

    // Running sums of the weights of a step, after one from `before`.
    void bias(int64_t first, int64_t degree, int64_t before, double* sums) const {
        const int64_t* ones = likely_.back_indices + likely_.back_starts[before];  // those that lead to it, ascending
        const int64_t* end = likely_.back_indices + likely_.back_starts[before + 1];
        double sum = 0;
        for (int64_t k = 0; k < degree; ++k) {
            const int64_t to = lists_.indices[first + k];
            double weight = likely_.weights ? likely_.weights[first + k] : 1;
            if (to == before)
                weight /= likely_.p;
            else if (!std::binary_search(ones, end, to))
                weight /= likely_.q;
            sums[k] = sum += weight;
        }
    }

    std::size_t longest() const {
        std::size_t most = 0;
        for (std::size_t list = 0; list < lists_.count; ++list) most = std::max(most, lists_.length(list));
        return most;
    }

    RaggedLists lists_;
    Likelihood likely_;
    int threads_;
};

}  // namespace convnn
