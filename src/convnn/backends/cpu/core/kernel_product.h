// Products of kernel matrices with vectors: values of a kernel live in a tile, and are multiplied as soon as they are there.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernel_functions.h"
#include "parallel.h"
#include "simd.h"

namespace convnn {

struct KernelShape {
    std::size_t queries, keys, channels, columns;  // without columns, the values themselves are wanted
};

// A task owns some queries. It takes the keys a chunk at a time, which stays in the cache while all tiles of its queries
// meet it. Every vector lane adds its own keys, in order, and the lanes are added at the end.
//
// Squared distances are |x|^2 + |y|^2 - 2 x . y, of points relative to the mean of the keys. Of points much nearer to each
// other than to the mean these terms cancel; a tile with such a pair is computed again from differences.
template <class T, class Function>
class KernelProduct {
   public:
    KernelProduct(KernelShape shape, Function function, int threads)
        : s_(shape),
          function_(function),
          threads_(threads),
          keys_(round_up(shape.keys, PANEL)),
          chunk_(std::clamp(CACHED / (sizeof(T) * shape.channels + 1) / PANEL * PANEL, PANEL, CHUNK)),
          middle_(shape.channels),
          panels_(keys_ * shape.channels),
          exact_panels_(RADIAL ? keys_ * shape.channels : 0),
          lengths_(keys_),
          weights_(keys_ * shape.columns) {}

    // X (queries, channels), Y (keys, channels), v (keys, columns), out (queries, columns), or (queries, keys) values.
    void run(const T* X, const T* Y, const T* v, T* out) {
        center(Y);
        parallel_for(keys_ / PANEL, threads_, [&](std::size_t i, int) { pack(Y, v, i * PANEL); });
        longest_ = *std::max_element(lengths_.get(), lengths_.get() + keys_);
        const std::size_t tiles = std::clamp<std::size_t>(s_.queries / (TILE_ROWS * TASKS), 1, TILES), rows = tiles * TILE_ROWS;
        const Scratch<T> centered(rows * s_.channels, threads_), lengths(rows, threads_);
        const Scratch<T> values(TILE_ROWS * STRIDE, threads_), sums(rows * s_.columns * LANES<T>, threads_);
        parallel_for(ceil_div(s_.queries, rows), threads_, [&](std::size_t i, int thread) {
            const std::size_t first = i * rows, count = std::min(rows, s_.queries - first);
            const Task task{X + first * s_.channels,  count, centered.get(thread), lengths.get(thread), values.get(thread),
                            sums.get(thread), out + first * (s_.columns ? s_.columns : s_.keys)};
            run(task);
            if (s_.columns) write(task);
        });
    }

   private:
    static constexpr bool RADIAL = Function::IS_RADIAL;
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t CHUNK = 2048 / sizeof(T), STRIDE = CHUNK + LANES<T>;  // rows of values lie apart in the cache
    static constexpr std::size_t CACHED = 1 << 18;                                     // bytes of the keys of a chunk
    static constexpr std::size_t TASKS = 64, TILES = 16;                               // fewest tasks, largest ones
    static constexpr std::size_t NARROW = 8;  // differences of so few channels cost no more than products

    struct Task {
        const T* queries;
        std::size_t count;
        T *centered, *lengths, *values, *sums, *out;
    };

    void center(const T* Y) {
        std::fill_n(middle_.get(), s_.channels, 0.0);
        if (!RADIAL) return;
        for (std::size_t key = 0; key < s_.keys; ++key)
            for (std::size_t c = 0; c < s_.channels; ++c) middle_.get()[c] += Y[key * s_.channels + c];
        for (std::size_t c = 0; c < s_.channels; ++c) middle_.get()[c] /= s_.keys;
    }

    // One panel of keys, and their weights by columns; after the last key both are zeros.
    void pack(const T* Y, const T* v, std::size_t first) {
        T* to = panels_.get() + first * s_.channels;
        double lengths[PANEL]{};
        for (std::size_t i = 0; i < PANEL; ++i) {
            const bool is_key = first + i < s_.keys;
            const T* row = Y + (first + i) * s_.channels;
            for (std::size_t c = 0; c < s_.channels; ++c) {
                const T number = is_key ? T(row[c] - middle_.get()[c]) : T(0);
                to[c * PANEL + i] = number;
                lengths[i] += double(number) * number;
                if (RADIAL) exact_panels_.get()[first * s_.channels + c * PANEL + i] = is_key ? row[c] : T(0);
            }
            lengths_.get()[first + i] = T(lengths[i]);
            for (std::size_t c = 0; c < s_.columns; ++c)
                weights_.get()[c * keys_ + first + i] = is_key ? v[(first + i) * s_.columns + c] : T(0);
        }
    }

    void run(const Task& task) const {
        for (std::size_t r = 0; r < task.count; ++r) {
            double length = 0;
            for (std::size_t c = 0; c < s_.channels; ++c) {
                const T number = T(task.queries[r * s_.channels + c] - middle_.get()[c]);
                task.centered[r * s_.channels + c] = number;
                length += double(number) * number;
            }
            task.lengths[r] = T(length);
        }
        const std::size_t tiles = ceil_div(task.count, TILE_ROWS);
        std::fill_n(task.sums, tiles * TILE_ROWS * s_.columns * LANES<T>, T(0));
        for (std::size_t key = 0; key < keys_; key += chunk_)
            for (std::size_t tile = 0; tile < tiles; ++tile) {
                const std::size_t count = std::min(chunk_, keys_ - key);
                evaluate(task, tile * TILE_ROWS, key, count);
                if (s_.columns)
                    weigh(task, tile, key, count);
                else
                    copy(task, tile * TILE_ROWS, key, count);
            }
    }

