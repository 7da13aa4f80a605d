// A kernel for each channel, applied to the window of every output: out[o, c] = b[c] + sum_k w[c, k] x[o * s + k * d - p, c],
// and the gradients of x and w. A task copies a line of channels of some rows, and multiplies blocks of that copy.
#pragma once

#include "window.h"

namespace convnn {

template <class T>
class DepthwiseWindow {
   public:
    static constexpr std::size_t MIN_TASKS = 64;
    static constexpr std::size_t COPY_BYTES = 256 << 10;  // about as much as a task copies at once
    static constexpr std::size_t CHUNK_BYTES = 16 << 10;  // of rows that are multiplied while they are in the first cache

    DepthwiseWindow(const Window& window, int threads)
        : w_(window), outer_(w_.axes[0]), middle_(w_.axes[1]), row_(w_.axes[2]), threads_(threads),
          lines_(ceil_div(w_.channels, LINE<T>)), slabs_(count_slabs()) {}

    void forward(const T* x, const T* weight, const T* bias, T* out) const {
        const RowLayout layout(row_.in, row_.padding, row_.stride);
        const std::vector<RowBlock> blocks = blocks_of_outputs<T>(row_, layout);
        std::vector<std::ptrdiff_t> order(row_.kernel);
        for (std::ptrdiff_t tap = 0; tap < row_.kernel; ++tap) order[tap] = tap;
        const Buffer<T> packed(lines_ * w_.taps() * LINE<T>);
        pack_weight(weight, order, packed.get());
        const Copies copies(*this, layout, middle_.in, [&](std::size_t slab) { return inputs_of(outputs(slab)); });
        parallel_for(lines_ * w_.batch * slabs_, threads_, [&](std::size_t i, int thread) {
            const std::size_t line = i % lines_, unit = i / lines_;
            const PackedRows<T> values = copies.fill(thread, unit, line, x, in_steps(), w_.inputs());
            const Range rows = outputs(unit % slabs_);
            gather(positions(rows, {0, middle_.out}, 1, 1), blocks, packed.get() + line * w_.taps() * LINE<T>, values,
                   [&](Row to, std::ptrdiff_t kz, std::ptrdiff_t ky) {
                       return values.row(outer_.input(to.z, kz), middle_.input(to.y, ky));
                   },
                   Result{out + image_of(unit) * w_.outputs() * w_.channels, out_steps(), line, bias});
        });
    }

    // Either gradient may be null.
    void backward(const T* grad, const T* x, const T* weight, T* grad_x, T* grad_weight) const {
        const RowLayout of_grad(row_.out, 0, 1), of_values(row_.in, row_.padding, row_.dilation);
        std::vector<std::ptrdiff_t> order;
        const std::vector<RowBlock> blocks = blocks_of_inputs<T>(row_, of_grad, order);
        const std::vector<RowBlock> taps = blocks_of_taps<T>(row_, of_grad, of_values);
        const Buffer<T> packed(lines_ * w_.taps() * LINE<T>);
        pack_weight(weight, order, packed.get());
        const Copies grads(*this, of_grad, middle_.out, [&](std::size_t slab) {
            const Range own = outputs(slab), read = outputs_of(inputs(slab));
            return Range{std::min(own.first, read.first), std::max(own.end, read.end)};
        });
        const Copies copies(*this, of_values, middle_.in, [&](std::size_t slab) { return inputs_of(outputs(slab)); });
        const std::size_t units = w_.batch * slabs_, size = w_.taps() * LINE<T>;
        const std::size_t parts = std::min(units, ceil_div(MIN_TASKS, lines_));
        const Buffer<T> sums(grad_weight ? lines_ * parts * size : 0);
        parallel_for(lines_ * parts, threads_, [&](std::size_t i, int thread) {
            const std::size_t line = i % lines_, part = i / lines_;
            T* to = sums.get() + (line * parts + part) * size;
            if (grad_weight) std::fill_n(to, size, T(0));
            for (std::size_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
                const PackedRows<T> g = grads.fill(thread, unit, line, grad, out_steps(), w_.outputs());
                if (grad_x) spread(unit, line, g, blocks, packed.get() + line * size, grad_x);
                if (!grad_weight) continue;
                correlate_rows(unit % slabs_, g, copies.fill(thread, unit, line, x, in_steps(), w_.inputs()), taps, to);
            }
        });
        if (grad_weight) add_parts(sums.get(), parts, grad_weight);
    }

   private:
    struct Row {
        std::ptrdiff_t z, y;
    };

