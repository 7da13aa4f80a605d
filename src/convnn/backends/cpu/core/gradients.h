// The gradients of convolve.h. Rows with a neighbour in common first add what they send to it, so that the sum is
// multiplied once.
#pragma once

#include <algorithm>
#include <deque>
#include <vector>

#include "convolve.h"

namespace convnn {

// Rows of a task whose sums of gradients stay in L2.
inline std::size_t rows_that_send(const ConvolveShape& s, std::size_t wanted) {
    constexpr std::size_t NUMBERS = 1 << 17;
    const std::size_t most = std::max<std::size_t>(64, NUMBERS / s.group_outputs());
    return std::min(rows_of_task(s, std::min(wanted, most)), std::max(most, std::min<std::size_t>(s.queries, 1024)));
}

// Gradient of the values: grad_values[neighbor(row, k)] += s[row, k] grad[row] W_k^T, and of the scores: the product of
// grad[row] W_k^T with the value.
template <class T>
class BackwardValues {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t PANELS_AT_ONCE = 4;

    BackwardValues(const ConvolveShape& shape, const ConvolveInputs<T>& in, const T* grad, int threads)
        : s_(shape),
          in_(in),
          grad_(grad),
          threads_(threads),
          panels_(ceil_div(s_.width(), PANEL)),
          stride_((s_.group_outputs() + 1) * PANEL),
          packed_(s_.groups * panels_ * s_.K * stride_) {
        parallel_for(s_.groups * panels_, threads_, [&](std::size_t i, int) { pack(i / panels_, i % panels_); });
    }

    // A task owns some channels of some images: no other task adds to them, and it adds slot by slot.
    void values(T* grad_values) const {
        const std::size_t images = std::max<std::size_t>(1, 192 / std::max<std::size_t>(s_.queries, 1));
        const std::size_t chunks = ceil_div(s_.batch, images), parts = ceil_div(panels_, PANELS_AT_ONCE);
        const std::size_t rows = rows_that_send(s_, images * s_.queries);
        std::deque<Workspace> workspaces;
        for (int thread = 0; thread < threads_; ++thread) workspaces.emplace_back(rows, s_, in_.scores);
        parallel_for(chunks * s_.groups * parts, threads_, [&](std::size_t i, int thread) {
            Task task{i % s_.groups, i / s_.groups % parts * PANELS_AT_ONCE, i / s_.groups / parts * images};
            task.last_panel = std::min(panels_, task.panel + PANELS_AT_ONCE);
            task.last_image = std::min(s_.batch, task.image + images);
            clear(task, grad_values);
            const std::size_t last = task.last_image * s_.queries;
            for (std::size_t row = task.image * s_.queries; row < last; row += rows)
                for (std::size_t k = 0; k < s_.K; ++k)
                    add_slot(task, k, row, std::min(rows, last - row), workspaces[thread], grad_values);
        });
    }

    void scores(T* grad_scores) const {
        parallel_for(ceil_div(s_.rows(), TILE_ROWS), threads_, [&](std::size_t i, int) {
            const std::size_t first = i * TILE_ROWS, last = std::min(s_.rows(), first + TILE_ROWS);
            for (std::size_t k = 0; k < s_.K; ++k) {
                T sums[TILE_ROWS] = {};
                for (std::size_t g = 0; g < s_.groups; ++g)
                    for (std::size_t p = 0; p < panels_; ++p) meet(sums, g, p, k, first, last);
                for (std::size_t row = first; row < last; ++row) grad_scores[row * s_.K + k] = sums[row - first];
            }
        });
    }

   private:
    struct Task {
        std::size_t group, panel, image, last_panel = 0, last_image = 0;
    };

    struct Workspace {
        Workspace(std::size_t rows, const ConvolveShape& s, bool scored)
            : distinct(rows), received(rows, s.group_outputs(), scored) {}
        Distinct distinct;
        Received<T> received;
    };

    // Weights of a panel of channels in one slot, (group_outputs, PANEL), zeros after the last channel; spaced as in
    // Forward.
    T* panel_at(std::size_t group, std::size_t panel, std::size_t k) const {
        return packed_.get() + ((group * panels_ + panel) * s_.K + k) * stride_;
    }

