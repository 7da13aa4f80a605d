// A learned kernel over the neighbours: out[row] = sum_k s[row, k] values[neighbor(row, k)] W_k, slot by slot, as matrix
// products whose gathered operand is never materialised: rows of the values are multiplied in place. Positions are rows
// of a (batch * length, channels) matrix throughout. gradients.h has the gradients, narrow.h the case of few channels.
#pragma once

#include <algorithm>
#include <vector>

#include "distinct.h"
#include "neighbors.h"
#include "parallel.h"
#include "simd.h"

namespace convnn {

struct ConvolveShape {
    std::size_t batch, length, queries, K, channels, outputs, groups;

    std::size_t rows() const { return batch * queries; }
    std::size_t width() const { return channels / groups; }          // channels per group
    std::size_t group_outputs() const { return outputs / groups; }
};

template <class T>
struct ConvolveInputs {
    const T* values;          // (batch, length, channels)
    NeighborLists neighbors;
    const T* scores;          // (batch, queries, K) or nullptr
    const T* weight;          // (outputs, width, K)
};

constexpr std::size_t NARROW = 16;     // fewer channels are for narrow.h
constexpr std::size_t DEPTH = 256;     // products summed before the sums are stored: a panel of them fits into L1
constexpr std::size_t MIN_TASKS = 16;  // work is cut finer than is best for one thread until there are so many tasks

// Rows of a task: whole images, about `wanted` rows, as rows of one image have neighbours in common; or parts of large
// images.
inline std::size_t rows_of_task(const ConvolveShape& s, std::size_t wanted) {
    constexpr std::size_t MOST = 1024;
    return s.queries > MOST ? MOST : std::max<std::size_t>(1, wanted / s.queries) * s.queries;
}

// Packs the weights (outputs, channels, K) of a panel of outputs: those of a channel in a slot become PANEL numbers at
// to + channel * channel_step + slot * slot_step, zeros after the last output.
template <class T>
void pack_panel(const T* weights, std::size_t outputs, std::size_t channels, std::size_t K, T* to,
                std::size_t channel_step, std::size_t slot_step) {
    const std::size_t columns = channels * K;
    T* next = to;
    std::size_t slot = 0;
    const auto advance = [&] {
        next += slot_step;
        if (++slot == K) slot = 0, next += channel_step - K * slot_step;
    };
    std::size_t m = 0;
    for (; outputs >= TILE_COLUMNS<T> && m + LANES<T> <= columns; m += LANES<T>) {
        Vector<T> left[LANES<T>], right[LANES<T>];
        for (std::size_t i = 0; i < LANES<T>; ++i) left[i] = load(weights + i * columns + m);
        transpose<T>(left);
        for (std::size_t i = 0; i < LANES<T>; ++i) right[i] = load(weights + (LANES<T> + i) * columns + m);
        transpose<T>(right);
        for (std::size_t i = 0; i < LANES<T>; ++i, advance()) store(next, left[i]), store(next + LANES<T>, right[i]);
    }
    for (; m < columns; ++m, advance())
        for (std::size_t o = 0; o < TILE_COLUMNS<T>; ++o) next[o] = o < outputs ? weights[o * columns + m] : T(0);
}

// Writes a row of a tile, of which count columns are outputs, plus the bias if there is one.
template <class T>
void write_row(T* to, const T* sums, const T* bias, std::size_t count) {
    if (count == TILE_COLUMNS<T>)
        for (int v = 0; v < 2; ++v, to += LANES<T>, sums += LANES<T>)
            store(to, bias ? load(sums) + load(bias + v * LANES<T>) : load(sums));
    else
        for (std::size_t o = 0; o < count; ++o) to[o] = sums[o] + (bias ? bias[o] : T(0));
}

template <class T>
class Forward {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t SUMS = 1 << 16;  // numbers that a task sums at once: they stay in L2

    Forward(const ConvolveShape& shape, const ConvolveInputs<T>& in, int threads)
        : s_(shape),
          in_(in),
          threads_(threads),
          rows_(rows_of_task(s_, 256)),
          panels_(ceil_div(s_.group_outputs(), PANEL)),
          stride_((s_.width() + 1) * PANEL),
          packed_(s_.groups * panels_ * s_.K * stride_) {
        if (ceil_div(s_.rows(), rows_) * s_.groups * panels_ < MIN_TASKS) rows_ = std::min<std::size_t>(rows_, 128);
        const std::size_t blocks = ceil_div(s_.rows(), rows_), few = ceil_div(blocks * s_.groups * panels_, MIN_TASKS);
        capacity_ = round_up(rows_, TILE_ROWS);
        panels_at_once_ = std::max<std::size_t>(1, std::min({SUMS / (rows_ * PANEL), panels_, few}));
    }