    struct Steps {
        std::ptrdiff_t of[3];
    };

    // Where results of a line of channels go.
    struct Result {
        T* to;
        Steps steps;
        std::size_t line;
        const T* bias;
    };

    // Copies of slabs of maps, one for each thread.
    class Copies {
       public:
        template <class Rows>
        Copies(const DepthwiseWindow& of, const RowLayout& layout, std::ptrdiff_t middle, const Rows& rows)
            : of_(of), layout_(layout), middle_(middle), zeros_(layout.width() * LINE<T>),
              scratch_(rows_of_all(of, rows) * middle * layout.width() * LINE<T>, of.threads_),
              size_(rows_of_all(of, rows) * middle * layout.width() * LINE<T>) {
            std::fill_n(zeros_.get(), layout.width() * LINE<T>, T(0));
            for (int thread = 0; thread < of.threads_; ++thread) std::fill_n(scratch_.get(thread), size_, T(0));
            for (std::size_t slab = 0; slab < of.slabs_; ++slab) rows_.push_back(rows(slab));
        }

        PackedRows<T> fill(int thread, std::size_t unit, std::size_t line, const T* maps, Steps steps, std::size_t positions) const {
            const PackedRows<T> rows{scratch_.get(thread), layout_, rows_[unit % of_.slabs_], middle_, zeros_.get()};
            const T* from = maps + of_.image_of(unit) * positions * of_.w_.channels + line * LINE<T>;
            rows.fill(from, of_.w_.channels - line * LINE<T>, steps.of);
            return rows;
        }

       private:
        template <class Rows>
        static std::size_t rows_of_all(const DepthwiseWindow& of, const Rows& rows) {
            std::size_t most = 0;
            for (std::size_t slab = 0; slab < of.slabs_; ++slab) most = std::max(most, rows(slab).size());
            return most;
        }

        const DepthwiseWindow& of_;
        const RowLayout& layout_;
        std::ptrdiff_t middle_;
        Buffer<T> zeros_;
        Scratch<T> scratch_;
        std::size_t size_;
        std::vector<Range> rows_;
    };

    // Slabs along the first axis, of rows that fit into the cache, and enough for several threads.
    std::size_t count_slabs() const {
        const std::size_t bytes = 64 * (w_.inputs() + w_.outputs());
        const std::size_t wanted = std::max(ceil_div(bytes, 2 * COPY_BYTES), ceil_div(MIN_TASKS / 2, lines_ * w_.batch));
        return std::max<std::size_t>(1, std::min(wanted, std::size_t(std::min(outer_.out, outer_.in) / 4)));
    }

    std::size_t image_of(std::size_t unit) const { return unit / slabs_; }
    Range slab_of(std::ptrdiff_t size, std::size_t slab) const {
        return {size * std::ptrdiff_t(slab) / std::ptrdiff_t(slabs_), size * std::ptrdiff_t(slab + 1) / std::ptrdiff_t(slabs_)};
    }
    Range outputs(std::size_t slab) const { return slab_of(outer_.out, slab); }
    Range inputs(std::size_t slab) const { return slab_of(outer_.in, slab); }

    // Along the first axis, all that windows of some outputs contain.
    Range inputs_of(Range outputs) const {
        const std::ptrdiff_t first = outputs.first * outer_.stride - outer_.padding;
        const std::ptrdiff_t last = (outputs.end - 1) * outer_.stride + (outer_.kernel - 1) * outer_.dilation - outer_.padding;
        return {std::max<std::ptrdiff_t>(first, 0), std::min(last + 1, outer_.in)};
    }

    // Along the first axis, all whose windows may contain one of some inputs.
    Range outputs_of(Range inputs) const {
        const std::ptrdiff_t before = inputs.first + outer_.padding - (outer_.kernel - 1) * outer_.dilation;
        const std::ptrdiff_t first = before > 0 ? before / outer_.stride : 0;
        return {first, std::min((inputs.end - 1 + outer_.padding) / outer_.stride + 1, outer_.out)};
    }

    Steps in_steps() const { return steps_of(&Axis::in_step); }
    Steps out_steps() const { return steps_of(&Axis::out_step); }
    Steps steps_of(std::ptrdiff_t Axis::*step) const {
        const std::ptrdiff_t channels = std::ptrdiff_t(w_.channels);
        return {{outer_.*step * channels, middle_.*step * channels, row_.*step * channels}};
    }

