// A learned kernel over the neighbours as three matrix products whose gathered operand is never written out: rows of the
// values are multiplied where they lie. Positions are rows of a (batch * length, channels) matrix throughout.
#pragma once

#include <algorithm>
#include <vector>

#include "parallel.h"
#include "simd.h"

namespace convnn {

struct ConvolveShape {
    std::size_t batch, length, queries, K, channels, outputs, groups;

    std::size_t rows() const { return batch * queries; }
    std::size_t width() const { return channels / groups; }          // channels of a group
    std::size_t group_outputs() const { return outputs / groups; }
};

template <class T>
struct ConvolveInputs {
    const T* values;          // (batch, length, channels)
    const int64_t* indices;   // (batch, queries, K)
    const T* scores;          // (batch, queries, K) or nullptr
    const T* weight;          // (outputs, width, K)
};

// Where the k-th neighbour of a row lies among the rows of the values.
template <class T>
std::size_t neighbor(const ConvolveShape& s, const ConvolveInputs<T>& in, std::size_t row, std::size_t k) {
    return row / s.queries * s.length + in.indices[row * s.K + k];
}

constexpr std::size_t NARROW = 16;  // fewer channels than this are gathered, all slots behind each other
constexpr std::size_t DEPTH = 256;  // products added up before sums go back to memory: a panel of them fits into L1

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
          packed_(s_.groups * panels_ * s_.K * s_.width() * PANEL) {}

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

    // The weights of a panel of outputs, (step, depth, PANEL), zeros behind the last output.
    T* panel_at(std::size_t group, std::size_t panel, std::size_t step) const {
        return packed_.get() + ((group * panels_ + panel) * steps_ + step) * depth_ * PANEL;
    }

