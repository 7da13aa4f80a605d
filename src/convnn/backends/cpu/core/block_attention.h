// Attention of blocks of queries to the blocks of keys that they open. No matrix of scores is written: tiles of rows visit
// the other side a few columns at a time, where scores, weights and their products stay in L1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "convolve.h"
#include "parallel.h"
#include "simd.h"

namespace convnn {

struct BlockShape {
    std::size_t batch, queries, keys, width, values, query_block, key_block;
};
template <class T>
struct AttentionGradients {
    T *queries, *keys, *values;
};

// Rows (batch, count, channels), of which those of a block choose or are chosen together.
template <class T>
struct BlockedRows {
    const T* data;
    std::size_t batch, count, channels, block;

    std::size_t blocks() const { return ceil_div(count, block); }
    std::size_t length(std::size_t i) const { return std::min(block, count - i * block); }  // of the i-th block
    const T* row(std::size_t image, std::size_t i) const { return data + (image * count + i) * channels; }
};

// Blocks of rows as right operands of `multiply`, in panels of TILE_COLUMNS numbers, filled up with zeros.
template <class T>
class PackedBlocks {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;

    PackedBlocks(const BlockedRows<T>& rows, bool is_transposed, int threads)
        : panels_(ceil_div(is_transposed ? rows.block : rows.channels, PANEL)),
          depth_(is_transposed ? rows.channels : rows.block),
          blocks_(rows.blocks()),
          packed_(rows.batch * blocks_ * panels_ * depth_ * PANEL) {
        parallel_for(rows.batch * blocks_, threads, [&](std::size_t i, int) {
            const std::size_t image = i / blocks_, block = i % blocks_, count = rows.length(block);
            const T* from = rows.row(image, block * rows.block);
            if (is_transposed)
                for (std::size_t p = 0; p * PANEL < count; ++p)
                    pack_panel(from + p * PANEL * depth_, count - p * PANEL, depth_, 1, at(image, block, p), PANEL, 0);
            else
                for (std::size_t p = 0; p < panels_; ++p) copy(from + p * PANEL, rows.channels, p, count, at(image, block, p));
        });
    }

    // A panel of a block: of channels, (rows, PANEL), or of rows if it is transposed, (channels, PANEL).
    T* at(std::size_t image, std::size_t block, std::size_t panel) const {
        return packed_.get() + ((image * blocks_ + block) * panels_ + panel) * depth_ * PANEL;
    }
    std::size_t panels() const { return panels_; }

   private:
    static void copy(const T* from, std::size_t channels, std::size_t panel, std::size_t count, T* to) {
        const std::size_t width = std::min(PANEL, channels - panel * PANEL);
        for (std::size_t r = 0; r < count; ++r, from += channels, to += PANEL) {
            std::copy(from, from + width, to);
            std::fill(to + width, to + PANEL, T(0));
        }
    }

    std::size_t panels_, depth_, blocks_;
    Buffer<T> packed_;
};

template <class T>
class BlockAttention {
   public:
    BlockAttention(const BlockShape& shape, const T* queries, const T* keys, const T* values, const bool* is_open,
                   int threads)
        : s_(shape),
          queries_{queries, shape.batch, shape.queries, shape.width, shape.query_block},
          keys_{keys, shape.batch, shape.keys, shape.width, shape.key_block},
          values_{values, shape.batch, shape.keys, shape.values, shape.key_block},
          is_open_(is_open),
          scale_(1 / std::sqrt(T(shape.width))),
          threads_(threads) {}