    void pack(std::size_t group, std::size_t panel) const {
        const std::size_t outputs = s_.group_outputs(), width = s_.width(), first = panel * PANEL;
        const std::size_t channels = std::min(PANEL, width - first);
        T* to = panel_at(group, panel, 0);
        if (channels < PANEL) std::fill_n(to, s_.K * stride_, T(0));
        for (std::size_t o = 0; o < outputs; ++o) {
            const T* from = in_.weight + ((group * outputs + o) * width + first) * s_.K;
            for (std::size_t k = 0; k < s_.K; ++k)
                for (std::size_t c = 0; c < channels; ++c) to[k * stride_ + o * PANEL + c] = from[c * s_.K + k];
        }
    }

    void add_slot(const Task& task, std::size_t k, std::size_t first, std::size_t count, Workspace& workspace,
                  T* grad_values) const {
        Distinct& distinct = workspace.distinct;
        distinct.find(in_.neighbors, first, count, k);
        workspace.received.sum(distinct, count, grad_ + first * s_.outputs + task.group * s_.group_outputs(), s_.outputs,
                               in_.scores ? in_.scores + first * s_.K + k : nullptr, s_.K);
        for (std::size_t p = task.panel; p < task.last_panel; ++p)
            for (std::size_t i = 0; i < distinct.count(); i += TILE_ROWS) {
                T tile[TILE_ROWS * PANEL];
                const T* rows[TILE_ROWS];
                const std::size_t last = distinct.count() - 1;
                for (std::size_t r = 0; r < TILE_ROWS; ++r) rows[r] = workspace.received.rows()[std::min(i + r, last)];
                multiply<Start::at_zero, 1>(tile, rows, s_.group_outputs(), panel_at(task.group, p, k));
                for (std::size_t r = 0; r < TILE_ROWS && i + r <= last; ++r)
                    add_row(grad_values + distinct.position(i + r) * s_.channels + task.group * s_.width() + p * PANEL,
                            tile + r * PANEL, std::min(PANEL, s_.width() - p * PANEL));
            }
    }

    static void add_row(T* to, const T* sums, std::size_t count) {
        if (count == PANEL)
            for (int v = 0; v < 2; ++v, to += LANES<T>, sums += LANES<T>) store(to, load(to) + load(sums));
        else
            for (std::size_t c = 0; c < count; ++c) to[c] += sums[c];
    }

    void meet(T* sums, std::size_t group, std::size_t panel, std::size_t k, std::size_t first, std::size_t last) const {
        const std::size_t column = group * s_.width() + panel * PANEL;
        const std::size_t count = std::min(PANEL, s_.width() - panel * PANEL);
        T tile[TILE_ROWS * PANEL];
        const T* rows[TILE_ROWS];
        for (int i = 0; i < TILE_ROWS; ++i)
            rows[i] = grad_ + std::min(first + i, last - 1) * s_.outputs + group * s_.group_outputs();
        multiply<Start::at_zero, 1>(tile, rows, s_.group_outputs(), panel_at(group, panel, k));
        for (std::size_t row = first; row < last; ++row) {
            const T* value = in_.values + in_.neighbors(row, k) * s_.channels + column;
            for (std::size_t c = 0; c < count; ++c)
                sums[row - first] += tile[(row - first) * PANEL + c] * value[c];
        }
    }

    void clear(const Task& task, T* grad_values) const {
        const std::size_t column = task.group * s_.width() + task.panel * PANEL;
        const std::size_t count = std::min(task.last_panel * PANEL, s_.width()) - task.panel * PANEL;
        for (std::size_t row = task.image * s_.length; row < task.last_image * s_.length; ++row)
            std::fill_n(grad_values + row * s_.channels + column, count, T(0));
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    const T* grad_;
    int threads_;
    std::size_t panels_, stride_;
    Buffer<T> packed_;
};

// Rows of which columns are multiplied, a tile of columns at a time; those of the last tile are copied, followed by
// zeros.
template <class T>
class TransposedRows {
   public:
    TransposedRows(std::size_t capacity, std::size_t columns)
        : columns_(columns), whole_(columns / TILE_ROWS * TILE_ROWS), tail_(capacity * TILE_ROWS), tail_rows_(capacity) {
        for (std::size_t i = 0; i < capacity; ++i) tail_rows_[i] = tail_.get() + i * TILE_ROWS;
    }

