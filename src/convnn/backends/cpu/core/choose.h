// Choice of neighbours when every slot has a short list of candidates: the most or the least similar of each list.
#pragma once

#include <algorithm>

#include "parallel.h"
#include "score.h"

namespace convnn {

struct ChoiceShape {
    std::size_t batch, queries, keys, channels, K, M;
};

// Scores are those of the search; equal scores are exactly equal, and the first of the list wins.
template <class T>
class Choice {
   public:
    Choice(const ChoiceShape& shape, Metric metric, bool unlike, int threads)
        : s_(shape), metric_(metric), unlike_(unlike), threads_(threads), scales_(s_.batch * s_.keys) {}

    // All images share the lists (queries, K, M).
    void run(const T* queries, const T* keys, const int64_t* lists, int64_t* out) const {
        parallel_for_rows(s_.batch * s_.keys, threads_, [&](std::size_t key) {
            scales_.get()[key] = scale(keys + key * s_.channels);
        });
        parallel_for_rows(s_.batch * s_.queries, threads_, [&](std::size_t row) {
            const std::size_t image = row / s_.queries, query = row - image * s_.queries;
            const T* q = queries + row * s_.channels;
            const Image in{keys + image * s_.keys * s_.channels, scales_.get() + image * s_.keys};
            const double own = scale(q);
            for (std::size_t k = 0; k < s_.K; ++k)
                out[row * s_.K + k] = best_of(q, own, in, lists + (query * s_.K + k) * s_.M);
        });
    }

   private:
    struct Image {
        const T* keys;
        const double* scales;
    };

    double scale(const T* row) const {
        return metric_ == Metric::euclidean ? 0 : scale_of(exact_length(row, s_.channels), metric_);
    }

    int64_t best_of(const T* q, double own, const Image& in, const int64_t* list) const {
        const auto is_first = [&](int64_t key) { return key == list[0]; };
        if (std::all_of(list + 1, list + s_.M, is_first)) return list[0];  // nothing to choose
        int64_t best = list[0];
        float highest = score(q, own, in, best);
        for (std::size_t m = 1; m < s_.M; ++m) {
            if (is_first(list[m])) continue;
            const float one = score(q, own, in, list[m]);
            if (one > highest) highest = one, best = list[m];
        }
        return best;
    }

    float score(const T* q, double own, const Image& in, int64_t key) const {
        const T* row = in.keys + key * s_.channels;
        const double score = exact_score(q, row, s_.channels, own, in.scales[key], metric_);
        return bounded(float(unlike_ ? -score : score));
    }

    const ChoiceShape& s_;
    Metric metric_;
    bool unlike_;
    int threads_;
    Buffer<double> scales_;
};

}  // namespace convnn
