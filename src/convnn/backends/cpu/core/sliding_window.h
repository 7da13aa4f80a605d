// Convolutions of maps (B, C, *S) with stride 1: out[o, t] = b[o] + sum_{c, k} w[o, c, k] x[c, t + k * d - p], and the gradient
// of w. The lanes of vectors are neighbouring positions of a row, so that one channel suffices; `DepthwiseWindow` has
// channels there. Nothing is unfolded.
#pragma once

#include "sliding_rows.h"

namespace convnn {

template <class T>
class SlidingWindow : SlidingRows<T> {
    using Base = SlidingRows<T>;
    using typename Base::Part;
    using typename Base::Rows;
    using Base::s_, Base::x_, Base::y_, Base::z_;
    using Base::taps_of_output, Base::part_of, Base::units;

   public:
    static constexpr std::size_t CHUNK_BYTES = 24 << 10;  // of rows that are multiplied while they are in the first cache
    static constexpr std::size_t MANY_OUTPUTS = 4;        // channels of a group that fill a block of sums

    SlidingWindow(const SlidingShape& shape, int threads)
        : Base(shape), threads_(threads), by_channels_(s_.outputs >= MANY_OUTPUTS),
          beside_(rows_of_block(std::min<std::size_t>(SLIDE_VECTORS, ceil_div(x_.out, LANES<T>)))) {}

    void forward(const T* x, const T* weight, const T* bias, T* out) const {
        const Buffer<T> packed(s_.groups * s_.outputs * taps_of_output());
        pack_weight(weight, packed.get());
        const Scratch<T> scratch(s_.inputs * this->largest_copy(), threads_);
        parallel_for(units() * s_.groups, threads_, [&](std::size_t i, int thread) {
            const Part part = part_of(i / s_.groups, i % s_.groups);
            const Rows values = this->copy_inputs(x, part, scratch.get(thread));
            Pairs pairs;
            split_evenly(ceil_div(part.out[2].size(), LANES<T>), SLIDE_VECTORS, [&](std::ptrdiff_t first, std::ptrdiff_t vectors) {
                const Column column = column_of(part, first * LANES<T>, vectors);
                for_blocks(part, [&](const Block& block) { sum(part, block, column, values, packed.get(), bias, pairs, out); });
            });
        });
    }

    // The gradient of the weight: partial sums over fixed parts, added in order.
    void weight(const T* grad, const T* x, T* grad_weight) const {
        const std::size_t count = units(), size = s_.outputs * taps_of_output();
        const std::size_t parts = std::min(count, ceil_div(Base::MIN_TASKS, s_.groups));
        const Buffer<T> sums(s_.groups * parts * size);
        const Scratch<T> of_inputs(s_.inputs * this->largest_copy(), threads_), of_outputs(s_.outputs * this->largest_copy(), threads_);
        const Buffer<T> zeros(this->width(x_.out));
        std::fill_n(zeros.get(), this->width(x_.out), T(0));
        parallel_for(s_.groups * parts, threads_, [&](std::size_t i, int thread) {
            const std::size_t group = i % s_.groups, index = i / s_.groups;
            T* to = sums.get() + (group * parts + index) * size;
            std::fill_n(to, size, T(0));
            for (std::size_t unit = count * index / parts; unit < count * (index + 1) / parts; ++unit) {
                const Part part = part_of(unit, group);
                const Rows values = this->copy_inputs(x, part, of_inputs.get(thread));
                add_products(part, values, this->copy_outputs(grad, part, of_outputs.get(thread)), zeros.get(), to);
            }
        });
        for (std::size_t group = 0; group < s_.groups; ++group)
            for (std::size_t i = 0; i < size; ++i) {
                T sum = 0;
                for (std::size_t part = 0; part < parts; ++part) sum += sums.get()[(group * parts + part) * size + i];
                grad_weight[group * size + i] = sum;
            }
    }

   private:
    // Rows that a block multiplies, and with what: rows of taps or of the gradient.
    struct Pairs {
        std::vector<const T*> rows, others;
        void clear() { rows.clear(), others.clear(); }
    };

