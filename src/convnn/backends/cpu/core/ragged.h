// Aggregation over lists of any length: the neighbours on a graph.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "parallel.h"
#include "rows.h"

namespace convnn {

// Neighbours in CSR order: those of list i are indices[starts[i]] to before indices[starts[i + 1]]. A place in `indices`
// is an edge.
struct RaggedLists {
    const int64_t* starts;
    const int64_t* indices;
    std::size_t count;

    std::size_t length(std::size_t list) const { return starts[list + 1] - starts[list]; }
};

// Every list is summed by one task, edge by edge in its order.
class Ragged {
   public:
    Ragged(RaggedLists lists, std::size_t channels, std::size_t heads, int threads)
        : lists_(lists), channels_(channels), heads_(heads), threads_(threads) {}

    // out[i, c] = sum_e scores[e, head of c] values[index of e, c]; scores (edges, heads), or null where all are 1.
    template <class T>
    void sum(const T* values, const T* scores, T* out) const {
        const std::size_t width = channels_ / heads_;
        each_list([&](std::size_t list, const int64_t* indices, std::size_t first, std::size_t count) {
            std::fill_n(out + list * channels_, channels_, T(0));
            for (std::size_t h = 0; h < heads_; ++h)
                sum_neighbors(out + list * channels_ + h * width, width, count, [&](std::size_t k) {
                    const T* from = values + indices[k] * channels_ + h * width;
                    const T score = scores ? scores[(first + k) * heads_ + h] : T(1);
                    return [=](std::size_t c, const auto& read) { return score * read(from + c); };
                });
        });
    }

    // out[e, h] = <queries[list of e], keys[index of e]> over the channels of head h.
    template <class T>
    void products(const T* queries, const T* keys, T* out) const {
        const std::size_t width = channels_ / heads_;
        each_list([&](std::size_t list, const int64_t* indices, std::size_t first, std::size_t count) {
            for (std::size_t h = 0; h < heads_; ++h) {
                const T* query = queries + list * channels_ + h * width;
                const auto term_of = [&](std::size_t k) {
                    const T* key = keys + indices[k] * channels_ + h * width;
                    return [=](std::size_t c, const auto& read) { return read(query + c) * read(key + c); };
                };
                sum_channels<T>(width, count, term_of,
                                [&](std::size_t k, T sum) { out[(first + k) * heads_ + h] = sum; });
            }
        });
    }

    // The index of the largest value in each channel, -1 in empty lists; NaN is largest, and the first of equals wins.
    template <class T>
    void largest(const T* values, int64_t* choices) const {
        each_list([&](std::size_t list, const int64_t* indices, std::size_t, std::size_t count) {
            for (std::size_t c = 0; c < channels_; c += BLOCK) {
                const std::size_t width = std::min(BLOCK, channels_ - c);
                choose(values + c, indices, count, width, choices + list * channels_ + c);
            }
        });
    }

    // Means weighted by a softmax in each channel, p = softmax(t v): sum_e p v, with the logarithm of the sum of all
    // powers, and sum_e p v^2; 0 in empty lists.
    template <class T>
    void softmax(const T* values, const T* temperatures, T* out, T* logs, T* squares) const {
        each_list([&](std::size_t list, const int64_t* indices, std::size_t, std::size_t count) {
            for (std::size_t c = 0; c < channels_; c += LANES<T>) {
                const std::size_t at = list * channels_ + c, width = channels_ - c;
                const auto value = [&](std::size_t k) { return load_some(values + indices[k] * channels_ + c, width); };
                const Vector<T> t = load_some(temperatures + c, width);
                Vector<T> largest = broadcast(-std::numeric_limits<T>::infinity()), sum{}, first{}, second{};
                for (std::size_t k = 0; k < count; ++k) largest = t * value(k) > largest ? t * value(k) : largest;
                for (std::size_t k = 0; k < count; ++k) {
                    const Vector<T> v = value(k), p = power_of_e(t * v - largest);
                    sum += p;
                    first += p * v;
                    second += p * v * v;
                }
                if (!count) largest = Vector<T>{}, sum += T(1);
                store_some(out + at, first / sum, width);
                store_some(squares + at, second / sum, width);
                for (int lane = 0; lane < LANES<T>; ++lane) largest[lane] += std::log(sum[lane]);
                store_some(logs + at, largest, width);
            }
        });
    }

