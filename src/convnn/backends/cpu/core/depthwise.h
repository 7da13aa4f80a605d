// The kernel of ConvNN attention: one weight for every slot and channel, out[row, c] = sum_k w[c, k] s[row, k] v[j_k,
// c].
#pragma once

#include "convolve.h"
#include "rows.h"

namespace convnn {

template <class T>
class Depthwise {
   public:
    static constexpr std::size_t CHANNELS = 64;    // channels of a task that scatters
    static constexpr std::size_t SUM_ROWS = 4096;  // rows of a partial sum of the weight's gradient

    Depthwise(const ConvolveShape& shape, const ConvolveInputs<T>& in, int threads)
        : s_(shape), in_(in), threads_(threads), weight_(s_.K * s_.channels) {
        for (std::size_t c = 0; c < s_.channels; ++c)
            for (std::size_t k = 0; k < s_.K; ++k) weight_.get()[k * s_.channels + c] = in.weight[c * s_.K + k];
    }

    void forward(const T* bias, T* out) const {
        parallel_for_rows(s_.rows(), threads_, [&](std::size_t row) {
            T* to = out + row * s_.channels;
            for (std::size_t c = 0; c < s_.channels; ++c) to[c] = bias ? bias[c] : T(0);
            sum_neighbors(to, s_.channels, s_.K, [&](std::size_t k) {
                const T *w = weight_.get() + k * s_.channels, *from = value(row, k);
                const T score = score_of(row, k);
                return [=](std::size_t c, const auto& read) { return read(w + c) * (score * read(from + c)); };
            });
        });
    }

    void scores(const T* grad, T* grad_scores) const {
        parallel_for_rows(s_.rows(), threads_, [&](std::size_t row) {
            const T* g = grad + row * s_.channels;
            const auto term_of = [&](std::size_t k) {
                const T *w = weight_.get() + k * s_.channels, *from = value(row, k);
                return [=](std::size_t c, const auto& read) { return read(g + c) * read(w + c) * read(from + c); };
            };
            sum_channels<T>(s_.channels, s_.K, term_of, [&](std::size_t k, T sum) { grad_scores[row * s_.K + k] = sum; });
        });
    }

    void values(const T* grad, T* grad_values) const {
        return in_.neighbors.shared ? gather_values(grad, grad_values) : scatter_values(grad, grad_values);
    }

    // Partial sums over fixed ranges of rows, added in order.
    void weight(const T* grad, T* grad_weight) const {
        const std::size_t size = s_.K * s_.channels, runs = ceil_div(s_.rows(), SUM_ROWS);
        const Buffer<T> sums(size * runs);
        parallel_for(runs, threads_, [&](std::size_t run, int) {
            T* __restrict to = sums.get() + run * size;
            std::fill_n(to, size, T(0));
            for (std::size_t row = run * SUM_ROWS; row < std::min(s_.rows(), (run + 1) * SUM_ROWS); ++row)
                for (std::size_t k = 0; k < s_.K; ++k) {
                    const T* __restrict g = grad + row * s_.channels;
                    const T* __restrict from = value(row, k);
                    const T score = score_of(row, k);
                    for (std::size_t c = 0; c < s_.channels; ++c) to[k * s_.channels + c] += g[c] * (score * from[c]);
                }
        });
        for (std::size_t c = 0; c < s_.channels; ++c)
            for (std::size_t k = 0; k < s_.K; ++k) {
                T sum = 0;
                for (std::size_t run = 0; run < runs; ++run) sum += sums.get()[run * size + k * s_.channels + c];
                grad_weight[c * s_.K + k] = sum;
            }
    }

   private:
    void gather_values(const T* grad, T* grad_values) const {
        const Sources sources_of(in_.neighbors);
        parallel_for_rows(s_.batch * s_.length, threads_, [&](std::size_t position) {
            T* to = grad_values + position * s_.channels;
            const Sources::Of sources = sources_of(position);
            std::fill_n(to, s_.channels, T(0));
            sum_neighbors(to, s_.channels, sources.count, [&](std::size_t i) {
                const std::size_t row = sources.row(i), k = sources.k(i);
                const T *g = grad + row * s_.channels, *w = weight_.get() + k * s_.channels;
                const T score = score_of(row, k);
                return [=](std::size_t c, const auto& read) { return score * read(w + c) * read(g + c); };
            });
        });
    }

    // A task owns some channels of one image.
    void scatter_values(const T* grad, T* grad_values) const {
        const std::size_t parts = ceil_div(s_.channels, CHANNELS);
        parallel_for(s_.batch * parts, threads_, [&](std::size_t i, int) {
            const std::size_t image = i / parts, first = i % parts * CHANNELS;
            const std::size_t count = std::min(CHANNELS, s_.channels - first);
            for (std::size_t t = 0; t < s_.length; ++t)
                std::fill_n(grad_values + (image * s_.length + t) * s_.channels + first, count, T(0));
            for (std::size_t row = image * s_.queries; row < (image + 1) * s_.queries; ++row)
                for (std::size_t k = 0; k < s_.K; ++k) {
                    const T* __restrict g = grad + row * s_.channels + first;
                    const T* __restrict w = weight_.get() + k * s_.channels + first;
                    T* __restrict to = grad_values + in_.neighbors(row, k) * s_.channels + first;
                    const T score = score_of(row, k);
                    for (std::size_t c = 0; c < count; ++c) to[c] += score * w[c] * g[c];
                }
        });
    }

    const T* value(std::size_t row, std::size_t k) const { return in_.values + in_.neighbors(row, k) * s_.channels; }
    T score_of(std::size_t row, std::size_t k) const { return in_.scores ? in_.scores[row * s_.K + k] : T(1); }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    int threads_;
    Buffer<T> weight_;
};

}  // namespace convnn
