// A learned kernel over the neighbours as three matrix products whose gathered operand is never materialised: rows of
// the values are multiplied in place. Positions are rows of a (batch * length, channels) matrix throughout.
#pragma once

#include <algorithm>
#include <vector>

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

// Visits weights (outputs, width, K) a few channels at a time, so that their destinations stay in the cache.
template <class T, class Visit>
void transpose_weights(const T* from, std::size_t width, std::size_t K, std::size_t outputs, const Visit& visit) {
    constexpr std::size_t CHANNELS = 16;
    for (std::size_t first = 0; first < width; first += CHANNELS)
        for (std::size_t o = 0; o < outputs; ++o)
            for (std::size_t c = first; c < std::min(width, first + CHANNELS); ++c)
                for (std::size_t k = 0; k < K; ++k) visit(o, c, k, from[(o * width + c) * K + k]);
}

constexpr std::size_t NARROW = 16;  // with fewer channels, all slots are gathered one after another
constexpr std::size_t DEPTH = 256;  // products summed before the sums are stored: a panel of them fits into L1

// ---------------------------------------------------------------------------------------------------------------------
// Forward: out[row] = sum_k values[neighbor(row, k)] W_k
// ---------------------------------------------------------------------------------------------------------------------

template <class T>
class Forward {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t BLOCK = 16 * TILE_ROWS;  // rows of a task
    static constexpr std::size_t PANELS_AT_ONCE = 8;      // columns of a task

    Forward(const ConvolveShape& shape, const ConvolveInputs<T>& in, int threads)
        : s_(shape),
          in_(in),
          threads_(threads),
          gathered_(in.scores || s_.width() < NARROW),
          steps_(s_.width() < NARROW ? 1 : s_.K),
          depth_(s_.width() < NARROW ? s_.K * s_.width() : s_.width()),
          panels_(ceil_div(s_.group_outputs(), PANEL)),
          stride_((depth_ + (steps_ > 1)) * PANEL),
          packed_(s_.groups * panels_ * steps_ * stride_) {}

    void run(const T* bias, T* out) {
        parallel_for(s_.groups * panels_, threads_, [&](std::size_t i, int) { pack(i); });
        const std::size_t blocks = ceil_div(s_.rows(), BLOCK), parts = ceil_div(panels_, PANELS_AT_ONCE);
        const Scratch<T> sums(BLOCK * PANELS_AT_ONCE * PANEL, threads_);
        const Scratch<T> gathered(gathered_ ? BLOCK * depth_ : 0, threads_);
        parallel_for(blocks * parts * s_.groups, threads_, [&](std::size_t i, int thread) {
            Task task;
            task.group = i % s_.groups;
            task.panel = i / s_.groups % parts * PANELS_AT_ONCE;
            task.panels = std::min(PANELS_AT_ONCE, panels_ - task.panel);
            task.first = i / s_.groups / parts * BLOCK;
            task.count = std::min(BLOCK, s_.rows() - task.first);
            task.sums = sums.get(thread);
            task.gathered = gathered.get(thread);
            compute(task);
            write(task, bias, out);
        });
    }

   private:
    struct Task {
        std::size_t group, panel, panels, first, count;
        T *sums, *gathered;
        const T* rows[BLOCK];
    };

    // The weights of a panel of outputs in one step, (depth, PANEL), with zeros after the last output. Steps are one
    // cache line farther apart: at powers of two they would all compete for the same lines of the cache.
    T* panel_at(std::size_t group, std::size_t panel, std::size_t step) const {
        return packed_.get() + ((group * panels_ + panel) * steps_ + step) * stride_;
    }

    void pack(std::size_t i) const {
        const std::size_t group = i / panels_, panel = i % panels_, first = panel * PANEL;
        T* to = panel_at(group, panel, 0);
        const std::size_t outputs = std::min(PANEL, s_.group_outputs() - first);
        if (outputs < PANEL) std::fill_n(to, steps_ * stride_, T(0));
        const std::size_t slot = steps_ > 1 ? stride_ : s_.width() * PANEL;
        const T* from = in_.weight + (group * s_.group_outputs() + first) * s_.width() * s_.K;
        transpose_weights(from, s_.width(), s_.K, outputs, [&](std::size_t o, std::size_t c, std::size_t k, T weight) {
            to[k * slot + c * PANEL + o] = weight;
        });
    }

    void compute(Task& task) const {
        for (std::size_t step = 0; step < steps_; ++step) {
            point_at_neighbors(task, step);
            for (std::size_t c = 0; c < depth_; c += DEPTH) {
                const std::size_t depth = std::min(DEPTH, depth_ - c);
                for (std::size_t p = 0; p < task.panels; ++p) {
                    const T* weights = panel_at(task.group, task.panel + p, step) + c * PANEL;
                    add(task, p, weights, c, depth, step == 0 && c == 0);
                }
            }
        }
    }