    // Outputs that are computed together: of one channel in rows a dilation apart, or of one row in several channels.
    struct Block {
        std::size_t channel;
        std::ptrdiff_t z, y;
        std::size_t count;
    };

    // Some vectors of each row of a part, and the taps that meet the map there.
    struct Column {
        std::ptrdiff_t first, count, vectors;
        Range taps;
    };

    // By channel: for each row of taps, those of all rows of the kernel, the last one first. By row: for each block of
    // channels and row of taps, those of all its channels.
    void pack_weight(const T* weight, T* to) const {
        const std::size_t rows = s_.inputs * std::size_t(z_.kernel), kernel = std::size_t(y_.kernel * x_.kernel);
        for (std::size_t group = 0; group < s_.groups; ++group)
            split_channels([&](std::size_t channel, std::size_t count) {
                const T* from = weight + (group * s_.outputs + channel) * taps_of_output();
                for (std::size_t row = 0; row < rows; ++row, from += kernel)
                    for (std::ptrdiff_t i = 0; i < y_.kernel * x_.kernel; ++i) {
                        const std::ptrdiff_t ky = by_channels_ ? i / x_.kernel : y_.kernel - 1 - i % y_.kernel;
                        const std::ptrdiff_t kx = by_channels_ ? i % x_.kernel : i / y_.kernel;
                        for (std::size_t r = 0; r < count; ++r) *to++ = from[r * taps_of_output() + std::size_t(ky * x_.kernel + kx)];
                    }
            });
    }

    template <class Call>
    void split_channels(const Call& call) const {
        split_evenly(std::ptrdiff_t(s_.outputs), by_channels_ ? std::ptrdiff_t(beside_) : 1,
                     [&](std::ptrdiff_t first, std::ptrdiff_t count) { call(std::size_t(first), std::size_t(count)); });
    }

    Column column_of(const Part& part, std::ptrdiff_t first, std::ptrdiff_t vectors) const {
        const std::ptrdiff_t count = std::min<std::ptrdiff_t>(vectors * LANES<T>, part.out[2].size() - first), d = x_.dilation;
        const std::ptrdiff_t at = part.out[2].first + first - x_.padding;  // under the first tap
        const std::ptrdiff_t before = std::max<std::ptrdiff_t>(1 - at - count, 0), after = std::max<std::ptrdiff_t>(x_.in - at, 0);
        const std::ptrdiff_t start = std::min((before + d - 1) / d, x_.kernel);
        return {first, count, vectors, {start, std::clamp((after + d - 1) / d, start, x_.kernel)}};
    }

    template <class Call>
    void for_blocks(const Part& part, const Call& call) const {
        split_channels([&](std::size_t channel, std::size_t channels) {
            for (std::ptrdiff_t z = part.out[0].first; z < part.out[0].end; ++z) {
                const Range y = part.out[1];
                for (std::ptrdiff_t at = y.first; by_channels_ && at < y.end; ++at) call(Block{channel, z, at, channels});
                for (std::ptrdiff_t rest = 0; !by_channels_ && rest < std::min(y_.dilation, y.end - y.first); ++rest)
                    split_evenly((y.end - y.first - rest + y_.dilation - 1) / y_.dilation, beside_,
                                 [&](std::ptrdiff_t first, std::ptrdiff_t count) {
                                     call(Block{channel, z, y.first + rest + first * y_.dilation, std::size_t(count)});
                                 });
            }
        });
    }

    void sum(const Part& part, const Block& block, const Column& column, const Rows& values, const T* packed, const T* bias,
             Pairs& pairs, T* out) const {
        alignas(64) T sums[SLIDE_ROWS * SLIDE_WIDTH<T>];
        for (std::size_t r = 0; r < block.count; ++r)
            std::fill_n(sums + r * SLIDE_WIDTH<T>, column.vectors * LANES<T>, T(0));
        const T* taps = packed + (part.group * s_.outputs + block.channel) * taps_of_output();
        if (by_channels_)
            slide_under_row(block, column, values, taps, pairs, sums);
        else
            slide_under_rows(block, column, values, taps, pairs, sums);
        const std::ptrdiff_t first = part.out[2].first + column.first;
        for (std::size_t r = 0; r < block.count; ++r) {
            const std::ptrdiff_t y = block.y + (by_channels_ ? 0 : std::ptrdiff_t(r) * y_.dilation);
            T* from = sums + r * SLIDE_WIDTH<T>;
            if (bias)  // last: a large number would round away small products
                for (std::ptrdiff_t i = 0; i < column.vectors * LANES<T>; ++i) from[i] += bias[channel_of(part, block, r)];
            this->write(part, channel_of(part, block, r), block.z, y, {first, first + column.count}, from, out);
        }
    }