    void pack(std::size_t i) const {
        const std::size_t group = i / panels_, panel = i % panels_, width = s_.width();
        T* to = panel_at(group, panel, 0);
        const std::size_t first = panel * PANEL;
        for (std::size_t c = 0; c < width; ++c)
            for (std::size_t o = 0; o < PANEL; ++o) {
                const bool exists = first + o < s_.group_outputs();
                const T* from = in_.weight + ((group * s_.group_outputs() + first + o) * width + c) * s_.K;
                for (std::size_t k = 0; k < s_.K; ++k) to[(k * width + c) * PANEL + o] = exists ? from[k] : 0;
            }
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
            Tile<T> tile;
            if (is_first)
                tile.clear();
            else
                tile.load_from(sums, PANEL);
            multiply<1>(tile, rows, depth, weights);
            tile.store_to(sums, PANEL);
        }
    }

    // Rows behind the last one repeat it; their sums are not written.
    void point_at_neighbors(Task& task, std::size_t step) const {
        for (std::size_t r = 0; r < BLOCK; ++r) {
            const std::size_t row = task.first + std::min(r, task.count - 1);
            task.rows[r] = gathered_ ? gather(task, r, row, step) : source(task, row, step);
        }
    }

    const T* source(const Task& task, std::size_t row, std::size_t k) const {
        return in_.values + neighbor(s_, in_, row, k) * s_.channels + task.group * s_.width();
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
    std::size_t steps_, depth_, panels_;
    Buffer<T> packed_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Gradient of the values: grad_values[neighbor(row, k)] += grad[row] W_k^T, and of the scores: what of it meets the value
// ---------------------------------------------------------------------------------------------------------------------

template <class T>
class BackwardValues {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t PANELS_AT_ONCE = 4;
    static constexpr std::size_t ROWS_AT_ONCE = 96;  // images are taken together until they have this many rows

    BackwardValues(const ConvolveShape& shape, const ConvolveInputs<T>& in, const T* grad, int threads)
        : s_(shape),
          in_(in),
          grad_(grad),
          threads_(threads),
          panels_(ceil_div(s_.width(), PANEL)),
          packed_(s_.groups * s_.K * panels_ * s_.group_outputs() * PANEL) {
        parallel_for(s_.groups * panels_, threads_, [&](std::size_t i, int) { pack(i / panels_, i % panels_); });
    }

    // A task owns some channels of some images: nobody else adds to them, and it adds slot by slot, row by row.
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
    // Weights of a panel of channels in one slot, (group_outputs, PANEL), zeros behind the last channel.
    T* panel_at(std::size_t group, std::size_t panel, std::size_t k) const {
        return packed_.get() + ((group * panels_ + panel) * s_.K + k) * s_.group_outputs() * PANEL;
    }

    void pack(std::size_t group, std::size_t panel) const {
        const std::size_t outputs = s_.group_outputs(), width = s_.width();
        for (std::size_t o = 0; o < outputs; ++o)
            for (std::size_t c = 0; c < PANEL; ++c) {
                const bool exists = panel * PANEL + c < width;
                const T* from = in_.weight + ((group * outputs + o) * width + panel * PANEL + c) * s_.K;
                for (std::size_t k = 0; k < s_.K; ++k)
                    panel_at(group, panel, k)[o * PANEL + c] = exists ? from[k] : 0;
            }
    }

    // grad W_k^T for TILE_ROWS rows and one panel of channels.
    void product(Tile<T>& tile, std::size_t group, std::size_t panel, std::size_t k, std::size_t row,
                 std::size_t last) const {
        const T* rows[TILE_ROWS];
        for (int i = 0; i < TILE_ROWS; ++i)
            rows[i] = grad_ + std::min(row + i, last - 1) * s_.outputs + group * s_.group_outputs();
        tile.clear();
        multiply<1>(tile, rows, s_.group_outputs(), panel_at(group, panel, k));
    }

    void scatter(T* grad_values, std::size_t group, std::size_t panel, std::size_t k, std::size_t first,
                 std::size_t last) const {
        const std::size_t column = group * s_.width() + panel * PANEL;
        const std::size_t count = std::min(PANEL, s_.width() - panel * PANEL);
        for (std::size_t row = first; row < last; row += TILE_ROWS) {
            Tile<T> tile;
            product(tile, group, panel, k, row, last);
            for (std::size_t r = 0; r < TILE_ROWS && row + r < last; ++r) {
                T* to = grad_values + neighbor(s_, in_, row + r, k) * s_.channels + column;
                const T score = in_.scores ? in_.scores[(row + r) * s_.K + k] : T(1);
                accumulate(to, tile.sums[r], score, count);
            }
        }
    }

    static void accumulate(T* to, const Vector<T>* sums, T score, std::size_t count) {
        if (count == PANEL) {
            for (int v = 0; v < 2; ++v) store(to + v * LANES<T>, load(to + v * LANES<T>) + score * sums[v]);
            return;
        }
        for (std::size_t c = 0; c < count; ++c) to[c] += score * sums[c / LANES<T>][c % LANES<T>];
    }

    void meet(T* sums, std::size_t group, std::size_t panel, std::size_t k, std::size_t first, std::size_t last) const {
        const std::size_t column = group * s_.width() + panel * PANEL;
        const std::size_t count = std::min(PANEL, s_.width() - panel * PANEL);
        Tile<T> tile;
        product(tile, group, panel, k, first, last);
        for (std::size_t row = first; row < last; ++row) {
            const T* value = in_.values + neighbor(s_, in_, row, k) * s_.channels + column;
            for (std::size_t c = 0; c < count; ++c)
                sums[row - first] += tile.sums[row - first][c / LANES<T>][c % LANES<T>] * value[c];
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
    std::size_t panels_;
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
    static constexpr std::size_t MIN_TASKS = 8;   // with few channels the outputs are split as well

    BackwardWeight(const ConvolveShape& shape, const ConvolveInputs<T>& in, const T* grad, int threads)
        : s_(shape),
          in_(in),
          grad_(grad),
          threads_(threads),
          channels_(std::min(s_.width(), PANEL)),
          columns_(channels_ * s_.K),
          panels_(ceil_div(columns_, PANEL)),
          parts_(ceil_div(s_.width(), channels_)) {
        const std::size_t splits = ceil_div(MIN_TASKS, parts_ * s_.groups);
        outputs_ = round_up(ceil_div(s_.group_outputs(), splits), TILE_ROWS);
        splits_ = ceil_div(s_.group_outputs(), outputs_);
    }

    // A task owns PANEL channels in all slots for some outputs, and goes through all rows in order.
    void run(T* grad_weight) const {
        const std::size_t sums = outputs_ * panels_ * PANEL;
        const Scratch<T> scratch(sums + BLOCK * (panels_ * PANEL + outputs_), threads_);
        parallel_for(s_.groups * parts_ * splits_, threads_, [&](std::size_t i, int thread) {
            Task task;
            task.group = i % s_.groups;
            task.channel = i / s_.groups % parts_ * channels_;
            task.output = i / s_.groups / parts_ * outputs_;
            task.channels = std::min(channels_, s_.width() - task.channel);
            task.outputs = std::min(outputs_, s_.group_outputs() - task.output);
            task.sums = scratch.get(thread);
            task.values = task.sums + sums;
            task.grads = task.values + BLOCK * panels_ * PANEL;
            std::fill_n(task.sums, sums, T(0));
            for (std::size_t row = 0; row < s_.rows(); row += BLOCK) add(task, row, std::min(BLOCK, s_.rows() - row));
            write(task, grad_weight);
        });
    }

   private:
    struct Task {
        std::size_t group, channel, channels, output, outputs;
        T *sums, *values, *grads;  // (outputs, columns), panels of (rows, PANEL), tiles of (rows, TILE_ROWS)
    };

    void add(const Task& task, std::size_t first, std::size_t count) const {
        for (std::size_t r = 0; r < count; ++r) {
            gather(task, first + r, r, count);
            spread(task, first + r, r, count);
        }
        for (std::size_t o = 0; o < task.outputs; o += TILE_ROWS) {
            const T* rows[TILE_ROWS];
            for (int i = 0; i < TILE_ROWS; ++i) rows[i] = task.grads + o * count + i;
            for (std::size_t p = 0; p < panels_; ++p) {
                T* sums = task.sums + (o * panels_ + p * TILE_ROWS) * PANEL;
                Tile<T> tile;
                tile.load_from(sums, PANEL);
                multiply<TILE_ROWS>(tile, rows, count, task.values + p * count * PANEL);
                tile.store_to(sums, PANEL);
            }
        }
    }

    // The neighbours of a row, slot by slot, cut into panels.
    void gather(const Task& task, std::size_t row, std::size_t r, std::size_t count) const {
        for (std::size_t k = 0; k < s_.K; ++k) {
            const T* from =
                in_.values + neighbor(s_, in_, row, k) * s_.channels + task.group * s_.width() + task.channel;
            const T score = in_.scores ? in_.scores[row * s_.K + k] : T(1);
            if (task.channels == PANEL) {
                T* to = task.values + (k * count + r) * PANEL;
                for (int v = 0; v < 2; ++v) store(to + v * LANES<T>, score * load(from + v * LANES<T>));
                continue;
            }
            for (std::size_t c = 0; c < channels_; ++c) {
                const std::size_t column = k * channels_ + c;
                T* to = task.values + (column / PANEL * count + r) * PANEL + column % PANEL;
                *to = c < task.channels ? score * from[c] : T(0);
            }
        }
        for (std::size_t column = columns_; column < panels_ * PANEL; ++column)
            task.values[(column / PANEL * count + r) * PANEL + column % PANEL] = T(0);
    }

    // The gradient of a row, cut into tiles.
    void spread(const Task& task, std::size_t row, std::size_t r, std::size_t count) const {
        const T* from = grad_ + row * s_.outputs + task.group * s_.group_outputs() + task.output;
        for (std::size_t o = 0; o < outputs_; o += TILE_ROWS)
            for (int i = 0; i < TILE_ROWS; ++i)
                task.grads[o * count + r * TILE_ROWS + i] = o + i < task.outputs ? from[o + i] : T(0);
    }

    void write(const Task& task, T* grad_weight) const {
        for (std::size_t o = 0; o < task.outputs; ++o) {
            const std::size_t output = task.group * s_.group_outputs() + task.output + o;
            T* to = grad_weight + (output * s_.width() + task.channel) * s_.K;
            for (std::size_t k = 0; k < s_.K; ++k)
                for (std::size_t c = 0; c < task.channels; ++c) {
                    const std::size_t column = k * channels_ + c;
                    to[c * s_.K + k] = task.sums[(o / TILE_ROWS * panels_ * TILE_ROWS + column / PANEL * TILE_ROWS +
                                                  o % TILE_ROWS) * PANEL + column % PANEL];
                }
        }
    }

    const ConvolveShape& s_;
    const ConvolveInputs<T>& in_;
    const T* grad_;
    int threads_;
    std::size_t channels_, columns_, panels_, parts_, outputs_, splits_;
};

}  // namespace convnn