    // The softmax is summed as its scores come, relative to the highest so far; logs are the logarithms of its sums.
    void forward(T* out, T* logs) const {
        const PackedBlocks<T> keys(keys_, true, threads_), values(values_, false, threads_);
        each_part(queries_, 2 * TILE + (values.panels() * PANEL + LANES<T> + 1) * PART, [&](const Part& part, T* scratch) {
            T *products = scratch, *weights = products + TILE, *highest = weights + TILE, *masses = highest + PART;
            T* sums = masses + PART * LANES<T>;
            std::fill(highest, masses, -std::numeric_limits<T>::infinity());
            std::fill(masses, sums + part.tiles() * values.panels() * SUMS, T(0));
            each_span(part, keys_, [&](const Span& span, std::size_t tile) {
                const T* rows[TILE_ROWS];
                part.rows_of(queries_, tile, rows);
                multiply_span(rows, s_.width, keys, part.image, span, products);
                T* totals = sums + tile * values.panels() * SUMS;
                for (std::size_t r = 0; r < TILE_ROWS; ++r) {
                    const std::size_t row = tile * TILE_ROWS + r;
                    const T shrink = weigh(products + r * PANEL, span.count, highest[row], masses + row * LANES<T>,
                                           weights + r * SPAN);
                    for (std::size_t p = 0; shrink != 1 && p < values.panels(); ++p)
                        scale(totals + p * SUMS + r * PANEL, broadcast(shrink));
                    rows[r] = weights + r * SPAN;
                }
                add_products(rows, span, values, part.image, totals);
            });
            for (std::size_t row = 0; row < part.count; ++row) {
                const std::size_t at = part.image * s_.queries + part.first + row;
                T mass = 0;
                for (int lane = 0; lane < LANES<T>; ++lane) mass += masses[row * LANES<T> + lane];
                logs[at] = highest[row] + std::log(mass);
                write(sums, row, values.panels(), 1 / mass, out + at * s_.values, s_.values);
            }
        });
    }

    // From the gradient of the output, and, of each query, what is taken from the gradients of its weights, and the logs.
    void backward(const T* grad, const T* taken, const T* logs, const AttentionGradients<T>& to) const {
        const BlockedRows<T> grads{grad, s_.batch, s_.queries, s_.values, s_.query_block};
        differentiate_queries(grads, taken, logs, to.queries);
        differentiate_keys(grads, taken, logs, to.keys, to.values);
    }

   private:
    static constexpr std::size_t PANEL = TILE_COLUMNS<T>;
    static constexpr std::size_t SUMS = TILE_ROWS * PANEL;       // numbers of a tile of `multiply`
    static constexpr std::size_t SPAN = 64;                      // columns that are visited together
    static constexpr std::size_t TILE = TILE_ROWS * SPAN;        // numbers of a tile of rows by a span
    static constexpr std::size_t PART = 16 * TILE_ROWS;          // rows of a task: their sums stay in L2

    // Rows of one block, of which a task finds the results.
    struct Part {
        std::size_t image, block, first, count;

        std::size_t tiles() const { return ceil_div(count, std::size_t(TILE_ROWS)); }
        // The r-th row of a tile; those after the last row repeat it, and their results are not read.
        std::size_t row(std::size_t tile, std::size_t r) const { return first + std::min(tile * TILE_ROWS + r, count - 1); }
        void rows_of(const BlockedRows<T>& side, std::size_t tile, const T** rows) const {
            for (std::size_t r = 0; r < TILE_ROWS; ++r) rows[r] = side.row(image, row(tile, r));
        }
    };
    // Columns of one block that are visited together.
    struct Span {
        std::size_t block, first, count;
    };

    template <class Task>
    void each_part(const BlockedRows<T>& side, std::size_t size, const Task& task) const {
        const std::size_t parts = ceil_div(std::min(side.block, side.count), PART), blocks = side.blocks();
        const Scratch<T> scratch(size, threads_);
        parallel_for(s_.batch * blocks * parts, threads_, [&](std::size_t i, int thread) {
            const std::size_t first = i % parts * PART, block = i / parts % blocks, length = side.length(block);
            if (first >= length) return;
            task(Part{i / parts / blocks, block, block * side.block + first, std::min(PART, length - first)},
                 scratch.get(thread));
        });
    }

    // visit(span, tile) for every tile of a part, for the spans of all blocks of the other side that its block sees.
    template <class Visit>
    void each_span(const Part& part, const BlockedRows<T>& other, const Visit& visit) const {
        const std::size_t columns = keys_.blocks();
        const bool* opened = is_open_ + part.image * queries_.blocks() * columns;
        const bool is_of_keys = &other == &keys_;
        for (std::size_t block = 0; block < other.blocks(); ++block) {
            if (!opened[is_of_keys ? part.block * columns + block : block * columns + part.block]) continue;
            for (std::size_t first = 0; first < other.length(block); first += SPAN)
                for (std::size_t tile = 0; tile < part.tiles(); ++tile)
                    visit(Span{block, first, std::min(SPAN, other.length(block) - first)}, tile);
        }
    }

