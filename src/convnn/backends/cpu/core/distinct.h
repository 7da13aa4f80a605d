// Rows that have a neighbour in common, in one slot of the kernel, share its product with the weights: the product is
// computed once for each distinct neighbour. On random maps that saves a third of all products, on natural ones more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "neighbors.h"
#include "parallel.h"
#include "simd.h"

namespace convnn {

// The distinct neighbours of a range of rows in one slot, in the order in which rows first name them.
class Distinct {
 public:
    explicit Distinct(std::size_t rows) : positions_(rows), of_(rows) {
        while (std::size_t(1) << bits_ < 2 * rows) ++bits_;
        table_.resize(std::size_t(1) << bits_);
    }

    void find(const NeighborLists& lists, std::size_t first, std::size_t rows, std::size_t k) {
        std::fill(table_.begin(), table_.end(), EMPTY);
        count_ = 0;
        lists.each(first, rows, [&](std::size_t r, const int64_t* list, std::size_t offset) {
            of_[r] = number_of(offset + list[k]);
        });
    }

    std::size_t count() const { return count_; }
    std::size_t position(std::size_t i) const { return positions_[i]; }  // among (batch * length)
    std::size_t of(std::size_t r) const { return of_[r]; }               // the neighbour of the r-th row of the range

 private:
    static constexpr uint32_t EMPTY = UINT32_MAX;

    uint32_t number_of(std::size_t position) {
        std::size_t at = uint64_t(position) * 0x9E3779B97F4A7C15 >> (64 - bits_);
        for (; table_[at] != EMPTY; at = (at + 1) & (table_.size() - 1))
            if (positions_[table_[at]] == position) return table_[at];
        positions_[count_] = position;
        return table_[at] = uint32_t(count_++);
    }

    int bits_ = 1;
    std::size_t count_ = 0;
    std::vector<std::size_t> positions_;
    std::vector<uint32_t> of_, table_;
};

// The gradient that each distinct neighbour receives: that of its row, in place, or the sum over its rows.
template <class T>
class Received {
 public:
    Received(std::size_t rows, std::size_t width, bool scored)
        : width_(width), stride_(round_up(width, 16) + 16), rows_(rows), sums_(rows), numbers_(stride_ * (scored ? rows : rows / 2)) {}

    // grad points to the first row, scores to those of its slot, or to nothing where every score is 1.
    void sum(const Distinct& distinct, std::size_t rows, const T* grad, std::size_t step, const T* scores, std::size_t K) {
        std::size_t used = 0;
        std::fill_n(rows_.begin(), distinct.count(), nullptr);
        std::fill_n(sums_.begin(), distinct.count(), nullptr);
        for (std::size_t r = 0; r < rows; ++r, grad += step) {
            const std::size_t i = distinct.of(r);
            if (!scores && !rows_[i]) {
                rows_[i] = grad;
                continue;
            }
            const T* before = rows_[i];
            if (!sums_[i]) rows_[i] = sums_[i] = numbers_.get() + stride_ * used++;
            add(sums_[i], before, grad, scores ? scores[r * K] : T(1));
        }
    }

    const T* const* rows() const { return rows_.data(); }

 private:
    void add(T* to, const T* before, const T* grad, T score) const {
        const Vector<T> factor = broadcast(score);
        std::size_t c = 0;
        for (; c + LANES<T> <= width_; c += LANES<T>)
            store(to + c, fused(factor, load(grad + c), before ? load(before + c) : Vector<T>{}));
        for (; c < width_; ++c) to[c] = (before ? before[c] : T(0)) + score * grad[c];
    }

    std::size_t width_, stride_;
    std::vector<const T*> rows_;
    std::vector<T*> sums_;
    Buffer<T> numbers_;
};

}  // namespace convnn
