// The inverse of a convolution whose matrix is triangular: every position sees those above and to the left of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "parallel.h"
#include "simd.h"

namespace convnn {

struct TriangularShape {
    std::size_t batch, groups, width, rows, columns, kernel_rows, kernel_columns;  // width: channels of a group
};

// x with z[p] = sum_d W_d x[p - d], where W_0, the kernel's last tap, is lower triangular. Positions of an anti-diagonal
// do not depend on each other and are the lanes of vectors; only as many diagonals are kept as the kernel reaches back.
template <class T>
class TriangularSolve {
   public:
    TriangularSolve(const TriangularShape& shape, const T* weight, int threads)
        : s_(shape),
          threads_(threads),
          tile_(std::min<std::size_t>(shape.width, 4)),
          tiles_(ceil_div(shape.width, tile_)),
          earlier_(shape.kernel_rows * shape.kernel_columns - 1),
          kept_(shape.kernel_rows + shape.kernel_columns - 1),
          pitch_(shape.kernel_rows - 1 + shape.rows + BLOCK),
          packed_(shape.groups * group_size()) {
        for (std::size_t g = 0; g < s_.groups; ++g) pack(weight + g * s_.width * s_.width * (earlier_ + 1), packed_.get() + g * group_size());
    }

    void run(const T* z, T* x) const {
        const Scratch<T> diagonals(kept_ * s_.width * pitch_, threads_);
        const std::size_t size = s_.width * s_.rows * s_.columns;
        parallel_for(s_.batch * s_.groups, threads_, [&](std::size_t i, int thread) {
            const T* weight = packed_.get() + i % s_.groups * group_size();
            switch (tile_) {
                case 1: return solve<1>(z + i * size, x + i * size, weight, diagonals.get(thread));
                case 2: return solve<2>(z + i * size, x + i * size, weight, diagonals.get(thread));
                case 3: return solve<3>(z + i * size, x + i * size, weight, diagonals.get(thread));
                default: return solve<4>(z + i * size, x + i * size, weight, diagonals.get(thread));
            }
        });
    }

   private:
    static constexpr std::size_t BLOCK = 2 * LANES<T>;
    struct Pair {
        Vector<T> left, right;
    };

    TriangularShape s_;
    int threads_;
    std::size_t tile_, tiles_, earlier_, kept_, pitch_;  // pitch_: of a channel of a diagonal, by row of the map
    Buffer<T> packed_;

    // Of each tile of output channels: the taps of earlier positions, then the last tap, its diagonal inverted.
    std::size_t tile_size() const { return tile_ * s_.width * (earlier_ + 1); }
    std::size_t group_size() const { return tiles_ * tile_size(); }

    void pack(const T* weight, T* packed) const {
        const std::size_t taps = earlier_ + 1;
        for (std::size_t tile = 0; tile < tiles_; ++tile) {
            for (std::size_t r = 0; r < tile_; ++r) {
                const std::size_t o = tile * tile_ + r;
                for (std::size_t c = 0; c < s_.width; ++c) {
                    const T* from = weight + (o * s_.width + c) * taps;
                    for (std::size_t k = 0; k < earlier_; ++k)
                        packed[tile * tile_size() + (c * earlier_ + k) * tile_ + r] = o < s_.width ? from[k] : T(0);
                    const T last = o < s_.width ? from[earlier_] : T(0);
                    packed[tile * tile_size() + (s_.width * earlier_ + c) * tile_ + r] = o == c ? T(1) / last : last;
                }
            }
        }
    }

    template <int TILE>
    void solve(const T* z, T* x, const T* weight, T* diagonals) const {
        std::fill(diagonals, diagonals + kept_ * s_.width * pitch_, T(0));  // outside of the map
        for (std::size_t t = 0; t < s_.rows + s_.columns - 1; ++t) {
            const std::size_t first = t < s_.columns ? 0 : t - s_.columns + 1, last = std::min(s_.rows - 1, t);
            for (std::size_t i = first; i <= last; i += BLOCK) {
                const std::size_t count = std::min(BLOCK, last + 1 - i);
                for (std::size_t tile = 0; tile < tiles_; ++tile)
                    step<TILE>(z, x, weight + tile * tile_size(), diagonals, t, i, count, tile * TILE);
            }
        }
    }

    // Computes channels o .. o + TILE - 1 at rows i .. i + count - 1 of diagonal t.
    template <int TILE>
    void step(const T* z, T* x, const T* weight, T* diagonals, std::size_t t, std::size_t i, std::size_t count,
              std::size_t o) const {
        Pair sums[TILE];
        for (int r = 0; r < TILE; ++r) sums[r] = gather(z, o + r, t, i, count);
        for (std::size_t c = 0; c < s_.width; ++c) {
            std::size_t k = 0;
            for (std::size_t a = 0; a < s_.kernel_rows; ++a) {
                for (std::size_t b = 0; b < s_.kernel_columns && k < earlier_; ++b, ++k) {
                    const std::size_t up = s_.kernel_rows - 1 - a, back = up + s_.kernel_columns - 1 - b;
                    if (t < back) continue;  // outside of the map
                    subtract<TILE>(sums, row(diagonals, t - back, c) + i - up, weight + (c * earlier_ + k) * TILE);
                }
            }
        }
        const T* corner = weight + s_.width * earlier_ * TILE;
        for (std::size_t c = 0; c < o; ++c) subtract<TILE>(sums, row(diagonals, t, c) + i, corner + c * TILE);
        for (int r = 0; r < TILE; ++r) {
            const std::size_t c = o + r;
            if (c >= s_.width) return;
            const Vector<T> inverse = broadcast(corner[c * TILE + r]);
            sums[r] = {sums[r].left * inverse, sums[r].right * inverse};
            for (int later = r + 1; later < TILE; ++later) subtract(sums[later], sums[r], corner[c * TILE + later]);
            scatter(x, row(diagonals, t, c) + i, sums[r], c, t, i, count);
        }
    }

    // Where row 0 of a channel of a diagonal is kept.
    T* row(T* diagonals, std::size_t t, std::size_t c) const {
        return diagonals + (t % kept_ * s_.width + c) * pitch_ + s_.kernel_rows - 1;
    }

    static void subtract(Pair& sum, const Pair& x, T weight) {
        const Vector<T> w = broadcast(-weight);
        sum = {fused(w, x.left, sum.left), fused(w, x.right, sum.right)};
    }

    template <int TILE>
    static void subtract(Pair* sums, const T* x, const T* weights) {
        const Pair loaded{load(x), load(x + LANES<T>)};
#pragma GCC unroll 4
        for (int r = 0; r < TILE; ++r) subtract(sums[r], loaded, weights[r]);
    }

    Pair gather(const T* z, std::size_t c, std::size_t t, std::size_t i, std::size_t count) const {
        T values[BLOCK] = {};
        if (c < s_.width) {
            const T* from = z + (c * s_.rows + i) * s_.columns + t - i;
            for (std::size_t n = 0; n < count; ++n) values[n] = from[n * (s_.columns - 1)];
        }
        return {load(values), load(values + LANES<T>)};
    }

    void scatter(T* x, T* kept, const Pair& found, std::size_t c, std::size_t t, std::size_t i, std::size_t count) const {
        T values[BLOCK];
        store(values, found.left);
        store(values + LANES<T>, found.right);
        std::memcpy(kept, values, count * sizeof(T));
        T* to = x + (c * s_.rows + i) * s_.columns + t - i;
        for (std::size_t n = 0; n < count; ++n) to[n * (s_.columns - 1)] = values[n];
    }
};

}  // namespace convnn
