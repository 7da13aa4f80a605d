// Exact search for neighbours, a tile of scores at a time.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "block.h"
#include "leaf_keys.h"

namespace convnn {

// If the leaves of an image are distinct, a block of similar queries visits the most promising leaves first, and skips
// leaves in which no key can be among the best of any query.
template <class T, class S>
class Search : BlockSearch<T, S, LeafKeys<T, S>, 4, 4 * TILE_ROWS> {
    using Base = BlockSearch<T, S, LeafKeys<T, S>, 4, 4 * TILE_ROWS>;
    using typename Base::Block, typename Base::Memory;

   public:
    using Base::CHUNK, Base::IS_EXACT, Base::PANEL, Base::SIZE;
    static constexpr std::size_t FIRST = 4 * LEAF;  // keys of the first chunk of leaves; each next one is twice as long
    static constexpr std::size_t COLUMNS = (SIZE + PANEL - 1) / PANEL * PANEL;  // queries of a block, in panels

    Search(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t num_candidates, int threads)
        : Base(shape, metric, threads, candidates, num_candidates), order_(shape.batch * shape.queries) {}

    void run(const T* queries, const T* keys, const int64_t* positions, int64_t* out) {
        this->start(queries, keys, positions);
        parallel_for(shape_.batch, threads_, [&](std::size_t image, int) { order(image); });
        const std::size_t blocks = ceil_div(shape_.queries, SIZE), leaves = keys_.most_leaves();
        const Memory memory(*this, COLUMNS, leaves * COLUMNS, CHUNK + leaves);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            const std::size_t image = i / blocks, first = i % blocks * SIZE;
            Block block = memory.block(image, thread);
            const bool is_cut = keys_.is_cut(image);
            this->load_queries(block, order_.get() + image * shape_.queries + first,
                               std::min(shape_.queries - first, SIZE), !is_cut);
            if (slots_ && is_cut)
                open_leaves(block, {memory.more_scores(thread), memory.more_keys(thread)});
            else if (slots_)
                pass_leaves(block);
            for (std::size_t r = 0; r < block.count; ++r) choose(block, r, out);
        });
    }

   private:
    struct Leaves {
        float* bounds;   // (leaves, COLUMNS): upper bounds on the score of a key in a leaf
        int32_t* chunk;  // the keys being scored, and then the leaves, the most promising first
    };

    // Similar queries of an image share a block if that saves visiting leaves.
    void order(std::size_t image) {
        int32_t* order = order_.get() + image * shape_.queries;
        const T* rows = queries_ + image * shape_.queries * shape_.channels;
        if (keys_.is_cut(image) && rows == keys_.row(image, 0) && keys_.count(image) == shape_.queries) {
            std::copy_n(keys_.members(image), shape_.queries, order);
            return;
        }
        std::iota(order, order + shape_.queries, 0);
        if (!keys_.is_cut(image)) return;
        std::vector<double> norms(shape_.queries);
        for (std::size_t i = 0; metric_ == Metric::cosine && i < shape_.queries; ++i)
            norms[i] = keys_.norm_of(rows + i * shape_.channels, image);
        Halving<T>(keys_.points(rows, norms.data()), SIZE).order(order, shape_.queries);
    }

    void choose(Block& block, std::size_t r, int64_t* out) const {
        const auto all = [&](std::size_t, const auto& visit) {
            visit(keys_.members(block.image), keys_.count(block.image));
        };
        this->decide(block, r, !keys_.is_cut(block.image), all);
        this->write(block, r, std::max(block.itself[r], 0), out);
    }

    // All keys, in order.
    void pass_leaves(Block& block) const {
        const std::size_t keys = keys_.count(block.image);
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t count = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < count; i += PANEL) score_all(block, (first + i) / PANEL, i, ~0u);
            for (std::size_t r = 0; r < block.count; ++r)
                this->scan(block, r, block.scores + r * CHUNK, keys_.members(block.image) + first, count);
        }
    }

    // The leaves that may matter, the most promising first.
    void open_leaves(Block& block, const Leaves& in) const {
        const std::size_t leaves = keys_.leaves(block.image), keys = keys_.count(block.image);
        find_bounds(block, leaves, in.bounds);
        const int32_t* order = by_promise(in, leaves);
        float limits[COLUMNS];
        std::fill_n(limits, COLUMNS, -NOBODY);
        std::fill_n(limits, block.count, NOBODY);
        std::size_t filled = 0, room = FIRST;
        for (std::size_t i = 0; i < leaves; ++i) {
            const std::size_t leaf = order[i], count = std::min(keys - leaf * LEAF, LEAF);
            if (const uint32_t matters = may_enter(in.bounds + leaf * COLUMNS, limits)) {
                for (std::size_t p = 0; p * PANEL < count; ++p)
                    score_all(block, leaf * (LEAF / PANEL) + p, filled + p * PANEL, matters);
                std::copy_n(keys_.members(block.image) + leaf * LEAF, count, in.chunk + filled);
                filled += count;
            }
            const bool is_last = i + 1 == leaves || count < LEAF;  // columns after the last key are empty
            if (filled < room && !(filled && is_last)) continue;
            for (std::size_t r = 0; r < block.count; ++r) {
                Shortlist& shortlist = block.shortlists[r];
                if (shortlist.full()) continue;
                this->scan(block, r, block.scores + r * CHUNK, in.chunk, filled);
                limits[r] = shortlist.full() ? -NOBODY : shortlist.limit();
            }
            filled = 0;
            room = std::min(2 * room, CHUNK);
        }
    }

    // Scores of all queries with one panel; -infinity for tiles in which it matters to no query.
    void score_all(const Block& block, std::size_t panel, std::size_t column, uint32_t matters) const {
        for (std::size_t first = 0; first < block.count; first += TILE_ROWS) {
            if (matters >> first & ((1u << TILE_ROWS) - 1)) {
                std::size_t queries[TILE_ROWS];
                std::iota(queries, queries + TILE_ROWS, first);
                this->score(block, queries, panel, block.scores + first * CHUNK + column);
            } else {
                for (int r = 0; r < TILE_ROWS; ++r)
                    std::fill_n(block.scores + (first + r) * CHUNK + column, PANEL, NOBODY);
            }
        }
    }

    // A bit for each query for which a key of a leaf with these bounds can be among the best.
    static uint32_t may_enter(const float* bounds, const float* limits) {
        static_assert(COLUMNS <= 32);
        uint32_t bits = 0;
        for (std::size_t i = 0; i < COLUMNS; i += LANES<float>)
            bits |= uint32_t(at_least(load(bounds + i), load(limits + i))) << i;
        return bits;
    }

    // For each leaf, an upper bound on the score of its keys for each query.
    void find_bounds(const Block& block, std::size_t leaves, float* bounds) const {
        const bool by_differences = IS_EXACT && metric_ == Metric::euclidean;
        const S* panels = in_panels(block);
        for (std::size_t column = 0; column < COLUMNS; column += PANEL, panels += PANEL * shape_.channels) {
            const Reach<S> left = reach_of(block, column), right = reach_of(block, column + LANES<S>);
            for (std::size_t first = 0; first < leaves; first += TILE_ROWS) {
                const S* centers[TILE_ROWS];
                for (std::size_t r = 0; r < TILE_ROWS; ++r)
                    centers[r] = keys_.ball(block.image, std::min(first + r, leaves - 1)).center;
                S sums[TILE_ROWS * PANEL];
                if (by_differences)
                    multiply<Start::at_zero, 1, SquaredDifference>(sums, centers, shape_.channels, panels);
                else
                    multiply<Start::at_zero, 1>(sums, centers, shape_.channels, panels);
                for (std::size_t r = 0; r < TILE_ROWS && first + r < leaves; ++r) {
                    const Ball<S>& ball = keys_.ball(block.image, first + r);
                    float* to = bounds + (first + r) * COLUMNS + column;
                    store_bounds(to, left(load(sums + r * PANEL), ball, by_differences));
                    store_bounds(to + LANES<S>, right(load(sums + r * PANEL + LANES<S>), ball, by_differences));
                }
            }
        }
    }

    // The queries, after themselves, in panels.
    const S* in_panels(const Block& block) const {
        S* panels = block.rows + SIZE * shape_.channels;
        for (std::size_t i = 0; i < COLUMNS; ++i)
            for (std::size_t c = 0; c < shape_.channels; ++c)
                panels[(i / PANEL * shape_.channels + c) * PANEL + i % PANEL] =
                    block.rows[std::min(i, SIZE - 1) * shape_.channels + c];
        return panels;
    }

    Reach<S> reach_of(const Block& block, std::size_t column) const {
        Reach<S> reach{metric_, {}, {}, {}};
        for (int i = 0; i < LANES<S>; ++i) {
            const std::size_t r = std::min(column + i, block.count - 1);
            const double norm = block.norms[r];
            const bool says_nothing = metric_ == Metric::cosine && !(norm > 0);  // zero, or not finite
            reach.squares[i] = metric_ == Metric::euclidean ? norm : 1;
            reach.lengths[i] = metric_ == Metric::matmul ? 1 / norm : 1;
            reach.errors[i] = says_nothing ? -NOBODY : !IS_EXACT ? block.margins[r] : metric_ == Metric::cosine ? 4e-12 : 0;
        }
        return reach;
    }

    // The leaves, ordered by the best bound over all queries.
    static int32_t* by_promise(const Leaves& in, std::size_t leaves) {
        int32_t* order = in.chunk + CHUNK;
        std::iota(order, order + leaves, 0);
        std::vector<float> best(leaves);
        for (std::size_t leaf = 0; leaf < leaves; ++leaf) best[leaf] = best_bound(in.bounds + leaf * COLUMNS);
        std::sort(order, order + leaves, [&](int32_t a, int32_t b) { return best[a] != best[b] ? best[a] > best[b] : a < b; });
        return order;
    }

    static float best_bound(const float* bounds) {
        Vector<float> largest = load(bounds);
        for (std::size_t i = LANES<float>; i < COLUMNS; i += LANES<float>) {
            const Vector<float> next = load(bounds + i);
            largest = next > largest ? next : largest;
        }
        return largest_of(largest);
    }

    // Bounds are rounded as scores are; without knowledge the bound is infinite.
    static void store_bounds(float* to, Vector<S> bounds) {
        store_bounded(to, bounds <= S(FLT_MAX) ? bounds : broadcast(S(FLT_MAX)));
    }

    using Base::keys_, Base::metric_, Base::queries_, Base::shape_, Base::slots_, Base::threads_;
    Buffer<int32_t> order_;  // queries of each image, with similar ones adjacent
};

}  // namespace convnn
