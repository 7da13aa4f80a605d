// Maps (B, C, *S) in parts, and copies of their rows, for windows that slide along the rows.
#pragma once

#include "slide.h"
#include "window.h"

namespace convnn {

// Channels are those of a group. A negative padding cuts positions off.
struct SlidingShape {
    std::size_t batch, groups, inputs, outputs;
    Axis axes[3];
};

// A task has some images, a group of channels, and a slab of the outputs. It copies the rows that it reads, with zeros where a
// window reaches over an end of the map. All positions along a row are those of rows in which images are interleaved.
template <class T>
class SlidingRows {
   public:
    static constexpr std::size_t MIN_TASKS = 16;
    static constexpr std::size_t COPY_BYTES = 256 << 10;  // about as much as a task copies
    static constexpr std::ptrdiff_t LEAST_ROWS = 16, LEAST_POSITIONS = 4096;  // of a slab
    static constexpr std::size_t MANY_TAPS = 100;

    explicit SlidingRows(const SlidingShape& shape)
        : s_(shape), fold_(images_in_a_row()), z_(s_.axes[0]), y_(s_.axes[1]), x_(folded(s_.axes[2])),
          cut_(z_.out > 1 ? 0 : y_.out > 1 ? 1 : 2), packs_(ceil_div(s_.batch, fold_)), slabs_(count_slabs()) {}

   protected:
    // What a task computes: outputs of some images and a group.
    struct Part {
        std::size_t image, images, group;
        Range out[3];
    };

    // Copied rows of each channel of a part.
    struct Rows {
        T* data;
        Range z, y;
        std::size_t width;

        T* row(std::size_t channel, std::ptrdiff_t z_at, std::ptrdiff_t y_at) const {
            return data + ((channel * z.size() + std::size_t(z_at - z.first)) * y.size() + std::size_t(y_at - y.first)) * width;
        }
        bool has(std::ptrdiff_t z_at, std::ptrdiff_t y_at) const {
            return z.first <= z_at && z_at < z.end && y.first <= y_at && y_at < y.end;
        }
    };

    std::size_t units() const { return packs_ * slabs_; }  // tasks of a group

    Part part_of(std::size_t unit, std::size_t group) const {
        const std::size_t slab = unit % slabs_, image = unit / slabs_ * fold_;
        Part part{image, std::min(fold_, s_.batch - image), group, {{0, z_.out}, {0, y_.out}, {0, x_.out}}};
        const std::ptrdiff_t size = part.out[cut_].end;
        part.out[cut_] = {size * std::ptrdiff_t(slab) / std::ptrdiff_t(slabs_),
                          size * std::ptrdiff_t(slab + 1) / std::ptrdiff_t(slabs_)};
        return part;
    }

    // Numbers in the copy of a row for so many outputs: whole vectors under all taps.
    std::size_t width(std::ptrdiff_t outputs) const { return round_up(outputs, LANES<T>) + round_up(reach(x_), LANES<T>); }

    std::size_t largest_copy() const {
        std::size_t most = 0;
        for (std::size_t slab = 0; slab < slabs_; ++slab) {
            const Part part = part_of(slab, 0);
            const std::size_t in = inputs_of(z_, part.out[0]).size() * inputs_of(y_, part.out[1]).size();
            most = std::max(most, std::max(in, part.out[0].size() * part.out[1].size()) * width(part.out[2].size()));
        }
        return most;
    }

    std::size_t taps() const { return std::size_t(s_.axes[0].kernel * s_.axes[1].kernel * s_.axes[2].kernel); }
    std::size_t taps_of_output() const { return s_.inputs * taps(); }

    Rows copy_inputs(const T* x, const Part& part, T* to) const {
        const Rows rows{to, inputs_of(z_, part.out[0]), inputs_of(y_, part.out[1]), width(part.out[2].size())};
        const std::ptrdiff_t sides[] = {z_.in, y_.in, x_.in};
        copy_rows(x, s_.inputs, sides, part, {part.out[2].first - x_.padding, x_.in}, rows);
        return rows;
    }

    Rows copy_outputs(const T* grad, const Part& part, T* to) const {
        const Rows rows{to, part.out[0], part.out[1], round_up(part.out[2].size(), LANES<T>)};
        const std::ptrdiff_t sides[] = {z_.out, y_.out, x_.out};
        copy_rows(grad, s_.outputs, sides, part, part.out[2], rows);
        return rows;
    }

