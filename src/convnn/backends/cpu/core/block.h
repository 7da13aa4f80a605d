// A block of queries, and their scores with panels of keys: what the exact search and the search in lists share.
#pragma once

#include <algorithm>
#include <cfloat>
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

    // Scores of whole groups.
    void take(const float* scores, std::size_t count) {
        Vector<float> left = load(maxima_), right = load(maxima_ + LANES<float>);
        for (std::size_t i = 0; i < count; i += GROUPS) {
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

// Memory of one thread, used for one block after another.
template <class S, int TILES>
struct Block {
    static constexpr std::size_t SIZE = TILES * TILE_ROWS;  // queries that share a pass over the keys
    static constexpr std::size_t CHUNK = 1024;              // keys scored before rows are scanned

    std::size_t image, count;
    S* rows;             // (SIZE, channels), as `convert` returns them
    double* exact_rows;  // the queries in float64, if S is float
    float* scores;       // (SCORED, CHUNK), and then those of the shortlists
    int32_t* keys;       // of the shortlists
    std::size_t queries[SIZE];
    int32_t itself[SIZE];  // the key that a query may not choose, or -1
    double norms[SIZE];
    float margins[SIZE];
    Maxima maxima[SIZE];
    std::vector<Shortlist> shortlists;
};

// With S = double, all pairs are scored as in score.h. With S = float, which is twice as fast, float32 sums with
// bounded error find the few keys that can be among the best, and only those are scored exactly; a query with too many
// such keys (ties, or nearly) is scored exactly with all keys. Float32 distances are computed from products, whose
// error grows with the lengths, and therefore relative to the mean of the keys.
// `SCORED` queries of a block have scores at a time.
template <class T, class S, class Keys, int TILES, int SCORED>
class BlockSearch {
   public:
    using Block = convnn::Block<S, TILES>;
    static constexpr bool IS_EXACT = Keys::IS_EXACT;
    static constexpr std::size_t PANEL = Keys::PANEL;
    static constexpr std::size_t SIZE = Block::SIZE, CHUNK = Block::CHUNK;

    template <class... Rest>
    BlockSearch(SearchShape shape, Metric metric, int threads, const Rest&... rest)
        : shape_(shape), metric_(metric), threads_(threads), keys_(shape, metric, rest...) {}

   protected:
    // Memory of all threads, with room for more numbers after those of a block.
    class Memory {
       public:
        Memory(const BlockSearch& search, std::size_t more_rows, std::size_t more_scores, std::size_t more_keys)
            : room_(search.room()),
              rows_((SIZE + more_rows) * search.shape_.channels, search.threads_),
              exact_rows_(IS_EXACT ? 0 : SIZE * search.shape_.channels, search.threads_),
              scores_(SCORED * CHUNK + SIZE * room_ + more_scores, search.threads_),
              keys_(SIZE * room_ + more_keys, search.threads_) {}

        Block block(std::size_t image, int thread) const {
            return {image, 0, rows_.get(thread), exact_rows_.get(thread), scores_.get(thread), keys_.get(thread)};
        }

        float* more_scores(int thread) const { return scores_.get(thread) + SCORED * CHUNK + SIZE * room_; }
        int32_t* more_keys(int thread) const { return keys_.get(thread) + SIZE * room_; }

       private:
        std::size_t room_;
        Scratch<S> rows_;
        Scratch<double> exact_rows_;
        Scratch<float> scores_;
        Scratch<int32_t> keys_;
    };

    void start(const T* queries, const T* keys, const int64_t* positions) {
        queries_ = queries;
        positions_ = positions;
        slots_ = shape_.K - (positions != nullptr);
        keys_.pack(keys, threads_);
    }

    // Rows after the last query repeat it.
    void load_queries(Block& block, const int32_t* queries, std::size_t count, bool is_ascending) const {
        block.count = count;
        for (std::size_t r = 0; r < SIZE; ++r) {
            const std::size_t query = block.queries[r] = queries[std::min(r, count - 1)];
            const T* row = queries_ + (block.image * shape_.queries + query) * shape_.channels;
            block.itself[r] = positions_ ? int32_t(positions_[query]) : -1;
            block.norms[r] = keys_.norm_of(row, block.image);
            keys_.convert(row, block.norms[r], block.image, block.rows + r * shape_.channels, 1);
            block.margins[r] = margin(block, r);
            if (!IS_EXACT) std::copy_n(row, shape_.channels, block.exact_rows + r * shape_.channels);
            if (r < count) block.shortlists.push_back(shortlist_of(block, r, block.margins[r], is_ascending));
        }
    }

    // Scores of TILE_ROWS queries with one panel of keys; those of the next query are CHUNK further.
    void score(const Block& block, const std::size_t* queries, std::size_t panel, float* to) const {
        const S *keys = keys_.panel(block.image, panel), *norms = keys_.panel_norms(block.image, panel);
        const S* rows[TILE_ROWS];
        for (int r = 0; r < TILE_ROWS; ++r) rows[r] = block.rows + queries[r] * shape_.channels;
        S sums[TILE_ROWS * PANEL];
        if (IS_EXACT && metric_ == Metric::euclidean)
            multiply<Start::at_zero, 1, SquaredDifference>(sums, rows, shape_.channels, keys);
        else
            multiply<Start::at_zero, 1>(sums, rows, shape_.channels, keys);
        for (int r = 0; r < TILE_ROWS; ++r)
            finish(sums + r * PANEL, block.norms[queries[r]], norms, to + r * CHUNK);
    }

    static bool any_reaches(const float* scores, std::size_t count, float limit) {
        unsigned reached = 0;
        for (std::size_t i = 0; i < count; i += LANES<float>) reached |= at_least(scores + i, limit);
        return reached;
    }

    // Few scores reach the limit: most of a row is skipped with one comparison per vector.
    void scan(Block& block, std::size_t r, float* scores, const int32_t* keys, std::size_t count) const {
        constexpr std::size_t WORD = Shortlist::WORD;
        Shortlist& shortlist = block.shortlists[r];
        if (!any_reaches(scores, count, shortlist.limit())) return;
        if (shape_.K > Maxima::GROUPS) shortlist.cut();
        const std::size_t whole = round_up(count, Maxima::GROUPS);
        std::fill(scores + count, scores + whole, NOBODY);
        block.maxima[r].take(scores, whole);
        shortlist.reached(block.maxima[r].reached_by(shape_.K));
        for (std::size_t i = 0; i < count; i += WORD) {
            uint64_t mask = 0;
            for (std::size_t j = 0; j < WORD; j += LANES<float>)
                mask |= uint64_t(at_least(scores + i + j, shortlist.limit())) << j;
            if (count - i < WORD) mask &= (uint64_t(1) << (count - i)) - 1;
            shortlist.take(scores + i, keys + i, mask, block.itself[r]);
        }
    }

    // Keeps the best of the keys seen, by exact scores; `pass(r, visit)` calls visit(keys, count) for all of them again.
    template <class Pass>
    void decide(Block& block, std::size_t r, bool is_ascending, const Pass& pass) const {
        if (IS_EXACT) return block.shortlists[r].cut();
        const auto exact = [&](std::size_t key) { return exact_score(block, r, key); };
        if (!block.shortlists[r].full()) return block.shortlists[r].settle(exact);
        block.shortlists[r] = shortlist_of(block, r, 0, is_ascending);
        block.maxima[r] = {};
        pass(r, [&](const int32_t* keys, std::size_t keys_in_all) {
            for (std::size_t first = 0; first < keys_in_all; first += CHUNK) {
                const std::size_t count = std::min(keys_in_all - first, CHUNK);
                for (std::size_t i = 0; i < count; ++i) block.scores[i] = exact(keys[first + i]);
                scan(block, r, block.scores, keys + first, count);
            }
        });
        block.shortlists[r].cut();
    }

    // The choice of a query, with `nobody` in slots without a key.
    void write(Block& block, std::size_t r, int32_t nobody, int64_t* out) const {
        int64_t* to = out + (block.image * shape_.queries + block.queries[r]) * shape_.K;
        if (positions_) *to++ = block.itself[r];
        block.shortlists[r].fill(nobody);
        std::copy_n(block.shortlists[r].keys(), slots_, to);
    }

    SearchShape shape_;
    Metric metric_;
    int threads_;
    Keys keys_;
    std::size_t slots_ = 0;  // to be filled, without that of the query itself
    const T* queries_ = nullptr;

   private:
    std::size_t room() const { return 2 * Shortlist::capacity(slots_); }

    Shortlist shortlist_of(const Block& block, std::size_t r, float margin, bool is_ascending) const {
        return {block.scores + SCORED * CHUNK + r * room(), block.keys + r * room(), slots_, margin, is_ascending};
    }

    // Twice the largest error of a float32 score: each of C sums and a few more roundings has an error of 2^-24 of the
    // largest possible sum, which is 1 for the cosine. Infinite if float32 cannot represent the norms, and for rows
    // that are zero or not finite, whose products are uninformative.
    float margin(const Block& block, std::size_t r) const {
        if (IS_EXACT) return 0;
        const double error = 2 * 1.01 * double(shape_.channels + 8) / (1 << 24);
        const double norm = block.norms[r], largest = keys_.largest_norm(block.image);
        const auto held = [](double squares) { return squares > 1e-25 && squares < 1e30; };
        if (metric_ == Metric::cosine) return norm > 0 ? error : -NOBODY;
        if (metric_ == Metric::euclidean) return held(norm + largest) ? error * (norm + largest) : -NOBODY;
        const double length = 1 / norm;
        return held(length * length) && held(largest * largest) ? error * length * largest : -NOBODY;
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

    float exact_score(const Block& block, std::size_t r, std::size_t key) const {
        return bounded(convnn::exact_score(block.exact_rows + r * shape_.channels, keys_.row(block.image, key),
                                           shape_.channels, block.norms[r], keys_.norm(block.image, key), metric_));
    }

    const int64_t* positions_ = nullptr;
};

}  // namespace convnn