    void run(const T* bias, T* out) {
        parallel_for(s_.groups * panels_, threads_, [&](std::size_t i, int) { pack(i / panels_, i % panels_); });
        const std::size_t blocks = ceil_div(s_.rows(), rows_), parts = ceil_div(panels_, panels_at_once_);
        const std::size_t size = capacity_ * panels_at_once_ * PANEL;
        const Scratch<T> scratch(2 * size, threads_);
        std::vector<Distinct> distinct(threads_, Distinct(rows_));
        parallel_for(blocks * parts * s_.groups, threads_, [&](std::size_t i, int thread) {
            Task task{i % s_.groups, i / s_.groups % parts * panels_at_once_, i / s_.groups / parts * rows_};
            task.panels = std::min(panels_at_once_, panels_ - task.panel);
            task.rows = std::min(rows_, s_.rows() - task.first);
            task.sums = scratch.get(thread);
            task.products = task.sums + size;
            for (std::size_t k = 0; k < s_.K; ++k) add_slot(task, k, distinct[thread]);
            write(task, bias, out);
        });
    }

   private:
    struct Task {
        std::size_t group, panel, first, panels = 0, rows = 0;
        T *sums = nullptr, *products = nullptr;  // (panels, capacity, PANEL)
    };

    // The weights of a panel of outputs in one slot, (width, PANEL). Slots are one cache line farther apart: at powers of
    // two they would all compete for the same lines of the cache.
    T* panel_at(std::size_t group, std::size_t panel, std::size_t k) const {
        return packed_.get() + ((group * panels_ + panel) * s_.K + k) * stride_;
    }

    void pack(std::size_t group, std::size_t panel) const {
        const std::size_t first = panel * PANEL;
        pack_panel(in_.weight + (group * s_.group_outputs() + first) * s_.width() * s_.K, s_.group_outputs() - first,
                   s_.width(), s_.K, panel_at(group, panel, 0), PANEL, stride_);
    }

    // Where no rows share a neighbour, products are summed in place.
    void add_slot(const Task& task, std::size_t k, Distinct& distinct) const {
        distinct.find(in_.neighbors, task.first, task.rows, k);
        const bool in_place = !in_.scores && distinct.count() == task.rows;
        multiply_slot(task, k, distinct, in_place ? task.sums : task.products, in_place && k > 0);
        if (in_place) return;
        for (std::size_t p = 0; p < task.panels; ++p)
            for (std::size_t r = 0; r < task.rows; ++r) {
                T* to = task.sums + (p * capacity_ + r) * PANEL;
                const T* product = task.products + (p * capacity_ + distinct.of(r)) * PANEL;
                const Vector<T> score = broadcast(in_.scores ? in_.scores[(task.first + r) * s_.K + k] : T(1));
                for (int v = 0; v < 2; ++v, to += LANES<T>, product += LANES<T>)
                    store(to, fused(score, load(product), k ? load(to) : Vector<T>{}));
            }
    }

    void multiply_slot(const Task& task, std::size_t k, const Distinct& distinct, T* to, bool adds) const {
        for (std::size_t c = 0; c < s_.width(); c += DEPTH) {
            const std::size_t depth = std::min(DEPTH, s_.width() - c);
            for (std::size_t p = 0; p < task.panels; ++p)
                for (std::size_t i = 0; i < distinct.count(); i += TILE_ROWS) {
                    const T* rows[TILE_ROWS];  // rows after the last one repeat it; their sums are not read
                    for (int r = 0; r < TILE_ROWS; ++r)
                        rows[r] = in_.values + distinct.position(std::min(i + r, distinct.count() - 1)) * s_.channels +
                                  task.group * s_.width() + c;
                    T* sums = to + (p * capacity_ + i) * PANEL;
                    const T* weights = panel_at(task.group, task.panel + p, k) + c * PANEL;
                    if (adds || c > 0)
                        multiply<Start::at_sums, 1>(sums, rows, depth, weights);
                    else
                        multiply<Start::at_zero, 1>(sums, rows, depth, weights);
                }
        }
    }

    void write(const Task& task, const T* bias, T* out) const {
        for (std::size_t r = 0; r < task.rows; ++r)
            for (std::size_t p = 0; p < task.panels; ++p) {
                const std::size_t first = (task.panel + p) * PANEL, column = task.group * s_.group_outputs() + first;
                const T* sums = task.sums + (p * capacity_ + r) * PANEL;
                write_row(out + (task.first + r) * s_.outputs + column, sums, bias ? bias + column : nullptr,
                          std::min(PANEL, s_.group_outputs() - first));
            }
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    int threads_;
    std::size_t rows_, panels_, stride_, capacity_, panels_at_once_;
    Buffer<T> packed_;
};

}  // namespace convnn
