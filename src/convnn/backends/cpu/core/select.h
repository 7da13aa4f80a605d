// Who the neighbours are: exact search over all keys, a tile of scores at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "score.h"
#include "shortlist.h"
#include "simd.h"

namespace convnn {

struct SearchShape {
    std::size_t batch, queries, keys, channels, K;
};

// One bit for each of LANES<float> scores that is at least the limit.
inline unsigned at_least(const float* scores, float limit) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), _mm512_set1_ps(limit), _CMP_GE_OQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(scores), _mm256_set1_ps(limit), _CMP_GE_OQ));
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES<float>; ++i) bits |= unsigned(scores[i] >= limit) << i;
    return bits;
#endif
}

// A number that at least K of the scores reach, so that the first ones need not all be taken up: the K-th largest of the
// maxima of every GROUPS-th score. Minus infinity where K is too large for that.
inline float reached_by(const float* scores, std::size_t count, std::size_t K) {
    constexpr std::size_t GROUPS = 2 * LANES<float>;
    float limit = NOBODY;
    if (K > GROUPS || count < 2 * GROUPS) return limit;
    Vector<float> left = load(scores), right = load(scores + LANES<float>);
    for (std::size_t i = GROUPS; i + GROUPS <= count; i += GROUPS) {
        const Vector<float> l = load(scores + i), h = load(scores + i + LANES<float>);
        left = l > left ? l : left;
        right = h > right ? h : right;
    }
    float maxima[GROUPS];
    store(maxima, left);
    store(maxima + LANES<float>, right);
    for (const float one : maxima) {
        const unsigned reached =
            __builtin_popcount(at_least(maxima, one)) + __builtin_popcount(at_least(maxima + LANES<float>, one));
        if (reached >= K && one > limit) limit = one;
    }
    return limit;
}

// With S = double all pairs are scored as score.h says. With S = float, twice as fast, float32 sums find the few keys that
// can be among the best, their error being bounded, and only those are scored exactly; a query of which too many keys may
// be among the best (they tie, or nearly) is scored exactly with all keys. Float32 distances are made of products, whose
// error grows with the lengths: they are taken about the mean of the keys.
// Keys lie in panels of TILE_COLUMNS<S>, channel by channel.
template <class T, class S>
class Search {
   public:
    static constexpr bool IS_EXACT = sizeof(S) == sizeof(double);
    static constexpr std::size_t PANEL = TILE_COLUMNS<S>;
    static constexpr std::size_t CHUNK = 1024;           // keys scored before rows are scanned
    static constexpr std::size_t BLOCK = 4 * TILE_ROWS;  // queries that share a pass over the keys

    Search(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t num_candidates, int threads)
        : shape_(shape),
          metric_(metric),
          candidates_(candidates),
          num_candidates_(candidates ? num_candidates : shape.keys),
          panels_(ceil_div(num_candidates_, PANEL)),
          threads_(threads),
          packed_(shape.batch * panels_ * PANEL * shape.channels),
          packed_norms_(shape.batch * panels_ * PANEL),
          norms_(shape.batch * shape.keys),
          centers_(shape.batch * shape.channels),
          eligible_(shape.batch * num_candidates_),
          images_(shape.batch) {}

