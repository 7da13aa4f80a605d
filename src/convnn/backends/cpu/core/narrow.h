// convolve.h for few channels: the neighbours of a row in all slots are gathered one after another, (channel, slot) as in
// the weight, so that each direction is one product with a deep or wide enough matrix.
#pragma once

#include <algorithm>
#include <deque>
#include <type_traits>

#include "convolve.h"
#include "gradients.h"

namespace convnn {

template <class T>
class Narrow {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t BLOCK = 8 * TILE_ROWS;  // rows gathered at once

    Narrow(const ConvolveShape& shape, const ConvolveInputs<T>& in, int threads)
        : s_(shape), in_(in), threads_(threads), depth_(s_.width() * s_.K) {}

    void forward(const T* bias, T* out) const {
        const std::size_t panels = ceil_div(s_.group_outputs(), PANEL), size = panels * depth_ * PANEL;
        const Buffer<T> packed(s_.groups * size);
        for (std::size_t i = 0; i < s_.groups * panels; ++i) {
            const std::size_t first = i % panels * PANEL;
            pack_panel(weight(i / panels) + first * depth_, s_.group_outputs() - first, s_.width(), s_.K,
                       packed.get() + i * depth_ * PANEL, s_.K * PANEL, PANEL);
        }
        const Scratch<T> gathered(BLOCK * depth_, threads_);
        parallel_for(ceil_div(s_.rows(), BLOCK) * s_.groups, threads_, [&](std::size_t i, int thread) {
            const std::size_t group = i % s_.groups, first = i / s_.groups * BLOCK;
            const std::size_t rows = std::min(BLOCK, s_.rows() - first);
            T* block = gathered.get(thread);
            gather(group, first, rows, block, depth_);
            for (std::size_t p = 0; p < panels; ++p)
                each_tile(block, depth_, rows, depth_, packed.get() + group * size + p * depth_ * PANEL,
                          [&](std::size_t r, const T* sums) {
                              const std::size_t column = group * s_.group_outputs() + p * PANEL;
                              write_row(out + (first + r) * s_.outputs + column, sums, bias ? bias + column : nullptr,
                                        std::min(PANEL, s_.group_outputs() - p * PANEL));
                          });
        });
    }

    // A task owns a group of an image.
    void values(const T* grad, T* grad_values) const {
        const std::size_t panels = ceil_div(depth_, PANEL), size = panels * s_.group_outputs() * PANEL;
        const Buffer<T> packed(s_.groups * size);
        for (std::size_t i = 0; i < s_.groups * panels; ++i) pack_rows(i / panels, i % panels * PANEL, packed.get() + i * size / panels);
        const Scratch<T> products(BLOCK * panels * PANEL, threads_);
        parallel_for(s_.batch * s_.groups, threads_, [&](std::size_t i, int thread) {
            const std::size_t group = i % s_.groups, image = i / s_.groups;
            T* to = grad_values + image * s_.length * s_.channels + group * s_.width();
            for (std::size_t t = 0; t < s_.length; ++t) std::fill_n(to + t * s_.channels, s_.width(), T(0));
            for (std::size_t row = 0; row < s_.queries; row += BLOCK) {
                const std::size_t rows = std::min(BLOCK, s_.queries - row), first = image * s_.queries + row;
                T* block = products.get(thread);
                for (std::size_t p = 0; p < panels; ++p)
                    each_tile(grad + first * s_.outputs + group * s_.group_outputs(), s_.outputs, rows,
                              s_.group_outputs(), packed.get() + group * size + p * s_.group_outputs() * PANEL,
                              [&](std::size_t r, const T* sums) {
                                  std::copy_n(sums, PANEL, block + (r * panels + p) * PANEL);
                              });
                scatter(first, rows, block, panels * PANEL, grad_values + group * s_.width());
            }
        });
    }