    std::size_t channel_of(const Part& part, const Block& block, std::size_t r) const {
        return part.group * s_.outputs + block.channel + (by_channels_ ? r : 0);
    }

    // Sums of several channels of a row: the same values, other taps.
    void slide_under_row(const Block& block, const Column& column, const Rows& values, const T* taps, Pairs& pairs,
                         T* sums) const {
        for (std::size_t c = 0; c < s_.inputs; ++c)
            for (std::ptrdiff_t kz = 0; kz < z_.kernel; ++kz)
                for (std::ptrdiff_t ky = 0; ky < y_.kernel; ++ky, taps += x_.kernel * std::ptrdiff_t(block.count)) {
                    const std::ptrdiff_t z = z_.input(block.z, kz), y = y_.input(block.y, ky);
                    if (z < 0 || y < 0) continue;
                    pairs.rows.push_back(values.row(c, z, y) + column.first + column.taps.first * x_.dilation);
                    pairs.others.push_back(taps + column.taps.first * std::ptrdiff_t(block.count));
                }
        run(block.count, column, pairs, std::ptrdiff_t(block.count), sums);
    }

    // Sums of several rows of a channel: a row of values meets tap j - r of row r. Those that meet the same rows of sums, from
    // `first` to before `end`, are together.
    void slide_under_rows(const Block& block, const Column& column, const Rows& values, const T* taps, Pairs& pairs,
                          T* sums) const {
        const std::ptrdiff_t count = std::ptrdiff_t(block.count), K = y_.kernel;
        for (std::ptrdiff_t j = 0; j < K + count - 1; ++j) {
            const std::ptrdiff_t first = std::max<std::ptrdiff_t>(j - K + 1, 0), end = std::min(j + 1, count);
            const std::ptrdiff_t y = y_.input(block.y, j);
            for (std::size_t c = 0; y >= 0 && c < s_.inputs; ++c)
                for (std::ptrdiff_t kz = 0; kz < z_.kernel; ++kz) {
                    const std::ptrdiff_t z = z_.input(block.z, kz);
                    if (z < 0) continue;
                    pairs.rows.push_back(values.row(c, z, y) + column.first + column.taps.first * x_.dilation);
                    pairs.others.push_back(taps + ((std::ptrdiff_t(c) * z_.kernel + kz) * x_.kernel + column.taps.first) * K
                                      + K - 1 - j + first);
                }
            const bool is_last = j + 1 < count || j + 1 >= K;  // the next row meets other rows of sums
            if (!is_last) continue;
            run(std::size_t(end - first), column, pairs, K, sums + first * std::ptrdiff_t(SLIDE_WIDTH<T>));
        }
    }

    void run(std::size_t count, const Column& column, Pairs& pairs, std::ptrdiff_t stride, T* sums) const {
        const Slides<T> in{pairs.rows.data(), pairs.others.data(), pairs.rows.size(), column.taps.size(), x_.dilation, stride};
        if (in.pairs) slide_of<T>(count, std::size_t(column.vectors))(sums, in);
        pairs.clear();
    }

    // Adds the products of a part to the gradient of the weight of its group. Few rows at a time, so that all taps read them
    // from the first cache.
    void add_products(const Part& part, const Rows& values, const Rows& grad, const T* zeros, T* sums) const {
        const std::size_t chunk = std::max<std::size_t>(1, CHUNK_BYTES / sizeof(T) / (values.width + grad.width));
        const Range rows = by_channels_ ? grad.y : values.y;
        for (std::ptrdiff_t z = grad.z.first; z < grad.z.end; ++z)
            for (std::ptrdiff_t first = rows.first; first < rows.end; first += std::ptrdiff_t(chunk)) {
                const Range some{first, std::min(first + std::ptrdiff_t(chunk), rows.end)};
                if (by_channels_)
                    add_of_channels(z, some, values, grad, sums);
                else
                    add_of_rows(z, some, values, grad, zeros, sums);
            }
    }