    // Tiles of queries visit the keys that they see.
    void differentiate_queries(const BlockedRows<T>& grads, const T* taken, const T* logs, T* grad_queries) const {
        const PackedBlocks<T> across(keys_, true, threads_), along(keys_, false, threads_), others(values_, true, threads_);
        each_part(queries_, 3 * TILE + along.panels() * PANEL * PART, [&](const Part& part, T* scratch) {
            T *of_scores = scratch + 2 * TILE, *sums = of_scores + TILE;
            std::fill(sums, sums + part.tiles() * along.panels() * SUMS, T(0));
            each_span(part, keys_, [&](const Span& span, std::size_t tile) {
                const T *rows[TILE_ROWS], *other_rows[TILE_ROWS];
                part.rows_of(queries_, tile, rows);
                part.rows_of(grads, tile, other_rows);
                multiply_span(rows, s_.width, across, part.image, span, scratch);
                multiply_span(other_rows, s_.values, others, part.image, span, scratch + TILE);
                for (std::size_t r = 0; r < TILE_ROWS; ++r) {
                    const std::size_t query = part.image * s_.queries + part.row(tile, r);
                    const auto of_query = [&](const T* from) {
                        return [number = broadcast(from[query])](std::size_t, std::size_t) { return number; };
                    };
                    differentiate(scratch + r * PANEL, span.count, of_query(logs), of_query(taken), nullptr,
                                  of_scores + r * SPAN);
                    rows[r] = of_scores + r * SPAN;
                }
                add_products(rows, span, along, part.image, sums + tile * along.panels() * SUMS);
            });
            write_all(part, sums, along.panels(), scale_, grad_queries, queries_);
        });
    }

    // Tiles of keys visit the queries that see them.
    void differentiate_keys(const BlockedRows<T>& grads, const T* taken, const T* logs, T* grad_keys, T* grad_values) const {
        const PackedBlocks<T> across(queries_, true, threads_), along(queries_, false, threads_);
        const PackedBlocks<T> others(grads, true, threads_), others_along(grads, false, threads_);
        each_part(keys_, 4 * TILE + (along.panels() + others_along.panels()) * PANEL * PART, [&](const Part& part, T* scratch) {
            T *weights = scratch + 2 * TILE, *of_scores = weights + TILE, *sums = of_scores + TILE;
            T* other_sums = sums + along.panels() * PANEL * PART;
            std::fill(sums, sums + part.tiles() * along.panels() * SUMS, T(0));
            std::fill(other_sums, other_sums + part.tiles() * others_along.panels() * SUMS, T(0));
            each_span(part, queries_, [&](const Span& span, std::size_t tile) {
                const T *rows[TILE_ROWS], *other_rows[TILE_ROWS];
                part.rows_of(keys_, tile, rows);
                part.rows_of(values_, tile, other_rows);
                multiply_span(rows, s_.width, across, part.image, span, scratch);
                multiply_span(other_rows, s_.values, others, part.image, span, scratch + TILE);
                const std::size_t query = part.image * s_.queries + span.block * s_.query_block + span.first;
                const auto of_queries = [&](const T* from) {
                    return [from = from + query](std::size_t i, std::size_t rest) { return load_some(from + i, rest); };
                };
                for (std::size_t r = 0; r < TILE_ROWS; ++r) {
                    differentiate(scratch + r * PANEL, span.count, of_queries(logs), of_queries(taken), weights + r * SPAN,
                                  of_scores + r * SPAN);
                    rows[r] = of_scores + r * SPAN;
                    other_rows[r] = weights + r * SPAN;
                }
                add_products(rows, span, along, part.image, sums + tile * along.panels() * SUMS);
                add_products(other_rows, span, others_along, part.image, other_sums + tile * others_along.panels() * SUMS);
            });
            write_all(part, sums, along.panels(), scale_, grad_keys, keys_);
            write_all(part, other_sums, others_along.panels(), T(1), grad_values, values_);
        });
    }

