// Windows of a map, and copies of a line of its channels in which every window finds its values at fixed offsets.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "correlate.h"
#include "parallel.h"

namespace convnn {

// One axis of the map: tap k of output o stands at input o * stride + k * dilation - padding.
struct Axis {
    std::ptrdiff_t in, out, kernel, stride, padding, dilation;
    std::ptrdiff_t in_step, out_step, kernel_step;  // in memory: of the map, of the outputs, and of the kernel

    // -1 in the padding
    std::ptrdiff_t input(std::ptrdiff_t output, std::ptrdiff_t tap) const {
        const std::ptrdiff_t i = output * stride + tap * dilation - padding;
        return i < in ? std::max<std::ptrdiff_t>(i, -1) : -1;
    }

    // The output whose tap stands at an input; -1 if there is none.
    std::ptrdiff_t output(std::ptrdiff_t input, std::ptrdiff_t tap) const {
        const std::ptrdiff_t at = input + padding - tap * dilation;
        return at < 0 || at % stride || at / stride >= out ? -1 : at / stride;
    }
};

// Of a map of up to three axes; rows run along the last one.
struct Window {
    std::size_t batch, channels;
    Axis axes[3];

    std::size_t inputs() const { return std::size_t(axes[0].in * axes[1].in * axes[2].in); }
    std::size_t outputs() const { return std::size_t(axes[0].out * axes[1].out * axes[2].out); }
    std::size_t tap_rows() const { return std::size_t(axes[0].kernel * axes[1].kernel); }
    std::size_t taps() const { return tap_rows() * std::size_t(axes[2].kernel); }
};

// Where the positions of a row are in its copy. Positions that are `modulus` apart are neighbours there, so that a block
// of sums that reads every second position, say, reads lines next to each other. Zeros before and after them let blocks
// reach over the edge.
class RowLayout {
   public:
    RowLayout(std::ptrdiff_t size, std::ptrdiff_t padding, std::ptrdiff_t modulus) : modulus_(modulus) {
        constexpr std::ptrdiff_t MARGIN = MAX_COUNT - 1;
        for (std::ptrdiff_t rest = 0; rest < modulus; ++rest) {
            const std::ptrdiff_t first = padding > rest ? (padding - rest + modulus - 1) / modulus : 0;
            const std::ptrdiff_t end = size + padding > rest ? (size + padding - rest - 1) / modulus + 1 : 0;
            starts_.push_back(width_ + MARGIN - first);
            width_ += std::max<std::ptrdiff_t>(end - first, 0) + 2 * MARGIN;
        }
        for (std::ptrdiff_t i = 0; i < size; ++i) places_.push_back(place(i + padding));
    }

    // Of a position of the padded row, as a number of lines.
    std::ptrdiff_t place(std::ptrdiff_t position) const { return starts_[position % modulus_] + position / modulus_; }

    std::size_t width() const { return std::size_t(width_); }
    const std::vector<std::ptrdiff_t>& places() const { return places_; }  // of the positions of the map

   private:
    std::ptrdiff_t modulus_, width_ = 0;
    std::vector<std::ptrdiff_t> starts_, places_;
};

struct Range {
    std::ptrdiff_t first, end;
    std::size_t size() const { return std::size_t(std::max<std::ptrdiff_t>(end - first, 0)); }
};

// A line of the channels of some rows of a map. Whatever is no position of the map stays zero.
template <class T>
struct PackedRows {
    T* data;
    const RowLayout& layout;
    Range outer;              // along the first axis
    std::ptrdiff_t middle;    // size of the second axis
    const T* zeros;           // an empty row

    const T* row(std::ptrdiff_t z, std::ptrdiff_t y) const {
        if (z < 0 || y < 0) return zeros;
        return data + std::size_t((z - outer.first) * middle + y) * layout.width() * LINE<T>;
    }

