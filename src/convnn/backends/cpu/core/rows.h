// Sums over the neighbours of a row, and over their channels, with as many independent sums as registers hold, so that
// none waits for another. term_of(k) is the term of the k-th neighbour: a function of a channel and of a reader, which
// reads a number or a whole vector there.
#pragma once

#include <cstddef>

#include "simd.h"

namespace convnn {

template <class T>
inline Vector<T> read_vector(const T* from) {
    return load(from);
}

template <class T>
inline T read_number(const T* from) {
    return *from;
}

template <int VECTORS, class T, class TermOf>
inline void sum_vectors(T* to, std::size_t c, std::size_t count, const TermOf& term_of) {
    Vector<T> sums[VECTORS];
    for (int v = 0; v < VECTORS; ++v) sums[v] = load(to + c + v * LANES<T>);
    for (std::size_t k = 0; k < count; ++k) {
        const auto term = term_of(k);
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) sums[v] += term(c + v * LANES<T>, read_vector<T>);
    }
    for (int v = 0; v < VECTORS; ++v) store(to + c + v * LANES<T>, sums[v]);
}

// to[c] += sum_k term_of(k)(c)
template <class T, class TermOf>
void sum_neighbors(T* to, std::size_t channels, std::size_t count, const TermOf& term_of) {
    std::size_t c = 0;
    for (; c + 8 * LANES<T> <= channels; c += 8 * LANES<T>) sum_vectors<8>(to, c, count, term_of);
    for (; c + 4 * LANES<T> <= channels; c += 4 * LANES<T>) sum_vectors<4>(to, c, count, term_of);
    for (; c + LANES<T> <= channels; c += LANES<T>) sum_vectors<1>(to, c, count, term_of);
    for (; c < channels; ++c)
        for (std::size_t k = 0; k < count; ++k) to[c] += term_of(k)(c, read_number<T>);
}

template <class T, class Term>
inline T finish_sum(Vector<T> lanes, std::size_t c, std::size_t channels, const Term& term) {
    T sum = 0;
    for (int lane = 0; lane < LANES<T>; ++lane) sum += lanes[lane];
    for (; c < channels; ++c) sum += term(c, read_number<T>);
    return sum;
}

// sink(k, sum_c term_of(k)(c)) for every neighbour, four at a time.
template <class T, class TermOf, class Sink>
void sum_channels(std::size_t channels, std::size_t count, const TermOf& term_of, const Sink& sink) {
    for (std::size_t k = 0; k < count; k += 4) {
        const std::size_t last = count - 1;  // beyond it, the last one again
        const auto a = term_of(k), b = term_of(k + 1 < count ? k + 1 : last);
        const auto d = term_of(k + 2 < count ? k + 2 : last), e = term_of(k + 3 < count ? k + 3 : last);
        Vector<T> sums[4]{};
        std::size_t c = 0;
        for (; c + LANES<T> <= channels; c += LANES<T>) {
            sums[0] += a(c, read_vector<T>);
            sums[1] += b(c, read_vector<T>);
            sums[2] += d(c, read_vector<T>);
            sums[3] += e(c, read_vector<T>);
        }
        sink(k, finish_sum<T>(sums[0], c, channels, a));
        if (k + 1 < count) sink(k + 1, finish_sum<T>(sums[1], c, channels, b));
        if (k + 2 < count) sink(k + 2, finish_sum<T>(sums[2], c, channels, d));
        if (k + 3 < count) sink(k + 3, finish_sum<T>(sums[3], c, channels, e));
    }
}

}  // namespace convnn
