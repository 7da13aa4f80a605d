// Exact search for neighbours, a tile of scores at a time.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "packed.h"
#include "shortlist.h"

namespace convnn {

// A bit for each score that reaches its limit.
inline unsigned at_least(Vector<float> scores, Vector<float> limits) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(scores, limits, _CMP_GE_OQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps(scores, limits, _CMP_GE_OQ));
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES<float>; ++i) bits |= unsigned(scores[i] >= limits[i]) << i;
    return bits;
#endif
}

inline unsigned at_least(const float* scores, float limit) { return at_least(load(scores), broadcast(limit)); }

inline float largest_of(Vector<float> scores) {
    float largest = scores[0];
    for (int lane = 1; lane < LANES<float>; ++lane) largest = scores[lane] > largest ? scores[lane] : largest;
    return largest;
}

// The largest scores of a row so far, one for each group of keys: at least K keys reach the K-th of them, so that keys
// below it can be skipped.
class Maxima {
   public:
    static constexpr std::size_t GROUPS = 2 * LANES<float>;

    Maxima() { std::fill_n(maxima_, GROUPS, NOBODY); }

    // Scores of whole groups; the remainder is ignored.
    void take(const float* scores, std::size_t count) {
        Vector<float> left = load(maxima_), right = load(maxima_ + LANES<float>);
        for (std::size_t i = 0; i + GROUPS <= count; i += GROUPS) {
            const Vector<float> l = load(scores + i), h = load(scores + i + LANES<float>);
            left = l > left ? l : left;
            right = h > right ? h : right;
        }
        store(maxima_, left);
        store(maxima_ + LANES<float>, right);
    }

    // Minus infinity if K is too large.
    float reached_by(std::size_t K) const {
        if (K > GROUPS) return NOBODY;
        const Vector<float> nobody = broadcast(NOBODY), left = load(maxima_), right = load(maxima_ + LANES<float>);
        auto left_reached = nobody > nobody, right_reached = left_reached;  // how many reach each of them
        for (const float one : maxima_) {
            left_reached -= broadcast(one) >= left;  // true is -1
            right_reached -= broadcast(one) >= right;
        }
        const Vector<float> l = left_reached >= int(K) ? left : nobody, r = right_reached >= int(K) ? right : nobody;
        return largest_of(l > r ? l : r);
    }

   private:
    float maxima_[GROUPS];
};

// With S = double, all pairs are scored as in score.h. With S = float, which is twice as fast, float32 sums with
// bounded error find the few keys that can be among the best, and only those are scored exactly; a query with too many
// such keys (ties, or nearly) is scored exactly with all keys. Float32 distances are computed from products, whose
// error grows with the lengths, and therefore relative to the mean of the keys. If the leaves of an image are distinct,
// a block of similar queries visits the most promising leaves first, and skips leaves in which no key can be among the
// best of any query.
template <class T, class S>
class Search {
   public:
    static constexpr bool IS_EXACT = PackedKeys<T, S>::IS_EXACT;
    static constexpr std::size_t PANEL = TILE_COLUMNS<S>;
    static constexpr std::size_t CHUNK = 1024;           // keys scored before rows are scanned
    static constexpr std::size_t FIRST = 4 * LEAF;       // keys of the first chunk of leaves; each next one is twice as long
    static constexpr std::size_t BLOCK = 4 * TILE_ROWS;  // queries that share a pass over the keys
    static constexpr std::size_t COLUMNS = (BLOCK + PANEL - 1) / PANEL * PANEL;  // queries of a block, in panels

    Search(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t num_candidates, int threads)
        : shape_(shape),
          metric_(metric),
          threads_(threads),
          keys_(shape, metric, candidates, num_candidates),
          order_(shape.batch * shape.queries) {}