    // Copies up to LINE channels from a map whose axes are so many numbers apart.
    void fill(const T* map, std::size_t channels, const std::ptrdiff_t (&steps)[3]) const {
        T* to = data;
        for (std::ptrdiff_t z = outer.first; z < outer.end; ++z)
            for (std::ptrdiff_t y = 0; y < middle; ++y, to += layout.width() * LINE<T>) {
                const T* from = map + z * steps[0] + y * steps[1];
                for (const std::ptrdiff_t place : layout.places()) {
                    if (channels >= LINE<T>)
                        std::copy_n(from, LINE<T>, to + place * LINE<T>);
                    else
                        std::copy_n(from, channels, to + place * LINE<T>);
                    from += steps[2];
                }
            }
    }
};

// Results next to each other in a row, and what they read: from line `kernel` of a row of the kernel on, as many lines as
// there are offsets, each with the values at its offset.
struct RowBlock {
    std::ptrdiff_t first, step, count;
    std::size_t kernel;
    std::vector<std::ptrdiff_t> offsets;
};

// Calls block(first, count) for blocks of at most so many, as equal as can be.
template <class Call>
void split_evenly(std::ptrdiff_t total, std::ptrdiff_t most, const Call& block) {
    const std::ptrdiff_t parts = (total + most - 1) / most;
    for (std::ptrdiff_t i = 0; i < parts; ++i) {
        const std::ptrdiff_t first = total * i / parts;
        block(first, total * (i + 1) / parts - first);
    }
}

// Blocks of outputs, reading a map whose rows are laid out for the stride.
template <class T>
std::vector<RowBlock> blocks_of_outputs(const Axis& axis, const RowLayout& layout) {
    std::vector<RowBlock> blocks;
    split_evenly(axis.out, MAX_COUNT, [&](std::ptrdiff_t first, std::ptrdiff_t count) {
        RowBlock block{first, 1, count, 0, {}};
        for (std::ptrdiff_t tap = 0; tap < axis.kernel; ++tap) {
            const std::ptrdiff_t at = first * axis.stride + tap * axis.dilation - axis.padding;
            if (at >= axis.in || at + (count - 1) * axis.stride < 0) continue;
            if (block.offsets.empty()) block.kernel = std::size_t(tap);
            block.offsets.push_back((layout.place(tap * axis.dilation) + first) * std::ptrdiff_t(LINE<T>));
        }
        blocks.push_back(std::move(block));
    });
    return blocks;
}

// Blocks of inputs, which read the outputs that they contribute to. Inputs that are a stride apart have the same taps;
// `order` gets the taps in the order of these blocks.
template <class T>
std::vector<RowBlock> blocks_of_inputs(const Axis& axis, const RowLayout& layout, std::vector<std::ptrdiff_t>& order) {
    std::vector<RowBlock> blocks;
    for (std::ptrdiff_t rest = 0; rest < axis.stride; ++rest) {
        const std::size_t start = order.size();
        for (std::ptrdiff_t tap = axis.kernel - 1; tap >= 0; --tap)  // so that offsets rise
            if ((rest + axis.padding - tap * axis.dilation) % axis.stride == 0) order.push_back(tap);
        const std::ptrdiff_t total = (std::max(axis.in - rest, std::ptrdiff_t(0)) + axis.stride - 1) / axis.stride;
        split_evenly(total, MAX_COUNT, [&](std::ptrdiff_t first, std::ptrdiff_t count) {
            RowBlock block{first * axis.stride + rest, axis.stride, count, start, {}};
            for (std::size_t i = start; i < order.size(); ++i) {
                const std::ptrdiff_t at = first + (rest + axis.padding - order[i] * axis.dilation) / axis.stride;
                if (at >= axis.out || at + count - 1 < 0) continue;
                if (block.offsets.empty()) block.kernel = i;
                block.offsets.push_back((layout.place(0) + at) * std::ptrdiff_t(LINE<T>));
            }
            blocks.push_back(std::move(block));
        });
    }
    return blocks;
}

// Blocks of taps: the lines of a row of outputs are their kernel, which meets the map at the places of these taps.
template <class T>
std::vector<RowBlock> blocks_of_taps(const Axis& axis, const RowLayout& outputs, const RowLayout& inputs) {
    std::vector<RowBlock> blocks;
    split_evenly(axis.kernel, MAX_COUNT, [&](std::ptrdiff_t first, std::ptrdiff_t count) {
        RowBlock block{first, 1, count, 0, {}};
        for (std::ptrdiff_t output = 0; output < axis.out; ++output) {
            const std::ptrdiff_t at = output * axis.stride + first * axis.dilation - axis.padding;
            if (at >= axis.in || at + (count - 1) * axis.dilation < 0) continue;
            if (block.offsets.empty()) block.kernel = std::size_t(outputs.place(output));
            block.offsets.push_back((inputs.place(output * axis.stride) + first) * std::ptrdiff_t(LINE<T>));
        }
        blocks.push_back(std::move(block));
    });
    return blocks;
}

}  // namespace convnn