    // The gradient of the values, of whose transposed lists these are: sum_i g_i p_i (1 + t (v - out_i)) over the lists
    // that a position is in.
    template <class T>
    void softmax_values(const T* grad, const T* values, const T* temperatures, const T* out, const T* logs,
                        T* grad_values) const {
        each_list([&](std::size_t position, const int64_t* lists, std::size_t, std::size_t count) {
            for (std::size_t c = 0; c < channels_; c += LANES<T>) {
                const std::size_t width = channels_ - c;
                const Vector<T> t = load_some(temperatures + c, width);
                const Vector<T> v = load_some(values + position * channels_ + c, width);
                Vector<T> sum{};
                for (std::size_t k = 0; k < count; ++k) {
                    const std::size_t at = lists[k] * channels_ + c;
                    const Vector<T> p = power_of_e(t * v - load_some(logs + at, width));
                    sum += load_some(grad + at, width) * p * (T(1) + t * (v - load_some(out + at, width)));
                }
                store_some(grad_values + position * channels_ + c, sum, width);
            }
        });
    }

   private:
    static constexpr std::size_t BLOCK = 64;  // channels compared at once

    template <class Visit>
    void each_list(const Visit& visit) const {
        parallel_for_rows(lists_.count, threads_, [&](std::size_t list) {
            visit(list, lists_.indices + lists_.starts[list], lists_.starts[list], lists_.length(list));
        });
    }

    // Slots are as wide as values, so that all lanes have one width.
    template <class T>
    void choose(const T* values, const int64_t* indices, std::size_t count, std::size_t width, int64_t* choices) const {
        using Slot = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
        T best[BLOCK];
        Slot slots[BLOCK] = {};
        if (count) std::copy_n(values + indices[0] * channels_, width, best);
        for (std::size_t k = 1; k < count; ++k) {
            const T* value = values + indices[k] * channels_;
            for (std::size_t c = 0; c < width; ++c) {
                const bool is_better = value[c] > best[c] || (value[c] != value[c] && best[c] == best[c]);
                slots[c] = is_better ? Slot(k) : slots[c];
                best[c] = is_better ? value[c] : best[c];
            }
        }
        for (std::size_t c = 0; c < width; ++c) choices[c] = count ? indices[slots[c]] : -1;
    }

    RaggedLists lists_;
    std::size_t channels_, heads_;
    int threads_;
};

// out (positions, channels): in each channel of a position, the sum of the rows whose choice it is; negative choices are
// none. A task owns some channels, and rows follow one another.
template <class T>
void scatter(const T* rows, const int64_t* choices, std::size_t count, std::size_t positions, std::size_t channels, T* out,
             int threads) {
    constexpr std::size_t LINE = 64 / sizeof(T);
    parallel_for(ceil_div(channels, LINE), threads, [&](std::size_t i, int) {
        const std::size_t first = i * LINE, end = std::min(channels, first + LINE);
        for (std::size_t t = 0; t < positions; ++t) std::fill(out + t * channels + first, out + t * channels + end, T(0));
        for (std::size_t row = 0; row < count; ++row)
            for (std::size_t c = first; c < end; ++c) {
                const int64_t choice = choices[row * channels + c];
                if (choice >= 0) out[choice * channels + c] += rows[row * channels + c];
            }
    });
}

// The same edges by the other end: sorted by index, in the order of their lists. starts (positions + 1), lists (edges)
// the list of each, edges (edges) its number in the original order.
inline void transpose(RaggedLists lists, std::size_t positions, int64_t* starts, int64_t* of, int64_t* edges) {
    std::fill_n(starts, positions + 1, 0);
    const std::size_t total = lists.starts[lists.count];
    for (std::size_t e = 0; e < total; ++e) ++starts[lists.indices[e] + 1];
    for (std::size_t t = 0; t < positions; ++t) starts[t + 1] += starts[t];
    for (std::size_t list = 0, e = 0; list < lists.count; ++list)
        for (std::size_t k = 0; k < lists.length(list); ++k, ++e) {
            const int64_t at = starts[lists.indices[e]]++;
            of[at] = list, edges[at] = e;
        }
    std::copy_backward(starts, starts + positions, starts + positions + 1);  // each had moved to the start of the next
    starts[0] = 0;
}

}  // namespace convnn