    void set(const T* const* rows, std::size_t count) {
        rows_ = rows;
        if (whole_ < columns_)
            for (std::size_t i = 0; i < count; ++i)
                for (std::size_t r = 0; r < TILE_ROWS; ++r)
                    tail_.get()[i * TILE_ROWS + r] = whole_ + r < columns_ ? rows[i][whole_ + r] : T(0);
    }

    // sums (columns, PANEL) += rows[first + i]^T panel[i * step]
    void multiply(T* sums, std::size_t first, std::size_t count, const T* panel, std::size_t step) const {
        constexpr std::size_t PANEL = TILE_COLUMNS<T>;
        std::size_t o = 0;
        for (; o < whole_; o += TILE_ROWS) multiply_transposed(sums + o * PANEL, rows_ + first, o, count, panel, step);
        if (o < columns_) multiply_transposed(sums + o * PANEL, tail_rows_.data() + first, 0, count, panel, step);
    }

   private:
    std::size_t columns_, whole_;
    const T* const* rows_ = nullptr;
    Buffer<T> tail_;
    std::vector<const T*> tail_rows_;
};

// Gradient of the weight: grad_weight[o, c, k] = sum over rows of s[row, k] grad[row, o] values[neighbor(row, k), c]
template <class T>
class BackwardWeight {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t COLUMNS = 128;    // channels of a task that still share enough work
    static constexpr std::size_t SUMS = 1 << 17;   // numbers that a task sums at once: they stay in L2
    static constexpr std::size_t DEPTH = 192;      // neighbours of a panel, which stays in L1

    BackwardWeight(const ConvolveShape& shape, const ConvolveInputs<T>& in, const T* grad, int threads)
        : s_(shape), in_(in), grad_(grad), threads_(threads), rows_(rows_that_send(s_, 256)) {
        const std::size_t panels = ceil_div(s_.width(), PANEL), columns = std::max(COLUMNS, PANEL);
        channels_ = ceil_div(panels, ceil_div(s_.width(), columns)) * PANEL;
        parts_ = ceil_div(s_.width(), channels_);
        outputs_ = round_up(s_.group_outputs(), TILE_ROWS);
        const std::size_t together = std::max<std::size_t>(1, SUMS / (outputs_ * channels_));
        const std::size_t few = std::max<std::size_t>(1, s_.K * parts_ / panels);  // no fewer tasks than panels: few runs
        slots_ = std::min(together, few);
        const std::size_t blocks = ceil_div(s_.rows(), rows_), tasks = s_.groups * parts_ * ceil_div(s_.K, slots_);
        run_ = ceil_div(blocks, std::min(blocks, ceil_div(MIN_TASKS, tasks))) * rows_;
    }

    // A task owns some channels in some slots and sums over a fixed range of rows; ranges are added in order.
    void run(T* grad_weight) const {
        const std::size_t runs = ceil_div(s_.rows(), run_), size = s_.outputs * s_.width() * s_.K;
        const std::size_t cuts = ceil_div(s_.K, slots_);
        const Buffer<T> several(runs > 1 ? runs * size : 0);
        T* partial = runs > 1 ? several.get() : grad_weight;
        std::deque<Workspace> workspaces;
        for (int thread = 0; thread < threads_; ++thread)
            workspaces.emplace_back(rows_, slots_ * channels_ * outputs_, s_, in_.scores);
        parallel_for(s_.groups * parts_ * cuts * runs, threads_, [&](std::size_t i, int thread) {
            Task task{i % s_.groups, i / s_.groups % parts_ * channels_, i / s_.groups / parts_ % cuts * slots_};
            task.channels = std::min(channels_, s_.width() - task.channel);
            task.slots = std::min(slots_, s_.K - task.slot);
            const std::size_t run = i / s_.groups / parts_ / cuts, last = std::min(s_.rows(), (run + 1) * run_);
            Workspace& workspace = workspaces[thread];
            std::fill_n(workspace.sums.get(), task.slots * channels_ * outputs_, T(0));
            for (std::size_t row = run * run_; row < last; row += rows_)
                for (std::size_t k = 0; k < task.slots; ++k)
                    add(task, k, row, std::min(rows_, last - row), workspace);
            for (std::size_t k = 0; k < task.slots; ++k) write(task, k, workspace, partial + run * size);
        });
        total(partial, runs, size, grad_weight);
    }