    // For each line of channels, tap rows of lines; the taps of a row in this order.
    void pack_weight(const T* weight, const std::vector<std::ptrdiff_t>& order, T* packed) const {
        parallel_for(lines_, threads_, [&](std::size_t line, int) {
            T* to = packed + line * w_.taps() * LINE<T>;
            for (std::ptrdiff_t kz = 0; kz < outer_.kernel; ++kz)
                for (std::ptrdiff_t ky = 0; ky < middle_.kernel; ++ky)
                    for (const std::ptrdiff_t kx : order)
                        for (std::size_t c = line * LINE<T>; c < (line + 1) * LINE<T>; ++c)
                            *to++ = c < w_.channels ? weight[c * w_.taps() + tap_of(kz, ky, kx)] : T(0);
        });
    }

    std::size_t tap_of(std::ptrdiff_t kz, std::ptrdiff_t ky, std::ptrdiff_t kx) const {
        return std::size_t(kz * outer_.kernel_step + ky * middle_.kernel_step + kx * row_.kernel_step);
    }

    // Rows, those together that have the same taps.
    static std::vector<Row> positions(Range outer, Range middle, std::ptrdiff_t outer_stride, std::ptrdiff_t middle_stride) {
        std::vector<Row> rows;
        for (std::ptrdiff_t z = 0; z < outer_stride; ++z)
            for (std::ptrdiff_t y = 0; y < middle_stride; ++y)
                for (std::ptrdiff_t row = outer.first + z; row < outer.end; row += outer_stride)
                    for (std::ptrdiff_t column = middle.first + y; column < middle.end; column += middle_stride)
                        rows.push_back({row, column});
        return rows;
    }

    // Sums of values times taps for all blocks of some rows. source(row, kz, ky) is the row of values that a row of taps
    // meets, or the row of zeros.
    template <class Source>
    void gather(const std::vector<Row>& rows, const std::vector<RowBlock>& blocks, const T* weight, const PackedRows<T>& values,
                const Source& source, const Result& result) const {
        std::size_t widest = 1;
        for (const RowBlock& block : blocks) widest = std::max(widest, std::size_t(block.count));
        const std::size_t beside = rows_beside(widest);
        std::vector<const T*> sources(w_.tap_rows() * beside), kernels(w_.tap_rows());
        for (std::size_t first = 0; first < rows.size(); first += beside) {
            const std::size_t count = std::min(beside, rows.size() - first);
            std::size_t pairs = 0;
            for (std::ptrdiff_t kz = 0; kz < outer_.kernel; ++kz)
                for (std::ptrdiff_t ky = 0; ky < middle_.kernel; ++ky) {
                    bool any = false;
                    for (std::size_t i = 0; i < count; ++i) {
                        const T* row = sources[pairs * count + i] = source(rows[first + i], kz, ky);
                        any |= row != values.zeros;
                    }
                    kernels[pairs] = weight + std::size_t((kz * middle_.kernel + ky) * row_.kernel) * LINE<T>;
                    pairs += any;
                }
            for (const RowBlock& block : blocks) sum_block(block, &rows[first], count, sources.data(), kernels.data(), pairs, result);
        }
    }

    void sum_block(const RowBlock& block, const Row* rows, std::size_t count, const T* const* sources, const T* const* kernels,
                   std::size_t pairs, const Result& result) const {
        const std::size_t channel = result.line * LINE<T>, channels = std::min(LINE<T>, w_.channels - channel);
        const bool whole = channels == LINE<T>;  // otherwise sums are copied from the side
        T aside[MAX_SUMS * LINE<T>], start[LINE<T>] = {};
        if (result.bias) std::copy_n(result.bias + channel, channels, start);
        const std::ptrdiff_t step = block.step * result.steps.of[2];
        Sums<T> sums{{}, whole ? step : std::ptrdiff_t(LINE<T>), start};
        T* to[MAX_ROWS];
        for (std::size_t i = 0; i < count; ++i) {
            to[i] = result.to + rows[i].z * result.steps.of[0] + rows[i].y * result.steps.of[1] + block.first * result.steps.of[2] + channel;
            sums.rows[i] = whole ? to[i] : aside + i * std::size_t(block.count) * LINE<T>;
        }
        const RowPairs<T> in{sources, kernels, pairs, block.kernel, block.offsets.size(), block.offsets.data()};
        correlation_of<T>(count, std::size_t(block.count))(sums, in);
        for (std::size_t i = 0; i < count && !whole; ++i)
            for (std::ptrdiff_t a = 0; a < block.count; ++a)
                std::copy_n(sums.rows[i] + a * std::ptrdiff_t(LINE<T>), channels, to[i] + a * step);
    }