    // Rows after the last query repeat it.
    void evaluate(const Task& task, std::size_t first, std::size_t key, std::size_t count) const {
        const T *rows[TILE_ROWS], *exact_rows[TILE_ROWS];
        T lengths[TILE_ROWS], shares[TILE_ROWS], tile[TILE_ROWS * PANEL];
        for (std::size_t r = 0; r < std::size_t(TILE_ROWS); ++r) {
            const std::size_t row = std::min(first + r, task.count - 1);
            rows[r] = task.centered + row * s_.channels;
            exact_rows[r] = task.queries + row * s_.channels;
            lengths[r] = task.lengths[row];
            shares[r] = share_of(lengths[r]);
        }
        for (std::size_t i = 0; i < count; i += PANEL) {
            const T* panel = panels_.get() + (key + i) * s_.channels;
            if constexpr (RADIAL) {
                if (s_.channels > NARROW) {
                    multiply<Start::at_zero, 1>(tile, rows, s_.channels, panel);
                    if (!of_products(tile, lengths, shares, lengths_.get() + key + i, task.values + i)) continue;
                }
                multiply<Start::at_zero, 1, SquaredDifference>(tile, exact_rows, s_.channels,
                                                               exact_panels_.get() + (key + i) * s_.channels);
                of_squares(tile, task.values + i);
            } else {
                multiply<Start::at_zero, 1>(tile, rows, s_.channels, panel);
                of_gram(tile, lengths, lengths_.get() + key + i, task.values + i);
            }
        }
    }

    // The share of the squared lengths below which a squared distance has lost too many digits.
    T share_of(T length) const {
        if constexpr (RADIAL) {
            if (!function_.forgives(length + longest_)) return std::sqrt(std::sqrt(std::numeric_limits<T>::epsilon()));
        }
        return 0;
    }

    // Returns whether a pair is too near.
    bool of_products(const T* tile, const T* lengths, const T* shares, const T* of_keys, T* values) const {
        Vector<T> least{};
        for (int r = 0; r < TILE_ROWS; ++r)
            for (std::size_t i = 0; i < PANEL; i += LANES<T>) {
                const Vector<T> both = lengths[r] + load(of_keys + i);
                Vector<T> squares = fused(broadcast(T(-2)), load(tile + r * PANEL + i), both);
                squares = squares < 0 ? Vector<T>{} : squares;
                const Vector<T> margin = squares - shares[r] * both;
                least = margin < least ? margin : least;
                store(values + r * STRIDE + i, function_(squares));
            }
        return any_negative(least);
    }

    void of_squares(const T* tile, T* values) const {
        for (int r = 0; r < TILE_ROWS; ++r)
            for (std::size_t i = 0; i < PANEL; i += LANES<T>)
                store(values + r * STRIDE + i, function_(load(tile + r * PANEL + i)));
    }

    void of_gram(const T* tile, const T* lengths, const T* of_keys, T* values) const {
        for (int r = 0; r < TILE_ROWS; ++r)
            for (std::size_t i = 0; i < PANEL; i += LANES<T>)
                store(values + r * STRIDE + i,
                      function_(load(tile + r * PANEL + i), broadcast(lengths[r]), load(of_keys + i)));
    }

    void weigh(const Task& task, std::size_t tile, std::size_t key, std::size_t count) const {
        for (std::size_t c = 0; c < s_.columns; ++c) {
            const T* weights = weights_.get() + c * keys_ + key;
            T* to = task.sums + (tile * s_.columns + c) * TILE_ROWS * LANES<T>;
            Vector<T> sums[TILE_ROWS];
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; ++r) sums[r] = load(to + r * LANES<T>);
            for (std::size_t i = 0; i < count; i += LANES<T>) {
                const Vector<T> weight = load(weights + i);
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; ++r) sums[r] = fused(load(task.values + r * STRIDE + i), weight, sums[r]);
            }
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; ++r) store(to + r * LANES<T>, sums[r]);
        }
    }

    void copy(const Task& task, std::size_t first, std::size_t key, std::size_t count) const {
        for (std::size_t row = first; row < std::min(first + TILE_ROWS, task.count); ++row)
            std::copy_n(task.values + (row - first) * STRIDE, std::min(count, s_.keys - key), task.out + row * s_.keys + key);
    }

    void write(const Task& task) const {
        for (std::size_t r = 0; r < task.count; ++r)
            for (std::size_t c = 0; c < s_.columns; ++c) {
                const T* lanes = task.sums + ((r / TILE_ROWS * s_.columns + c) * TILE_ROWS + r % TILE_ROWS) * LANES<T>;
                T sum = 0;
                for (int lane = 0; lane < LANES<T>; ++lane) sum += lanes[lane];
                task.out[r * s_.columns + c] = sum;
            }
    }

    KernelShape s_;
    Function function_;
    int threads_;
    std::size_t keys_, chunk_;  // keys in whole panels
    Buffer<double> middle_;
    Buffer<T> panels_, exact_panels_, lengths_, weights_;
    T longest_ = 0;
};

}  // namespace convnn