    // Products of a tile of rows with the rows of a span, (span / PANEL, TILE_ROWS, PANEL).
    static void multiply_span(const T* const* rows, std::size_t channels, const PackedBlocks<T>& other, std::size_t image,
                              const Span& span, T* products) {
        for (std::size_t p = 0; p * PANEL < span.count; ++p)
            multiply<Start::at_zero, 1>(products + p * SUMS, rows, channels, other.at(image, span.block, span.first / PANEL + p));
    }

    // Adds the products of a tile of weights with the rows of a span to sums (channels / PANEL, TILE_ROWS, PANEL).
    static void add_products(const T* const* weights, const Span& span, const PackedBlocks<T>& other, std::size_t image,
                             T* sums) {
        for (std::size_t p = 0; p < other.panels(); ++p)
            multiply<Start::at_sums, 1>(sums + p * SUMS, weights, span.count, other.at(image, span.block, p) + span.first * PANEL);
    }

    // Where the products of a row with columns i to i + LANES - 1 of a span are.
    static std::size_t place(std::size_t i) { return i / PANEL * SUMS + i % PANEL; }

    // Turns products of a row into weights relative to the highest score so far, and adds them to their masses; returns by
    // how much earlier weights shrink.
    T weigh(T* products, std::size_t count, T& highest, T* masses, T* weights) const {
        const Vector<T> factor = broadcast(scale_);
        Vector<T> top = broadcast(-std::numeric_limits<T>::infinity());
        for (std::size_t i = count; i % LANES<T>; ++i) products[place(i)] = top[0];
        for (std::size_t i = 0; i < count; i += LANES<T>) {
            const Vector<T> scores = load(products + place(i)) * factor;
            top = scores > top ? scores : top;
        }
        const T before = highest, reached = std::max(before, largest(top));
        T shrink = 1;
        Vector<T> mass = load(masses);
        if (reached > before) {
            shrink = power_of_e(broadcast(before - reached))[0];
            mass *= broadcast(shrink);
            highest = reached;
        }
        for (std::size_t i = 0; i < count; i += LANES<T>) {
            const Vector<T> weight = power_of_e(load(products + place(i)) * factor - broadcast(reached));
            store(weights + i, weight);
            mass += weight;
        }
        store(masses, mass);
        return shrink;
    }

    // From the products of a row with a span, of which those of gradients and values follow those of queries and keys: its
    // weights, if wanted, and the gradients of its scores.
    template <class Logs, class Taken>
    void differentiate(const T* products, std::size_t count, const Logs& logs, const Taken& taken, T* weights,
                       T* of_scores) const {
        for (std::size_t i = 0; i < count; i += LANES<T>) {
            const Vector<T> score = load(products + place(i)) * broadcast(scale_);
            const Vector<T> weight = power_of_e(score - logs(i, count - i));
            if (weights) store(weights + i, weight);
            store(of_scores + i, weight * (load(products + TILE + place(i)) - taken(i, count - i)));
        }
    }

    static T largest(Vector<T> lanes) {
        T parts[LANES<T>];
        store(parts, lanes);
        for (int half = LANES<T> / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) parts[i] = parts[i] < parts[i + half] ? parts[i + half] : parts[i];
        return parts[0];
    }

    static void scale(T* sums, Vector<T> factor) {
        store(sums, load(sums) * factor);
        store(sums + LANES<T>, load(sums + LANES<T>) * factor);
    }

    static void write(const T* sums, std::size_t row, std::size_t panels, T factor, T* to, std::size_t channels) {
        const T* from = sums + row / TILE_ROWS * panels * SUMS + row % TILE_ROWS * PANEL;
        for (std::size_t c = 0; c < channels; ++c) to[c] = from[c / PANEL * SUMS + c % PANEL] * factor;
    }

    static void write_all(const Part& part, const T* sums, std::size_t panels, T factor, T* to, const BlockedRows<T>& like) {
        for (std::size_t row = 0; row < part.count; ++row)
            write(sums, row, panels, factor, to + (part.image * like.count + part.first + row) * like.channels, like.channels);
    }

    BlockShape s_;
    BlockedRows<T> queries_, keys_, values_;
    const bool* is_open_;
    T scale_;
    int threads_;
};

}  // namespace convnn