   private:
    struct Task {
        std::size_t group, channel, slot, channels = 0, slots = 0;
    };

    struct Workspace {
        Workspace(std::size_t rows, std::size_t size, const ConvolveShape& s, bool scored)
            : distinct(rows),
              received(rows, s.group_outputs(), scored),
              grads(rows, s.group_outputs()),
              sums(size),
              panel(DEPTH * PANEL) {}
        Distinct distinct;
        Received<T> received;
        TransposedRows<T> grads;
        Buffer<T> sums, panel;  // sums: (slots, channels / PANEL, outputs, PANEL)
    };

    void add(const Task& task, std::size_t slot, std::size_t first, std::size_t count, Workspace& workspace) const {
        const std::size_t k = task.slot + slot;
        Distinct& distinct = workspace.distinct;
        distinct.find(in_.neighbors, first, count, k);
        workspace.received.sum(distinct, count, grad_ + first * s_.outputs + task.group * s_.group_outputs(), s_.outputs,
                               in_.scores ? in_.scores + first * s_.K + k : nullptr, s_.K);
        workspace.grads.set(workspace.received.rows(), distinct.count());
        for (std::size_t i = 0; i < distinct.count(); i += DEPTH) {
            const std::size_t depth = std::min(DEPTH, distinct.count() - i);
            for (std::size_t c = 0; c < task.channels; c += PANEL) {
                gather(task, c, i, depth, distinct, workspace.panel.get());
                workspace.grads.multiply(sums_of(slot, c, workspace), i, depth, workspace.panel.get(), PANEL);
            }
        }
    }

    // The sums of a panel of channels in a slot of the task, (outputs_, PANEL).
    T* sums_of(std::size_t slot, std::size_t c, const Workspace& workspace) const {
        return workspace.sums.get() + (slot * channels_ + c) * outputs_;
    }

    // A panel of channels of the neighbours, (depth, PANEL), zeros after the last channel.
    void gather(const Task& task, std::size_t c, std::size_t first, std::size_t depth, const Distinct& distinct,
                T* to) const {
        const std::size_t column = task.group * s_.width() + task.channel + c, count = std::min(PANEL, task.channels - c);
        for (std::size_t i = 0; i < depth; ++i, to += PANEL) {
            const T* from = in_.values + distinct.position(first + i) * s_.channels + column;
            if (count == PANEL)
                for (int v = 0; v < 2; ++v) store(to + v * LANES<T>, load(from + v * LANES<T>));
            else
                for (std::size_t n = 0; n < PANEL; ++n) to[n] = n < count ? from[n] : T(0);
        }
    }

    // To (outputs, K, width), so that no two tasks write to the same cache line.
    void write(const Task& task, std::size_t slot, const Workspace& workspace, T* partial) const {
        const std::size_t row = task.group * s_.group_outputs() * s_.K + task.slot + slot;
        T* to = partial + row * s_.width() + task.channel;
        for (std::size_t o = 0; o < s_.group_outputs(); ++o, to += s_.K * s_.width())
            for (std::size_t c = 0; c < task.channels; c += PANEL)
                std::copy_n(sums_of(slot, c, workspace) + o * PANEL, std::min(PANEL, task.channels - c), to + c);
    }

    // A single run is in the gradient itself, from where each output is copied before it is written as (width, K).
    void total(const T* partial, std::size_t runs, std::size_t size, T* grad_weight) const {
        const std::size_t columns = s_.K * s_.width();
        const Scratch<T> scratch(columns, threads_);
        parallel_for(s_.outputs, threads_, [&](std::size_t o, int thread) {
            T* __restrict sum = scratch.get(thread);
            std::copy_n(partial + o * columns, columns, sum);
            for (std::size_t run = 1; run < runs; ++run)
                for (std::size_t i = 0; i < columns; ++i) sum[i] += partial[run * size + o * columns + i];
            T* __restrict to = grad_weight + o * columns;
            for (std::size_t k = 0; k < s_.K; ++k)
                for (std::size_t c = 0; c < s_.width(); ++c) to[c * s_.K + k] = sum[k * s_.width() + c];
        });
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    const T* grad_;
    int threads_;
    std::size_t rows_, channels_, parts_, outputs_, slots_, run_;
};

}  // namespace convnn