    // The gradient of a slab of the map: every position gathers from the windows that contain it.
    void spread(std::size_t unit, std::size_t line, const PackedRows<T>& grad, const std::vector<RowBlock>& blocks,
                const T* weight, T* grad_x) const {
        gather(positions(inputs(unit % slabs_), {0, middle_.in}, outer_.stride, middle_.stride), blocks, weight, grad,
               [&](Row to, std::ptrdiff_t kz, std::ptrdiff_t ky) {
                   return grad.row(outer_.output(to.z, kz), middle_.output(to.y, ky));
               },
               Result{grad_x + image_of(unit) * w_.inputs() * w_.channels, in_steps(), line, nullptr});
    }

    // Adds the gradient of the weight from a slab of outputs. Few rows of outputs at a time, so that they, and the rows of
    // values that they meet, are read from the first cache by all blocks of taps.
    void correlate_rows(std::size_t slab, const PackedRows<T>& grad, const PackedRows<T>& values,
                        const std::vector<RowBlock>& blocks, T* sums) const {
        const std::vector<Row> rows = positions(outputs(slab), {0, middle_.out}, 1, 1);
        const std::size_t chunk = std::max<std::size_t>(1, CHUNK_BYTES / 64 / (grad.layout.width() + values.layout.width()));
        std::size_t widest = 1;
        for (const RowBlock& block : blocks) widest = std::max(widest, std::size_t(block.count));
        const std::size_t beside = rows_beside(widest), tap_rows = w_.tap_rows(), step = std::size_t(row_.kernel) * LINE<T>;
        std::vector<const T*> sources(chunk * beside), kernels(chunk);
        for (std::size_t start = 0; start < rows.size(); start += chunk)
            for (std::size_t first = 0; first < tap_rows; first += beside) {
                const std::size_t count = std::min(beside, tap_rows - first);
                std::size_t pairs = 0;
                for (std::size_t r = start; r < std::min(start + chunk, rows.size()); ++r) {
                    bool any = false;
                    for (std::size_t i = 0; i < count; ++i) {
                        const std::ptrdiff_t kz = std::ptrdiff_t(first + i) / middle_.kernel, ky = std::ptrdiff_t(first + i) % middle_.kernel;
                        const T* row = sources[pairs * count + i] = values.row(outer_.input(rows[r].z, kz), middle_.input(rows[r].y, ky));
                        any |= row != values.zeros;
                    }
                    kernels[pairs] = grad.row(rows[r].z, rows[r].y);
                    pairs += any;
                }
                for (const RowBlock& block : blocks) {
                    const RowPairs<T> in{sources.data(), kernels.data(), pairs, block.kernel, block.offsets.size(), block.offsets.data()};
                    Sums<T> to{{}, LINE<T>, nullptr};
                    for (std::size_t i = 0; i < count; ++i) to.rows[i] = sums + (first + i) * step + std::size_t(block.first) * LINE<T>;
                    correlation_of<T>(count, std::size_t(block.count))(to, in);
                }
            }
    }

    // Adds the parts of each line of channels in order.
    void add_parts(const T* sums, std::size_t parts, T* grad_weight) const {
        parallel_for(lines_ * w_.tap_rows(), threads_, [&](std::size_t i, int) {
            const std::size_t line = i / w_.tap_rows(), tap_row = i % w_.tap_rows();
            const std::size_t channels = std::min(LINE<T>, w_.channels - line * LINE<T>);
            for (std::ptrdiff_t kx = 0; kx < row_.kernel; ++kx) {
                const T* from = sums + (line * parts * w_.taps() + tap_row * std::size_t(row_.kernel) + std::size_t(kx)) * LINE<T>;
                T total[LINE<T>] = {};
                for (std::size_t part = 0; part < parts; ++part)
                    for (std::size_t c = 0; c < LINE<T>; ++c) total[c] += from[part * w_.taps() * LINE<T> + c];
                const std::size_t tap = tap_of(std::ptrdiff_t(tap_row) / middle_.kernel, std::ptrdiff_t(tap_row) % middle_.kernel, kx);
                for (std::size_t c = 0; c < channels; ++c) grad_weight[(line * LINE<T> + c) * w_.taps() + tap] = total[c];
            }
        });
    }

    const Window w_;
    const Axis &outer_, &middle_, &row_;
    int threads_;
    std::size_t lines_, slabs_;
};

}  // namespace convnn