    void write(const Part& part, std::size_t channel, std::ptrdiff_t z, std::ptrdiff_t y, Range positions, const T* sums,
               T* out) const {
        const std::ptrdiff_t fold = std::ptrdiff_t(fold_), side = x_.out / fold, first = positions.first;
        const std::ptrdiff_t size = z_.out * y_.out * side, image = std::ptrdiff_t(s_.groups * s_.outputs) * size;
        T* to = out + std::ptrdiff_t(part.image) * image + std::ptrdiff_t(channel) * size + (z * y_.out + y) * side;
        if (fold == 1) std::copy_n(sums, positions.size(), to + first);
        for (std::ptrdiff_t i = 0; fold > 1 && i < std::ptrdiff_t(part.images); ++i)
            for (std::ptrdiff_t at = (first + fold - 1 - i) / fold; at * fold + i < positions.end; ++at)
                to[i * image + at] = sums[at * fold + i - first];
    }

    const SlidingShape s_;
    const std::size_t fold_;
    const Axis z_, y_, x_;

   private:
    // Short rows of several images are interleaved, position by position, which fills vectors, but takes as long as some taps.
    std::size_t images_in_a_row() const {
        std::size_t best = 1;
        for (std::size_t fold = 2; taps() >= MANY_TAPS && fold <= std::min<std::size_t>(s_.batch, LANES<T>); ++fold)
            if (use_of_vectors(fold) > 1.05 * use_of_vectors(best)) best = fold;
        return best;
    }

    // The share of lanes that compute something; a single vector waits for its own sums.
    double use_of_vectors(std::size_t fold) const {
        const std::size_t positions = std::size_t(s_.axes[2].out) * fold, vectors = ceil_div(positions, LANES<T>);
        return double(positions) / double(vectors * LANES<T>) * (vectors == 1 ? 0.75 : 1);
    }

    Axis folded(Axis axis) const {
        const std::ptrdiff_t fold = std::ptrdiff_t(fold_);
        axis.in *= fold, axis.out *= fold, axis.padding *= fold, axis.dilation *= fold;
        return axis;
    }

    // Slabs along the first axis that has more than one output, of rows that fit into the cache, and enough for several threads.
    std::size_t count_slabs() const {
        const std::size_t positions = std::size_t(std::max(z_.in * y_.in * x_.in, z_.out * y_.out * x_.out));
        const std::size_t bytes = sizeof(T) * positions * std::max(s_.inputs, s_.outputs);
        const std::size_t wanted = std::max(bytes / COPY_BYTES, ceil_div(MIN_TASKS, packs_ * s_.groups));
        const std::ptrdiff_t least = cut_ == 2 ? LEAST_POSITIONS : ceil_div(LEAST_ROWS, cut_ == 0 ? std::size_t(y_.out) : 1);
        const Axis* axes[] = {&z_, &y_, &x_};
        return std::max<std::size_t>(1, std::min(wanted, std::size_t(axes[cut_]->out / least)));
    }

    // All that windows of some outputs contain.
    static Range inputs_of(const Axis& axis, Range out) {
        const std::ptrdiff_t first = std::max<std::ptrdiff_t>(out.first - axis.padding, 0);
        return {first, std::max(first, std::min(out.end + reach(axis) - axis.padding, axis.in))};
    }

    static std::ptrdiff_t reach(const Axis& axis) { return (axis.kernel - 1) * axis.dilation; }

    // Copies rows from a position on, with zeros before the map and from an end on.
    void copy_rows(const T* maps, std::size_t channels, const std::ptrdiff_t (&sides)[3], const Part& part, Range positions,
                   const Rows& rows) const {
        const std::ptrdiff_t fold = std::ptrdiff_t(fold_), side = sides[2] / fold, first = positions.first;
        const std::ptrdiff_t size = sides[0] * sides[1] * side, image = std::ptrdiff_t(s_.groups * channels) * size;
        const std::ptrdiff_t limit = first + std::ptrdiff_t(rows.width);
        const std::ptrdiff_t start = std::clamp<std::ptrdiff_t>(0, first, limit), end = std::clamp(positions.end, start, limit);
        for (std::size_t c = 0; c < channels; ++c)
            for (std::ptrdiff_t z = rows.z.first; z < rows.z.end; ++z)
                for (std::ptrdiff_t y = rows.y.first; y < rows.y.end; ++y) {
                    const T* from = maps + std::ptrdiff_t(part.image) * image
                                    + std::ptrdiff_t(part.group * channels + c) * size + (z * sides[1] + y) * side;
                    T* to = rows.row(c, z, y);
                    std::fill_n(to, fold == 1 ? start - first : rows.width, T(0));
                    std::fill(to + (end - first), to + rows.width, T(0));
                    if (fold == 1) std::copy(from + start, from + end, to + (start - first));
                    for (std::ptrdiff_t i = 0; fold > 1 && i < std::ptrdiff_t(part.images); ++i)
                        for (std::ptrdiff_t at = start + i; at < end; at += fold) to[at - first] = from[i * image + at / fold];
                }
    }

    const int cut_;
    const std::size_t packs_, slabs_;
};

}  // namespace convnn