    void add(const Task& task, std::size_t p, const T* weights, std::size_t c, std::size_t depth, bool is_first) const {
        for (std::size_t r = 0; r < task.count; r += TILE_ROWS) {
            const T* rows[TILE_ROWS];
            for (int i = 0; i < TILE_ROWS; ++i) rows[i] = task.rows[r + i] + c;
            T* sums = task.sums + (p * BLOCK + r) * PANEL;
            if (is_first)
                multiply<Start::at_zero, 1>(sums, rows, depth, weights);
            else
                multiply<Start::at_sums, 1>(sums, rows, depth, weights);
        }
    }

    // Rows after the last one repeat it; their sums are not written.
    void point_at_neighbors(Task& task, std::size_t step) const {
        for (std::size_t r = 0; r < BLOCK; ++r) {
            const std::size_t row = task.first + std::min(r, task.count - 1);
            task.rows[r] = gathered_ ? gather(task, r, row, step) : source(task, row, step);
        }
    }

    const T* source(const Task& task, std::size_t row, std::size_t k) const {
        return in_.values + in_.neighbors(row, k) * s_.channels + task.group * s_.width();
    }

    const T* gather(const Task& task, std::size_t r, std::size_t row, std::size_t step) const {
        T* to = task.gathered + r * depth_;
        const std::size_t first = steps_ == 1 ? 0 : step, last = steps_ == 1 ? s_.K : step + 1;
        for (std::size_t k = first; k < last; ++k) {
            const T* from = source(task, row, k);
            const T score = in_.scores ? in_.scores[row * s_.K + k] : T(1);
            for (std::size_t c = 0; c < s_.width(); ++c) to[(k - first) * s_.width() + c] = score * from[c];
        }
        return to;
    }

