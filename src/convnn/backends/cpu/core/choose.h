// Who the neighbours are where every slot has a short list of its own: the most or the least similar of each list.
#pragma once

#include <algorithm>
#include <cmath>

#include "parallel.h"
#include "select.h"

namespace convnn {

// In float64, always in the same order.
template <class T>
double exact_squared_distance(const T* a, const T* b, std::size_t channels) {
    constexpr std::size_t WIDTH = LANES<double>;
    Vector<double> lanes{};
    std::size_t c = 0;
    for (; c + WIDTH <= channels; c += WIDTH) {
        const Vector<double> difference = load_exactly(a + c) - load_exactly(b + c);
        lanes += difference * difference;
    }
    double sum = 0;
    for (std::size_t i = 0; i < WIDTH; ++i) sum += lanes[i];
    for (; c < channels; ++c) sum += (double(a[c]) - b[c]) * (double(a[c]) - b[c]);
    return sum;
}

struct ChoiceShape {
    std::size_t batch, queries, keys, channels, K, M;
};

// Scores are float64 sums rounded to float32, as in the search: a tie is a tie, and goes to the first of the list.
template <class T>
class Choice {
   public:
    Choice(const ChoiceShape& shape, Metric metric, bool unlike, int threads)
        : s_(shape), metric_(metric), unlike_(unlike), threads_(threads), norms_(s_.batch * s_.keys) {}

    // The lists (queries, K, M) are the same for all images.
    void run(const T* queries, const T* keys, const int64_t* lists, int64_t* out) const {
        parallel_for_rows(s_.batch * s_.keys, threads_, [&](std::size_t key) {
            norms_.get()[key] = measure(keys + key * s_.channels);
        });
        parallel_for_rows(s_.batch * s_.queries, threads_, [&](std::size_t row) {
            const std::size_t image = row / s_.queries, query = row - image * s_.queries;
            const T* q = queries + row * s_.channels;
            const Image in{keys + image * s_.keys * s_.channels, norms_.get() + image * s_.keys};
            const double norm = measure(q);
            for (std::size_t k = 0; k < s_.K; ++k)
                out[row * s_.K + k] = best_of(q, norm, in, lists + (query * s_.K + k) * s_.M);
        });
    }

   private:
    struct Image {
        const T* keys;
        const double* norms;
    };

    // One over the length of a row, 0 if it counts as zero; only the cosine asks.
    double measure(const T* row) const {
        if (metric_ != Metric::cosine) return 0;
        const double length = norm_of(row, s_.channels, metric_);
        return length == 0 ? 0 : 1 / length;
    }

    int64_t best_of(const T* q, double norm, const Image& in, const int64_t* list) const {
        const auto is_first = [&](int64_t key) { return key == list[0]; };
        if (std::all_of(list + 1, list + s_.M, is_first)) return list[0];  // nothing to choose
        int64_t best = list[0];
        float highest = score(q, norm, in, best);
        for (std::size_t m = 1; m < s_.M; ++m) {
            if (is_first(list[m])) continue;
            const float one = score(q, norm, in, list[m]);
            if (one > highest) highest = one, best = list[m];
        }
        return best;
    }

    float score(const T* q, double norm, const Image& in, int64_t key) const {
        const double closeness = closeness_of(q, in.keys + key * s_.channels, norm * in.norms[key]);
        return bounded(float(unlike_ ? -closeness : closeness));
    }

    double closeness_of(const T* q, const T* key, double per_lengths) const {
        if (metric_ == Metric::euclidean) return -exact_squared_distance(q, key, s_.channels);
        const double product = exact_dot(q, key, s_.channels);
        return metric_ == Metric::matmul ? product : std::clamp(product * per_lengths, -1.0, 1.0);
    }

    const ChoiceShape& s_;
    Metric metric_;
    bool unlike_;
    int threads_;
    Buffer<double> norms_;
};

}  // namespace convnn