    void run(const T* queries, const T* keys, const int64_t* positions, int64_t* out) {
        queries_ = queries;
        slots_ = shape_.K - (positions != nullptr);
        keys_.pack(keys, threads_);
        parallel_for(shape_.batch, threads_, [&](std::size_t image, int) { order(image); });
        const std::size_t blocks = ceil_div(shape_.queries, BLOCK), room = 2 * Shortlist::capacity(slots_);
        const std::size_t leaves = keys_.most_leaves();
        const Scratch<S> rows((BLOCK + COLUMNS) * shape_.channels, threads_);
        const Scratch<double> exact_rows(IS_EXACT ? 0 : BLOCK * shape_.channels, threads_);
        const Scratch<float> scores(BLOCK * (CHUNK + room) + leaves * COLUMNS, threads_);
        const Scratch<int32_t> shortlists(BLOCK * room + CHUNK + leaves, threads_);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            Block block{i / blocks, i % blocks * BLOCK, rows.get(thread), exact_rows.get(thread), scores.get(thread),
                        shortlists.get(thread)};
            block.bounds = block.scores + BLOCK * (CHUNK + room);
            block.chunk = block.keys + BLOCK * room;
            search(block, positions, out);
        });
    }

   private:
    struct Block {
        std::size_t image, first;
        S* rows;             // (BLOCK, channels), as `convert` returns them, and then the same in panels
        double* exact_rows;  // the queries in float64, if S is float
        float* scores;       // (BLOCK, CHUNK), and then those of the shortlists
        int32_t* keys;       // of the shortlists
        float* bounds;       // (leaves, COLUMNS): upper bounds on the score of a key in a leaf
        int32_t* chunk;      // the keys being scored, and then the leaves, the most promising first
        double norms[BLOCK];
        float margins[BLOCK];
        Maxima maxima[BLOCK];
        std::size_t count;
        std::vector<Shortlist> shortlists;
    };

    // Similar queries of an image share a block if that saves visiting leaves.
    void order(std::size_t image) {
        int32_t* order = order_.get() + image * shape_.queries;
        const T* rows = queries_ + image * shape_.queries * shape_.channels;
        if (keys_.image(image).is_cut && rows == keys_.row(image, 0) && keys_.image(image).count == shape_.queries) {
            std::copy_n(keys_.members(image), shape_.queries, order);
            return;
        }
        std::iota(order, order + shape_.queries, 0);
        if (!keys_.image(image).is_cut) return;
        std::vector<double> norms(shape_.queries);
        for (std::size_t i = 0; metric_ == Metric::cosine && i < shape_.queries; ++i)
            norms[i] = keys_.norm_of(rows + i * shape_.channels, image);
        Halving<T>(keys_.points(rows, norms.data()), BLOCK).order(order, shape_.queries);
    }

    std::size_t query_at(const Block& block, std::size_t r) const {
        return order_.get()[block.image * shape_.queries + block.first + r];
    }

    void search(Block& block, const int64_t* positions, int64_t* out) const {
        block.count = std::min(shape_.queries - block.first, BLOCK);
        load_queries(block);
        for (std::size_t r = 0; r < block.count; ++r) block.shortlists.push_back(shortlist_of(block, r, block.margins[r]));
        const auto itself = [&](std::size_t r) { return positions ? int32_t(positions[query_at(block, r)]) : -1; };
        if (slots_ && keys_.image(block.image).is_cut)
            open_leaves(block, itself);
        else if (slots_)
            pass_leaves(block, itself);
        for (std::size_t r = 0; r < block.count; ++r) {
            Shortlist& shortlist = block.shortlists[r];
            decide(block, r, itself(r), shortlist);
            int64_t* to = out + (block.image * shape_.queries + query_at(block, r)) * shape_.K;
            if (positions) *to++ = itself(r);
            shortlist.fill(positions ? itself(r) : 0);
            std::copy_n(shortlist.keys(), slots_, to);
        }
    }

    // All keys, in order.
    template <class Itself>
    void pass_leaves(Block& block, const Itself& itself) const {
        const std::size_t keys = keys_.image(block.image).count;
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t count = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < count; i += PANEL) score(block, (first + i) / PANEL, i);
            for (std::size_t r = 0; r < block.count; ++r)
                scan(block, r, keys_.members(block.image) + first, count, itself(r), block.shortlists[r]);
        }
    }

    // The leaves that may matter, the most promising first.
    template <class Itself>
    void open_leaves(Block& block, const Itself& itself) const {
        const std::size_t leaves = keys_.leaves(block.image), keys = keys_.image(block.image).count;
        find_bounds(block, leaves);
        const int32_t* order = by_promise(block, leaves);
        float limits[COLUMNS];
        std::fill_n(limits, COLUMNS, -NOBODY);
        std::fill_n(limits, block.count, NOBODY);
        std::size_t filled = 0, room = FIRST;
        for (std::size_t i = 0; i < leaves; ++i) {
            const std::size_t leaf = order[i], count = std::min(keys - leaf * LEAF, LEAF);
            if (const uint32_t matters = may_enter(block.bounds + leaf * COLUMNS, limits)) {
                for (std::size_t p = 0; p * PANEL < count; ++p)
                    score(block, leaf * (LEAF / PANEL) + p, filled + p * PANEL, matters);
                std::copy_n(keys_.members(block.image) + leaf * LEAF, count, block.chunk + filled);
                filled += count;
            }
            const bool is_last = i + 1 == leaves || count < LEAF;  // columns after the last key are empty
            if (filled < room && !(filled && is_last)) continue;
            for (std::size_t r = 0; r < block.count; ++r) {
                Shortlist& shortlist = block.shortlists[r];
                if (shortlist.full()) continue;
                scan(block, r, block.chunk, filled, itself(r), shortlist);
                limits[r] = shortlist.full() ? -NOBODY : shortlist.limit();
            }
            filled = 0;
            room = std::min(2 * room, CHUNK);
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
    void find_bounds(Block& block, std::size_t leaves) const {
        const bool by_differences = IS_EXACT && metric_ == Metric::euclidean;
        const S* panels = block.rows + BLOCK * shape_.channels;
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
                    float* to = block.bounds + (first + r) * COLUMNS + column;
                    store_bounds(to, left(load(sums + r * PANEL), ball, by_differences));
                    store_bounds(to + LANES<S>, right(load(sums + r * PANEL + LANES<S>), ball, by_differences));
                }
            }
        }
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
    int32_t* by_promise(Block& block, std::size_t leaves) const {
        int32_t* order = block.chunk + CHUNK;
        std::iota(order, order + leaves, 0);
        std::vector<float> best(leaves);
        for (std::size_t leaf = 0; leaf < leaves; ++leaf) best[leaf] = best_bound(block.bounds + leaf * COLUMNS);
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

    Shortlist shortlist_of(const Block& block, std::size_t r, float margin) const {
        const std::size_t room = 2 * Shortlist::capacity(slots_);
        const bool is_ascending = !keys_.image(block.image).is_cut;
        return {block.scores + BLOCK * CHUNK + r * room, block.keys + r * room, slots_, margin, is_ascending};
    }

    // Rows after the last query repeat it.
    void load_queries(Block& block) const {
        S* panels = block.rows + BLOCK * shape_.channels;
        for (std::size_t r = 0; r < BLOCK; ++r) {
            const std::size_t query = query_at(block, std::min(r, block.count - 1));
            const T* row = queries_ + (block.image * shape_.queries + query) * shape_.channels;
            S* to = block.rows + r * shape_.channels;
            block.norms[r] = keys_.norm_of(row, block.image);
            keys_.convert(row, block.norms[r], block.image, to, 1);
            block.margins[r] = margin(block, r);
            if (!IS_EXACT) std::copy_n(row, shape_.channels, block.exact_rows + r * shape_.channels);
        }
        if (!keys_.image(block.image).is_cut) return;
        for (std::size_t i = 0; i < COLUMNS; ++i)
            for (std::size_t c = 0; c < shape_.channels; ++c)
                panels[(i / PANEL * shape_.channels + c) * PANEL + i % PANEL] =
                    block.rows[std::min(i, BLOCK - 1) * shape_.channels + c];
    }

    // Twice the largest error of a float32 score: each of C sums and a few more roundings has an error of 2^-24 of the
    // largest possible sum, which is 1 for the cosine. Infinite if float32 cannot represent the norms, and for rows
    // that are zero or not finite, whose products are uninformative.
    float margin(const Block& block, std::size_t r) const {
        if (IS_EXACT) return 0;
        const double error = 2 * 1.01 * double(shape_.channels + 8) / (1 << 24);
        const double norm = block.norms[r], largest = keys_.image(block.image).largest_norm;
        const auto held = [](double squares) { return squares > 1e-25 && squares < 1e30; };
        if (metric_ == Metric::cosine) return norm > 0 ? error : -NOBODY;
        if (metric_ == Metric::euclidean) return held(norm + largest) ? error * (norm + largest) : -NOBODY;
        const double length = 1 / norm;
        return held(length * length) && held(largest * largest) ? error * length * largest : -NOBODY;
    }

    // Scores of the queries of the block with one panel of keys, in columns `column` .. of the chunk; -infinity for
    // tiles in which the panel matters to no query.
    void score(const Block& block, std::size_t panel, std::size_t column, uint32_t matters = ~0u) const {
        const S *keys = keys_.panel(block.image, panel), *norms = keys_.panel_norms(block.image, panel);
        for (std::size_t first = 0; first < block.count; first += TILE_ROWS) {
            if (!(matters >> first & ((1u << TILE_ROWS) - 1))) {
                for (int r = 0; r < TILE_ROWS; ++r)
                    std::fill_n(block.scores + (first + r) * CHUNK + column, PANEL, NOBODY);
                continue;
            }
            const S* rows[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; ++r) rows[r] = block.rows + (first + r) * shape_.channels;
            S sums[TILE_ROWS * PANEL];
            if (IS_EXACT && metric_ == Metric::euclidean)
                multiply<Start::at_zero, 1, SquaredDifference>(sums, rows, shape_.channels, keys);
            else
                multiply<Start::at_zero, 1>(sums, rows, shape_.channels, keys);
            for (int r = 0; r < TILE_ROWS; ++r)
                finish(sums + r * PANEL, block.norms[first + r], norms, block.scores + (first + r) * CHUNK + column);
        }
    }

    // Scores from the sums of a query with a panel of keys, of unit rows for the cosine.
    void finish(const S* sums, S norm, const S* norms, float* to) const {
        for (std::size_t i = 0; i < PANEL; i += LANES<S>) {
            const Vector<S> sum = load(sums + i);
            if (metric_ == Metric::euclidean)
                store_bounded(to + i, IS_EXACT ? -sum : 2 * sum - (broadcast(norm) + load(norms + i)));
            else if (!IS_EXACT)
                store_bounded(to + i, sum);
            else
                store_bounded(to + i, without_rounding(sum, norm, load(norms + i)));
        }
        // Queries that are zero or not finite are rare; with any other, a zero key gives zero by itself.
        const bool is_odd = IS_EXACT && metric_ == Metric::cosine && !(norm > 0);
        for (std::size_t i = 0; is_odd && i < PANEL; ++i)
            if (norm == 0 || norms[i] == 0) to[i] = 0;
    }

    // Zero for orthogonal rows, as in score_of_product.
    Vector<S> without_rounding(Vector<S> products, S scale, Vector<S> scales) const {
        Vector<S> cosines = products < 0 ? -products : products;
        if (metric_ == Metric::matmul) cosines *= broadcast(scale) * scales;
        return cosines <= S(1e-12) ? Vector<S>{} : products;
    }

    static bool any_reaches(const float* scores, std::size_t count, float limit) {
        unsigned reached = 0;
        for (std::size_t i = 0; i < count; i += LANES<float>) reached |= at_least(scores + i, limit);
        return reached;
    }

    // Few scores reach the limit: most of a row is skipped with one comparison per vector.
    void scan(Block& block, std::size_t r, const int32_t* keys, std::size_t count, int32_t itself,
              Shortlist& shortlist) const {
        constexpr std::size_t WORD = Shortlist::WORD;
        const float* scores = block.scores + r * CHUNK;
        if (!any_reaches(scores, count, shortlist.limit())) return;
        if (shape_.K > Maxima::GROUPS) shortlist.cut();
        block.maxima[r].take(scores, count);
        shortlist.reached(block.maxima[r].reached_by(shape_.K));
        for (std::size_t i = 0; i < count; i += WORD) {
            uint64_t mask = 0;
            for (std::size_t j = 0; j < WORD; j += LANES<float>)
                mask |= uint64_t(at_least(scores + i + j, shortlist.limit())) << j;
            if (count - i < WORD) mask &= (uint64_t(1) << (count - i)) - 1;
            shortlist.take(scores + i, keys + i, mask, itself);
        }
    }

    // Keeps the best by exact scores.
    void decide(Block& block, std::size_t r, int32_t itself, Shortlist& shortlist) const {
        if (IS_EXACT) return shortlist.cut();
        const auto exact = [&](std::size_t key) { return exact_score(block, r, key); };
        if (!shortlist.full()) return shortlist.settle(exact);
        shortlist = shortlist_of(block, r, 0);
        block.maxima[r] = {};
        float* scores = block.scores + r * CHUNK;
        const int32_t* members = keys_.members(block.image);
        const std::size_t keys = keys_.image(block.image).count;
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t count = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < count; ++i) scores[i] = exact(members[first + i]);
            scan(block, r, members + first, count, itself, shortlist);
        }
        shortlist.cut();
    }

    float exact_score(const Block& block, std::size_t r, std::size_t key) const {
        return bounded(convnn::exact_score(block.exact_rows + r * shape_.channels, keys_.row(block.image, key),
                                           shape_.channels, block.norms[r], keys_.norm(block.image, key), metric_));
    }

    SearchShape shape_;
    Metric metric_;
    std::size_t slots_ = 0;
    int threads_;
    PackedKeys<T, S> keys_;
    const T* queries_ = nullptr;
    Buffer<int32_t> order_;  // queries of each image, with similar ones adjacent
};

}  // namespace convnn