    // Partial sums over fixed ranges of rows, added in order.
    void weight(const T* grad, T* grad_weight) const {
        const std::size_t outputs = round_up(s_.group_outputs(), TILE_ROWS), columns = round_up(depth_, PANEL);
        const std::size_t blocks = ceil_div(s_.rows(), BLOCK), wanted = ceil_div(MIN_TASKS, s_.groups);
        const std::size_t run_rows = ceil_div(blocks, std::min(blocks, wanted)) * BLOCK;
        const std::size_t runs = ceil_div(s_.rows(), run_rows), size = outputs * columns;
        const Buffer<T> sums(s_.groups * runs * size);
        const Scratch<T> gathered(BLOCK * columns, threads_);
        std::deque<TransposedRows<T>> grads;
        for (int thread = 0; thread < threads_; ++thread) grads.emplace_back(BLOCK, s_.group_outputs());
        parallel_for(s_.groups * runs, threads_, [&](std::size_t i, int thread) {
            const std::size_t group = i % s_.groups, run = i / s_.groups, last = std::min(s_.rows(), (run + 1) * run_rows);
            T *to = sums.get() + (group * runs + run) * size, *block = gathered.get(thread);
            std::fill_n(to, size, T(0));
            std::fill_n(block, BLOCK * columns, T(0));
            for (std::size_t first = run * run_rows; first < last; first += BLOCK) {
                const std::size_t rows = std::min(BLOCK, last - first);
                gather(group, first, rows, block, columns);
                prefetch(grad + (first + rows) * s_.outputs, std::min(BLOCK, last - first - rows) * s_.outputs);
                const T* pointers[BLOCK];
                for (std::size_t r = 0; r < rows; ++r)
                    pointers[r] = grad + (first + r) * s_.outputs + group * s_.group_outputs();
                grads[thread].set(pointers, rows);
                for (std::size_t m = 0; m < columns; m += PANEL)
                    grads[thread].multiply(to + m * outputs, 0, rows, block + m, columns);
            }
        });
        for (std::size_t o = 0; o < s_.outputs; ++o)
            for (std::size_t m = 0; m < depth_; ++m) {
                const std::size_t group = o / s_.group_outputs(), row = o % s_.group_outputs();
                const T* from = sums.get() + group * runs * size + (m / PANEL * outputs + row) * PANEL + m % PANEL;
                T sum = 0;
                for (std::size_t run = 0; run < runs; ++run) sum += from[run * size];
                grad_weight[o * depth_ + m] = sum;
            }
    }

   private:
    const T* weight(std::size_t group) const { return in_.weight + group * s_.group_outputs() * depth_; }

    // The neighbours of some rows, (rows, step), each in its column channel * K + slot. Colours get their own loop.
    void gather(std::size_t group, std::size_t first, std::size_t rows, T* to, std::size_t step) const {
        s_.width() == 3 ? gather_channels(group, first, rows, to, step, std::integral_constant<std::size_t, 3>{})
                        : gather_channels(group, first, rows, to, step, s_.width());
    }

    template <class Width>
    void gather_channels(std::size_t group, std::size_t first, std::size_t rows, T* to, std::size_t step,
                         Width width) const {
        in_.neighbors.each(first, rows, [&](std::size_t r, const int64_t* list, std::size_t offset) {
            for (std::size_t k = 0; k < s_.K; ++k) {
                const T* from = in_.values + (offset + list[k]) * s_.channels + group * width;
                const T score = in_.scores ? in_.scores[(first + r) * s_.K + k] : T(1);
                for (std::size_t c = 0; c < width; ++c) to[r * step + c * s_.K + k] = score * from[c];
            }
        });
    }

    void scatter(std::size_t first, std::size_t rows, const T* products, std::size_t step, T* grad_values) const {
        in_.neighbors.each(first, rows, [&](std::size_t r, const int64_t* list, std::size_t offset) {
            for (std::size_t k = 0; k < s_.K; ++k) {
                T* to = grad_values + (offset + list[k]) * s_.channels;
                const T score = in_.scores ? in_.scores[(first + r) * s_.K + k] : T(1);
                for (std::size_t c = 0; c < s_.width(); ++c) to[c] += score * products[r * step + c * s_.K + k];
            }
        });
    }

    // write(r, sums) for the products of rows with a panel of weights
    template <class Write>
    static void each_tile(const T* first, std::size_t step, std::size_t rows, std::size_t depth, const T* panel,
                          const Write& write) {
        for (std::size_t row = 0; row < rows; row += TILE_ROWS) {
            T tile[TILE_ROWS * PANEL];
            const T* pointers[TILE_ROWS];
            for (std::size_t r = 0; r < TILE_ROWS; ++r) pointers[r] = first + std::min(row + r, rows - 1) * step;
            multiply<Start::at_zero, 1>(tile, pointers, depth, panel);
            for (std::size_t r = 0; r < TILE_ROWS && row + r < rows; ++r) write(row + r, tile + r * PANEL);
        }
    }

    // Columns of the weights of a group as they are, (group_outputs, PANEL), zeros after the last one.
    void pack_rows(std::size_t group, std::size_t first, T* to) const {
        for (std::size_t o = 0; o < s_.group_outputs(); ++o)
            for (std::size_t m = 0; m < PANEL; ++m)
                *to++ = first + m < depth_ ? weight(group)[o * depth_ + first + m] : T(0);
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    int threads_;
    std::size_t depth_;
};

}  // namespace convnn