    void run(const T* queries, const T* keys, const int64_t* positions, int64_t* out) {
        keys_ = keys;
        slots_ = shape_.K - (positions != nullptr);
        parallel_for(shape_.batch, threads_, [&](std::size_t image, int) { measure(image); });
        parallel_for(shape_.batch * panels_, threads_, [&](std::size_t i, int) { pack(i); });
        const std::size_t blocks = ceil_div(shape_.queries, BLOCK), room = 2 * Shortlist::capacity(slots_);
        const Scratch<S> rows(BLOCK * shape_.channels, threads_);
        const Scratch<double> exact_rows(IS_EXACT ? 0 : BLOCK * shape_.channels, threads_);
        const Scratch<float> scores(BLOCK * (CHUNK + room), threads_);
        const Scratch<int64_t> shortlists(BLOCK * room, threads_);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            Block block{i / blocks, i % blocks * BLOCK, rows.get(thread), exact_rows.get(thread), scores.get(thread),
                        shortlists.get(thread)};
            search(block, queries, positions, out);
        });
    }

   private:
    struct Block {
        std::size_t image, first;
        S* rows;             // (BLOCK, channels), as `convert` makes them
        double* exact_rows;  // the queries themselves in float64, where S is float
        float* scores;       // (BLOCK, CHUNK), and behind them those of the shortlists
        int64_t* keys;       // of the shortlists
        double norms[BLOCK];
        std::size_t count;
    };

    struct Image {
        std::size_t count;    // keys that may be chosen
        double largest_norm;  // of those
    };

    // The i-th key of an image that may be chosen.
    std::size_t key_at(std::size_t image, std::size_t i) const { return eligible_.get()[image * num_candidates_ + i]; }

    const T* key_row(std::size_t image, std::size_t key) const {
        return keys_ + (image * shape_.keys + key) * shape_.channels;
    }

    double& key_norm(std::size_t image, std::size_t key) const { return norms_.get()[image * shape_.keys + key]; }

    // Norms, and who may be chosen: zero rows, such as padding, tie with each other, so that no more than the first K,
    // and one for a query that is one of them, ever are.
    void measure(std::size_t image) {
        Image found{0, 0};
        std::size_t zeros = 0;
        for (std::size_t i = 0; i < num_candidates_; ++i) {
            const std::size_t key = candidates_ ? candidates_[i] : i;
            const double length = exact_length(key_row(image, key), shape_.channels);
            const bool is_zero = length == 0 || (metric_ == Metric::cosine && length <= 1e-12);
            key_norm(image, key) = scale_of(length, metric_);
            if (is_zero && ++zeros > shape_.K + 1) continue;
            eligible_.get()[image * num_candidates_ + found.count++] = key;
            if (!(length <= found.largest_norm)) found.largest_norm = length;  // also if it is NaN
        }
        if (!IS_EXACT && metric_ == Metric::euclidean) center(image, found);
        images_.get()[image] = found;
    }

    // The mean of the finite keys, and squared lengths about it.
    void center(std::size_t image, Image& found) {
        double* mean = centers_.get() + image * shape_.channels;
        std::fill_n(mean, shape_.channels, 0.0);
        std::size_t count = 0;
        for (std::size_t i = 0; i < found.count; ++i) {
            const std::size_t key = key_at(image, i);
            if (!std::isfinite(key_norm(image, key))) continue;
            ++count;
            for (std::size_t c = 0; c < shape_.channels; ++c) mean[c] += key_row(image, key)[c];
        }
        for (std::size_t c = 0; c < shape_.channels; ++c) mean[c] /= std::max<std::size_t>(count, 1);
        found.largest_norm = 0;
        for (std::size_t i = 0; i < found.count; ++i) {
            const std::size_t key = key_at(image, i);
            const double norm = exact_sum<SquaredDifference>(key_row(image, key), mean, shape_.channels);
            key_norm(image, key) = norm;
            if (!(norm <= found.largest_norm)) found.largest_norm = norm;
        }
    }

    // A row as the tiles take it: of length one for the cosine, a zero row staying zero; about the mean for float32
    // distances.
    template <class To>
    void convert(const T* row, double norm, std::size_t image, To* to, std::size_t stride) const {
        const double* mean = centers_.get() + image * shape_.channels;
        const bool is_unit = metric_ == Metric::cosine, is_centered = !IS_EXACT && metric_ == Metric::euclidean;
        for (std::size_t c = 0; c < shape_.channels; ++c)
            to[c * stride] = is_unit ? (norm == 0 ? 0 : row[c] * norm) : is_centered ? row[c] - mean[c] : row[c];
    }

    void pack(std::size_t panel) {
        const std::size_t image = panel / panels_, first = panel % panels_ * PANEL, count = images_.get()[image].count;
        for (std::size_t i = 0; first < count && i < PANEL; ++i) {
            const std::size_t key = key_at(image, std::min(first + i, count - 1));
            packed_norms_.get()[panel * PANEL + i] = key_norm(image, key);
            S* to = packed_.get() + panel * PANEL * shape_.channels + i;
            convert(key_row(image, key), key_norm(image, key), image, to, PANEL);
        }
    }

    void search(Block& block, const T* queries, const int64_t* positions, int64_t* out) const {
        block.count = std::min(shape_.queries - block.first, BLOCK);
        load_queries(block, queries);
        std::vector<Shortlist> shortlists;
        for (std::size_t r = 0; r < block.count; ++r) shortlists.push_back(shortlist_of(block, r, margin(block, r)));
        const auto itself = [&](std::size_t r) { return positions ? positions[block.first + r] : -1; };
        const std::size_t keys = slots_ ? images_.get()[block.image].count : 0;
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t count = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < count; i += PANEL) score(block, (first + i) / PANEL, i);
            for (std::size_t r = 0; r < block.count; ++r)
                scan(block, r, first, count, itself(r), shortlists[r]);
        }
        for (std::size_t r = 0; r < block.count; ++r) {
            decide(block, r, itself(r), shortlists[r]);
            int64_t* to = out + (block.image * shape_.queries + block.first + r) * shape_.K;
            if (positions) *to++ = itself(r);
            shortlists[r].fill(positions ? itself(r) : 0);
            std::copy_n(shortlists[r].keys(), slots_, to);
        }
    }

    Shortlist shortlist_of(const Block& block, std::size_t r, float margin) const {
        const std::size_t room = 2 * Shortlist::capacity(slots_);
        return {block.scores + BLOCK * CHUNK + r * room, block.keys + r * room, slots_, margin};
    }

    // Rows behind the last query repeat it.
    void load_queries(Block& block, const T* queries) const {
        for (std::size_t r = 0; r < BLOCK; ++r) {
            const std::size_t query = block.first + std::min(r, block.count - 1);
            const T* row = queries + (block.image * shape_.queries + query) * shape_.channels;
            block.norms[r] = norm_of_query(row, block.image);
            convert(row, block.norms[r], block.image, block.rows + r * shape_.channels, 1);
            if (!IS_EXACT) std::copy_n(row, shape_.channels, block.exact_rows + r * shape_.channels);
        }
    }

    // What a key of this row would have in `norms_`.
    double norm_of_query(const T* row, std::size_t image) const {
        if (metric_ != Metric::euclidean) return scale_of(exact_length(row, shape_.channels), metric_);
        if (IS_EXACT) return 0;
        return exact_sum<SquaredDifference>(row, centers_.get() + image * shape_.channels, shape_.channels);
    }

    // Twice the largest error of a float32 score: each of C sums and a few roundings more err by 2^-24 of the largest
    // possible sum, which is 1 for the cosine. Infinite where float32 cannot hold the norms, and for rows that are zero or
    // not finite, of which products say nothing.
    float margin(const Block& block, std::size_t r) const {
        if (IS_EXACT) return 0;
        const double error = 2 * 1.01 * double(shape_.channels + 8) / (1 << 24);
        const double norm = block.norms[r], largest = images_.get()[block.image].largest_norm;
        const auto held = [](double squares) { return squares > 1e-25 && squares < 1e30; };
        if (metric_ == Metric::cosine) return norm > 0 ? error : -NOBODY;
        if (metric_ == Metric::euclidean) return held(norm + largest) ? error * (norm + largest) : -NOBODY;
        const double length = 1 / norm;
        return held(length * length) && held(largest * largest) ? error * length * largest : -NOBODY;
    }

    // Scores of all queries of the block with one panel of keys, into columns `column` .. of the chunk.
    void score(const Block& block, std::size_t panel, std::size_t column) const {
        const std::size_t index = block.image * panels_ + panel;
        const S* keys = packed_.get() + index * PANEL * shape_.channels;
        for (std::size_t first = 0; first < block.count; first += TILE_ROWS) {
            const S* rows[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; ++r) rows[r] = block.rows + (first + r) * shape_.channels;
            S sums[TILE_ROWS * PANEL];
            if (IS_EXACT && metric_ == Metric::euclidean)
                multiply<Start::at_zero, 1, SquaredDifference>(sums, rows, shape_.channels, keys);
            else
                multiply<Start::at_zero, 1>(sums, rows, shape_.channels, keys);
            for (int r = 0; r < TILE_ROWS; ++r)
                finish(sums + r * PANEL, block.norms[first + r], packed_norms_.get() + index * PANEL,
                       block.scores + (first + r) * CHUNK + column);
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
        // A query that is zero or not finite is rare; of any other a zero key makes zero by itself.
        const bool is_odd = IS_EXACT && metric_ == Metric::cosine && !(norm > 0);
        for (std::size_t i = 0; is_odd && i < PANEL; ++i)
            if (norm == 0 || norms[i] == 0) to[i] = 0;
    }

    // Zero for orthogonal rows, as score_of_product has it.
    Vector<S> without_rounding(Vector<S> products, S scale, Vector<S> scales) const {
        Vector<S> cosines = products < 0 ? -products : products;
        if (metric_ == Metric::matmul) cosines *= broadcast(scale) * scales;
        return cosines <= S(1e-12) ? Vector<S>{} : products;
    }

    // Few scores reach the limit: most of a row is passed with one comparison for a whole vector.
    void scan(const Block& block, std::size_t r, std::size_t first, std::size_t count, int64_t itself,
              Shortlist& shortlist) const {
        constexpr std::size_t WORD = Shortlist::WORD;
        const float* scores = block.scores + r * CHUNK;
        const int64_t* keys = eligible_.get() + block.image * num_candidates_ + first;
        if (first > 0) shortlist.cut();
        shortlist.reached(reached_by(scores, count, shape_.K));
        for (std::size_t i = 0; i < count; i += WORD) {
            uint64_t mask = 0;
            for (std::size_t j = 0; j < WORD; j += LANES<float>)
                mask |= uint64_t(at_least(scores + i + j, shortlist.limit())) << j;
            if (count - i < WORD) mask &= (uint64_t(1) << (count - i)) - 1;
            shortlist.take(scores + i, keys + i, mask, itself);
        }
    }

    // Leaves the best by exact scores.
    void decide(const Block& block, std::size_t r, int64_t itself, Shortlist& shortlist) const {
        if (IS_EXACT) return shortlist.cut();
        const auto exact = [&](std::size_t key) { return exact_score(block, r, key); };
        if (!shortlist.full()) return shortlist.settle(exact);
        shortlist = shortlist_of(block, r, 0);
        float* scores = block.scores + r * CHUNK;
        const std::size_t keys = images_.get()[block.image].count;
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t count = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < count; ++i) scores[i] = exact(key_at(block.image, first + i));
            scan(block, r, first, count, itself, shortlist);
        }
        shortlist.cut();
    }

    float exact_score(const Block& block, std::size_t r, std::size_t key) const {
        return bounded(convnn::exact_score(block.exact_rows + r * shape_.channels, key_row(block.image, key),
                                           shape_.channels, block.norms[r], key_norm(block.image, key), metric_));
    }

    SearchShape shape_;
    Metric metric_;
    const int64_t* candidates_;
    std::size_t num_candidates_, panels_, slots_ = 0;
    int threads_;
    const T* keys_ = nullptr;
    Buffer<S> packed_, packed_norms_;
    Buffer<double> norms_;    // of each key: its scale, or where S is float and distances are asked for, its square about the mean
    Buffer<double> centers_;  // (batch, channels)
    Buffer<int64_t> eligible_;
    Buffer<Image> images_;
};

}  // namespace convnn