    // Products of rows of several channels of the gradient with a row of values.
    void add_of_channels(std::ptrdiff_t z, Range outputs, const Rows& values, const Rows& grad, T* sums) const {
        Pairs pairs;
        split_channels([&](std::size_t channel, std::size_t count) {
            for (std::size_t row = 0; row < s_.inputs * std::size_t(z_.kernel * y_.kernel); ++row) {
                const std::size_t c = row / std::size_t(z_.kernel * y_.kernel);
                const std::ptrdiff_t ky = std::ptrdiff_t(row) % y_.kernel, at = z_.input(z, std::ptrdiff_t(row) / y_.kernel % z_.kernel);
                for (std::ptrdiff_t output = outputs.first; at >= 0 && output < outputs.end; ++output) {
                    const std::ptrdiff_t y = y_.input(output, ky);
                    if (y < 0) continue;
                    pairs.rows.push_back(values.row(c, at, y));
                    for (std::size_t r = 0; r < count; ++r) pairs.others.push_back(grad.row(channel + r, z, output));
                }
                add(count, pairs, grad, taps_of_output(), sums + channel * taps_of_output() + row * std::size_t(x_.kernel));
            }
        });
    }

    // Products of several rows of the gradient with a row of values, under tap ky + r.
    void add_of_rows(std::ptrdiff_t z, Range inputs, const Rows& values, const Rows& grad, const T* zeros, T* sums) const {
        Pairs pairs;
        for (std::size_t i = 0; i < s_.outputs * s_.inputs * std::size_t(z_.kernel); ++i) {
            const std::size_t channel = i / std::size_t(z_.kernel);
            const std::ptrdiff_t at = z_.input(z, std::ptrdiff_t(i) % z_.kernel);
            split_evenly(at < 0 ? 0 : y_.kernel, rows_of_block(std::min<std::size_t>(SLIDE_VECTORS, x_.kernel)),
                         [&](std::ptrdiff_t ky, std::ptrdiff_t count) {
                for (std::ptrdiff_t y = inputs.first; y < inputs.end; ++y) {
                    bool any = false;
                    for (std::ptrdiff_t r = 0; r < count; ++r) {
                        const std::ptrdiff_t output = y + y_.padding - (ky + r) * y_.dilation;
                        const bool is_there = grad.has(z, output);
                        pairs.others.push_back(is_there ? grad.row(channel / s_.inputs, z, output) : zeros);
                        any |= is_there;
                    }
                    if (any)
                        pairs.rows.push_back(values.row(channel % s_.inputs, at, y));
                    else
                        pairs.others.resize(pairs.others.size() - std::size_t(count));
                }
                add(std::size_t(count), pairs, grad, std::size_t(x_.kernel),
                    sums + (i * std::size_t(y_.kernel) + std::size_t(ky)) * std::size_t(x_.kernel));
            });
        }
    }

    void add(std::size_t count, Pairs& pairs, const Rows& grad, std::size_t stride, T* sums) const {
        split_evenly(pairs.rows.empty() ? 0 : x_.kernel, std::min<std::size_t>(SLIDE_VECTORS, SLIDE_SUMS / count),
                     [&](std::ptrdiff_t tap, std::ptrdiff_t taps) {
            const Dots<T> in{pairs.rows.data(), pairs.others.data(), pairs.rows.size(), grad.width / LANES<T>, x_.dilation, tap * x_.dilation};
            dot_of<T>(count, std::size_t(taps))(sums + tap, stride, in);
        });
        pairs.clear();
    }

    const int threads_;
    const bool by_channels_;    // blocks of sums are several channels of a row, not several rows of a channel
    const std::size_t beside_;  // rows of a block
};

}  // namespace convnn