    void write(const Task& task, const T* bias, T* out) const {
        for (std::size_t p = 0; p < task.panels; ++p) {
            const std::size_t first = (task.panel + p) * PANEL;
            const std::size_t count = std::min(PANEL, s_.group_outputs() - first);
            const std::size_t column = task.group * s_.group_outputs() + first;
            for (std::size_t r = 0; r < task.count; ++r) {
                const T* sums = task.sums + (p * BLOCK + r) * PANEL;
                T* to = out + (task.first + r) * s_.outputs + column;
                for (std::size_t o = 0; o < count; ++o) to[o] = sums[o] + (bias ? bias[column + o] : T(0));
            }
        }
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    int threads_;
    bool gathered_;
    std::size_t steps_, depth_, panels_, stride_;
    Buffer<T> packed_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Gradient of the values: grad_values[neighbor(row, k)] += grad[row] W_k^T, and of the scores: its product with the
// value
// ---------------------------------------------------------------------------------------------------------------------

template <class T>
class BackwardValues {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t PANELS_AT_ONCE = 4;
    static constexpr std::size_t ROWS_AT_ONCE = 96;  // images are combined until they have this many rows

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

    // A task owns some channels of some images: no other task adds to them, and it adds slot by slot, row by row.
    void values(T* grad_values) const {
        const std::size_t images = std::max<std::size_t>(1, ROWS_AT_ONCE / std::max<std::size_t>(s_.queries, 1));
        const std::size_t chunks = ceil_div(s_.batch, images), parts = ceil_div(panels_, PANELS_AT_ONCE);
        parallel_for(chunks * s_.groups * parts, threads_, [&](std::size_t i, int) {
            const std::size_t group = i % s_.groups, part = i / s_.groups % parts * PANELS_AT_ONCE;
            const std::size_t image = i / s_.groups / parts * images;
            const std::size_t last_image = std::min(s_.batch, image + images);
            const std::size_t last = std::min(panels_, part + PANELS_AT_ONCE);
            clear(grad_values, group, part, last, image, last_image);
            for (std::size_t k = 0; k < s_.K; ++k)
                for (std::size_t p = part; p < last; ++p)
                    scatter(grad_values, group, p, k, image * s_.queries, last_image * s_.queries);
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
    // Weights of a panel of channels in one slot, (group_outputs, PANEL), zeros after the last channel; spaced as
    // above.
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
            for (std::size_t c = 0; c < channels; ++c)
                for (std::size_t k = 0; k < s_.K; ++k) to[k * stride_ + o * PANEL + c] = from[c * s_.K + k];
        }
    }

    // grad W_k^T for TILE_ROWS rows and one panel of channels.
    void product(T* tile, std::size_t group, std::size_t panel, std::size_t k, std::size_t row,
                 std::size_t last) const {
        const T* rows[TILE_ROWS];
        for (int i = 0; i < TILE_ROWS; ++i)
            rows[i] = grad_ + std::min(row + i, last - 1) * s_.outputs + group * s_.group_outputs();
        multiply<Start::at_zero, 1>(tile, rows, s_.group_outputs(), panel_at(group, panel, k));
    }

    void scatter(T* grad_values, std::size_t group, std::size_t panel, std::size_t k, std::size_t first,
                 std::size_t last) const {
        const std::size_t column = group * s_.width() + panel * PANEL;
        const std::size_t count = std::min(PANEL, s_.width() - panel * PANEL);
        for (std::size_t row = first; row < last; row += TILE_ROWS) {
            T tile[TILE_ROWS * PANEL];
            product(tile, group, panel, k, row, last);
            for (std::size_t r = 0; r < TILE_ROWS && row + r < last; ++r) {
                T* to = grad_values + in_.neighbors(row + r, k) * s_.channels + column;
                const T score = in_.scores ? in_.scores[(row + r) * s_.K + k] : T(1);
                accumulate(to, tile + r * PANEL, score, count);
            }
        }
    }

    static void accumulate(T* to, const T* sums, T score, std::size_t count) {
        if (count == PANEL) {
            for (int v = 0; v < 2; ++v)
                store(to + v * LANES<T>, fused(broadcast(score), load(sums + v * LANES<T>), load(to + v * LANES<T>)));
            return;
        }
        for (std::size_t c = 0; c < count; ++c) to[c] += score * sums[c];
    }

    void meet(T* sums, std::size_t group, std::size_t panel, std::size_t k, std::size_t first, std::size_t last) const {
        const std::size_t column = group * s_.width() + panel * PANEL;
        const std::size_t count = std::min(PANEL, s_.width() - panel * PANEL);
        T tile[TILE_ROWS * PANEL];
        product(tile, group, panel, k, first, last);
        for (std::size_t row = first; row < last; ++row) {
            const T* value = in_.values + in_.neighbors(row, k) * s_.channels + column;
            for (std::size_t c = 0; c < count; ++c)
                sums[row - first] += tile[(row - first) * PANEL + c] * value[c];
        }
    }

    void clear(T* grad_values, std::size_t group, std::size_t part, std::size_t last, std::size_t image,
               std::size_t last_image) const {
        const std::size_t column = group * s_.width() + part * PANEL;
        const std::size_t count = std::min(last * PANEL, s_.width()) - part * PANEL;
        for (std::size_t row = image * s_.length; row < last_image * s_.length; ++row)
            std::fill_n(grad_values + row * s_.channels + column, count, T(0));
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    const T* grad_;
    int threads_;
    std::size_t panels_, stride_;
    Buffer<T> packed_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Gradient of the weight: grad_weight[o, c, k] = sum over rows of grad[row, o] values[neighbor(row, k), c]
// ---------------------------------------------------------------------------------------------------------------------

template <class T>
class BackwardWeight {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t BLOCK = 128;     // rows gathered at once
    static constexpr std::size_t MIN_TASKS = 16;  // with few channels, rows are split too

    BackwardWeight(const ConvolveShape& shape, const ConvolveInputs<T>& in, const T* grad, int threads)
        : s_(shape),
          in_(in),
          grad_(grad),
          threads_(threads),
          channels_(std::min(s_.width(), PANEL)),
          outputs_(round_up(s_.group_outputs(), TILE_ROWS)),
          columns_(round_up(channels_ * s_.K, PANEL)),
          parts_(ceil_div(s_.width(), channels_)) {
        const std::size_t wanted = ceil_div(MIN_TASKS, parts_ * s_.groups), blocks = ceil_div(s_.rows(), BLOCK);
        run_ = ceil_div(blocks, std::min(wanted, blocks)) * BLOCK;
    }

    // A task owns PANEL channels in all slots and sums over a fixed range of rows; ranges are added in order.
    void run(T* grad_weight) const {
        const std::size_t runs = ceil_div(s_.rows(), run_), size = s_.outputs * s_.width() * s_.K;
        const Buffer<T> partial(runs > 1 ? runs * size : 0);
        const Scratch<T> scratch(outputs_ * columns_ + BLOCK * (columns_ + outputs_) + columns_, threads_);
        parallel_for(s_.groups * parts_ * runs, threads_, [&](std::size_t i, int thread) {
            const std::size_t run = i / s_.groups / parts_;
            Task task{i % s_.groups, i / s_.groups % parts_ * channels_};
            task.channels = std::min(channels_, s_.width() - task.channel);
            task.sums = scratch.get(thread);
            task.values = task.sums + outputs_ * columns_;
            task.grads = task.values + BLOCK * columns_;
            task.row = task.grads + BLOCK * outputs_;
            std::fill_n(task.sums, outputs_ * columns_, T(0));
            std::fill_n(task.row, columns_, T(0));
            const std::size_t last = std::min(s_.rows(), (run + 1) * run_);
            for (std::size_t row = run * run_; row < last; row += BLOCK) add(task, row, std::min(BLOCK, last - row));
            write(task, runs > 1 ? partial.get() + run * size : grad_weight);
        });
        if (runs > 1) total(partial.get(), runs, size, grad_weight);
    }

   private:
    struct Task {
        std::size_t group, channel, channels = 0;
        T* sums = nullptr;    // tiles of (TILE_ROWS, PANEL), the panels of one tile of outputs are consecutive
        T* values = nullptr;  // panels of (rows, PANEL)
        T* grads = nullptr;   // tiles of (rows, TILE_ROWS)
        T* row = nullptr;     // (columns_), the neighbours of one row
    };

    void add(const Task& task, std::size_t first, std::size_t count) const {
        for (std::size_t r = 0; r < count; ++r) {
            gather(task, first + r, r, count);
            spread(task, first + r, r, count);
        }
        for (std::size_t o = 0; o < outputs_; o += TILE_ROWS) {
            const T* rows[TILE_ROWS];
            for (int i = 0; i < TILE_ROWS; ++i) rows[i] = task.grads + o * count + i;
            for (std::size_t column = 0; column < columns_; column += PANEL) {
                T* sums = task.sums + o * columns_ + column * TILE_ROWS;
                multiply<Start::at_sums, TILE_ROWS>(sums, rows, count, task.values + column * count);
            }
        }
    }

    // The neighbours of a row, slot by slot, cut into panels.
    void gather(const Task& task, std::size_t row, std::size_t r, std::size_t count) const {
        for (std::size_t k = 0; k < s_.K; ++k) {
            const T* from =
                in_.values + in_.neighbors(row, k) * s_.channels + task.group * s_.width() + task.channel;
            const T score = in_.scores ? in_.scores[row * s_.K + k] : T(1);
            if (task.channels == PANEL) {
                T* to = task.values + (k * count + r) * PANEL;
                for (int v = 0; v < 2; ++v) store(to + v * LANES<T>, score * load(from + v * LANES<T>));
            } else {
                for (std::size_t c = 0; c < task.channels; ++c) task.row[k * channels_ + c] = score * from[c];
            }
        }
        if (task.channels == PANEL) return;
        for (std::size_t column = 0; column < columns_; column += LANES<T>) {
            T* to = task.values + (column / PANEL * count + r) * PANEL + column % PANEL;
            store(to, load(task.row + column));
        }
    }

    // The gradient of a row, cut into tiles.
    void spread(const Task& task, std::size_t row, std::size_t r, std::size_t count) const {
        const T* from = grad_ + row * s_.outputs + task.group * s_.group_outputs();
        for (std::size_t o = 0; o < outputs_; o += TILE_ROWS)
            for (int i = 0; i < TILE_ROWS; ++i)
                task.grads[o * count + r * TILE_ROWS + i] = o + i < s_.group_outputs() ? from[o + i] : T(0);
    }

    void write(const Task& task, T* to) const {
        for (std::size_t o = 0; o < s_.group_outputs(); ++o) {
            const T* sums = task.sums + o / TILE_ROWS * TILE_ROWS * columns_ + o % TILE_ROWS * PANEL;
            T* weight = to + ((task.group * s_.group_outputs() + o) * s_.width() + task.channel) * s_.K;
            for (std::size_t k = 0; k < s_.K; ++k)
                for (std::size_t c = 0; c < task.channels; ++c) {
                    const std::size_t column = k * channels_ + c;
                    weight[c * s_.K + k] = sums[column / PANEL * PANEL * TILE_ROWS + column % PANEL];
                }
        }
    }

    void total(const T* partial, std::size_t runs, std::size_t size, T* grad_weight) const {
        constexpr std::size_t CHUNK = 4096;
        parallel_for(ceil_div(size, CHUNK), threads_, [&](std::size_t chunk, int) {
            for (std::size_t i = chunk * CHUNK; i < std::min(size, (chunk + 1) * CHUNK); ++i) {
                T sum = 0;
                for (std::size_t run = 0; run < runs; ++run) sum += partial[run * size + i];
                grad_weight[i] = sum;
            }
        });
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    const T* grad_;
    int threads_;
    std::size_t channels_, outputs_, columns_, parts_, run_;
};

}  // namespace convnn
