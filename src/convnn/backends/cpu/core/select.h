// Who the neighbours are: exact search over all keys, a tile of scores at a time.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"
#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace convnn {

enum class Metric { cosine, euclidean };

struct SearchShape {
    std::size_t batch, queries, keys, channels, K;
};

constexpr std::size_t WORD = 64;                // scores compared at once, one bit each
constexpr std::size_t SPARE = 4 * WORD;         // keys a shortlist takes up before it is sorted
constexpr float NOBODY = -std::numeric_limits<float>::infinity();

// Keys that may be among the best of one query. They are taken up unsorted, as fast as possible, and now and then ranked
// and cut to the best `slots`. Keys come in ascending order, so that of equal scores the first to come stays.
class Shortlist {
   public:
    static std::size_t capacity(std::size_t slots) { return round_up(slots + SPARE + WORD, WORD); }

    Shortlist(float* scores, int64_t* keys, std::size_t slots) : scores_(scores), keys_(keys), slots_(slots) {}

    float limit() const { return limit_; }
    const int64_t* keys() const { return keys_; }

    // Scores below the limit are of no interest.
    void raise_limit(float limit) { limit_ = std::max(limit_, limit); }

    // Takes up the keys of a mask of scores, but not `itself`.
    void take(const float* scores, uint64_t mask, int64_t first, const int64_t* candidates, int64_t itself) {
        for (; mask; mask &= mask - 1) {
            const int column = __builtin_ctzll(mask);
            const int64_t key = candidates ? candidates[first + column] : first + column;
            scores_[count_] = scores[column];
            keys_[count_] = key;
            count_ += key != itself;
        }
        if (count_ > slots_ + SPARE) sort();
    }

    // Ranks what is there, cuts it to the slots, and from then on wants only scores better than the last.
    void sort() {
        float* scores = scores_ + capacity(slots_);
        int64_t* keys = keys_ + capacity(slots_);
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t rank = rank_of(i);
            if (rank >= slots_) continue;
            scores[rank] = scores_[i];
            keys[rank] = keys_[i];
        }
        count_ = std::min(count_, slots_);
        std::copy_n(scores, count_, scores_);
        std::copy_n(keys, count_, keys_);
        if (count_ == slots_) raise_limit(std::nextafter(scores_[slots_ - 1], -NOBODY));
    }

    // Slots that no key fills.
    void fill(int64_t key) {
        for (; count_ < slots_; ++count_) keys_[count_] = key;
    }

   private:
    std::size_t rank_of(std::size_t i) const {
        const float score = scores_[i];
        int better = 0;
        for (std::size_t j = 0; j < i; ++j) better += scores_[j] >= score;
        for (std::size_t j = i + 1; j < count_; ++j) better += scores_[j] > score;
        return better;
    }

    float* scores_;    // twice the capacity: room to sort
    int64_t* keys_;
    std::size_t slots_, count_ = 0;
    float limit_ = NOBODY;
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

// Row `from` as float64 with the given stride; returns its squared length.
template <class T>
double widen(const T* from, std::size_t channels, double* to, std::size_t stride) {
    double squares = 0;
    for (std::size_t c = 0; c < channels; ++c) {
        const double x = from[c];
        to[c * stride] = x;
        squares += x * x;
    }
    return squares;
}

// As `widen`, of length one for the cosine; a zero row stays zero.
template <class T>
double prepare(Metric metric, const T* from, std::size_t channels, double* to, std::size_t stride) {
    const double squares = widen(from, channels, to, stride);
    if (metric == Metric::euclidean) return squares;
    const double length = std::sqrt(squares);
    for (std::size_t c = 0; c < channels; ++c) to[c * stride] = length <= 1e-12 ? 0 : to[c * stride] / length;
    return 1;
}

// Scores are sums in float64, always in the order of the channels, rounded to float32: equal keys score equally wherever
// they stand, and a tie is a tie. Keys lie in panels of TILE_COLUMNS<double>, channel by channel.
template <class T>
class Search {
   public:
    static constexpr std::size_t PANEL = TILE_COLUMNS<double>;
    static constexpr std::size_t PANELS_AT_ONCE = 1024 / PANEL;
    static constexpr std::size_t CHUNK = PANEL * PANELS_AT_ONCE;  // keys scored before rows are scanned
    static constexpr std::size_t BLOCK = 4 * TILE_ROWS;           // queries that share a pass over the keys

    Search(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t num_candidates, int threads)
        : shape_(shape),
          metric_(metric),
          candidates_(candidates),
          count_(candidates ? num_candidates : shape.keys),
          panels_(ceil_div(count_, PANEL)),
          threads_(threads),
          packed_(shape.batch * panels_ * PANEL * shape.channels),
          norms_(shape.batch * panels_ * PANEL) {}

    void run(const T* queries, const T* keys, const int64_t* positions, int64_t* out) {
        parallel_for(shape_.batch * panels_, threads_, [&](std::size_t i, int) { pack(keys, i); });
        slots_ = shape_.K - (positions != nullptr);
        const std::size_t blocks = ceil_div(shape_.queries, BLOCK), room = 2 * Shortlist::capacity(slots_);
        const Scratch<double> rows(BLOCK * shape_.channels, threads_);
        const Scratch<float> scores(BLOCK * (CHUNK + room), threads_);
        const Scratch<int64_t> shortlists(BLOCK * room, threads_);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            Block block{i / blocks, i % blocks * BLOCK, rows.get(thread), scores.get(thread), shortlists.get(thread)};
            search(block, queries, positions, out);
        });
    }

   private:
    struct Block {
        std::size_t image, first;
        double* rows;
        float* scores;  // (BLOCK, CHUNK), and behind them those of the shortlists
        int64_t* keys;  // of the shortlists
        double norms[BLOCK];
        std::size_t count;
    };

    int64_t key_at(std::size_t i) const { return candidates_ ? candidates_[i] : int64_t(i); }

    void pack(const T* keys, std::size_t panel) {
        const T* image = keys + panel / panels_ * shape_.keys * shape_.channels;
        double* to = packed_.get() + panel * PANEL * shape_.channels;
        double* norms = norms_.get() + panel * PANEL;
        const std::size_t first = panel % panels_ * PANEL;
        for (std::size_t i = 0; i < PANEL; ++i) {
            const std::size_t key = key_at(first + i < count_ ? first + i : count_ - 1);
            norms[i] = prepare(metric_, image + key * shape_.channels, shape_.channels, to + i, PANEL);
        }
    }

    void search(Block& block, const T* queries, const int64_t* positions, int64_t* out) const {
        block.count = std::min(shape_.queries - block.first, BLOCK);
        load_queries(block, queries);
        std::vector<Shortlist> shortlists;
        const std::size_t room = 2 * Shortlist::capacity(slots_);
        for (std::size_t r = 0; r < block.count; ++r)
            shortlists.emplace_back(block.scores + BLOCK * CHUNK + r * room, block.keys + r * room, slots_);
        for (std::size_t first = 0; slots_ && first < panels_; first += PANELS_AT_ONCE) {
            for (std::size_t p = first; p < std::min(panels_, first + PANELS_AT_ONCE); ++p)
                score(block, p, (p - first) * PANEL);
            for (std::size_t r = 0; r < block.count; ++r)
                scan(block.scores + r * CHUNK, first * PANEL, positions ? positions[block.first + r] : -1,
                     shortlists[r]);
        }
        for (std::size_t r = 0; r < block.count; ++r) {
            int64_t* to = out + (block.image * shape_.queries + block.first + r) * shape_.K;
            const int64_t itself = positions ? positions[block.first + r] : 0;
            if (positions) *to++ = itself;
            shortlists[r].fill(itself);
            std::copy_n(shortlists[r].keys(), slots_, to);
        }
    }

    // Rows behind the last query repeat it.
    void load_queries(Block& block, const T* queries) const {
        for (std::size_t r = 0; r < BLOCK; ++r) {
            const std::size_t query = block.first + std::min(r, block.count - 1);
            const T* row = queries + (block.image * shape_.queries + query) * shape_.channels;
            block.norms[r] = prepare(metric_, row, shape_.channels, block.rows + r * shape_.channels, 1);
        }
    }

    void score(const Block& block, std::size_t panel, std::size_t column) const {
        metric_ == Metric::cosine ? score_by<Metric::cosine>(block, panel, column)
                                  : score_by<Metric::euclidean>(block, panel, column);
    }

    // Scores of all queries of the block with one panel of keys, into columns `column` .. of the chunk.
    template <Metric METRIC>
    void score_by(const Block& block, std::size_t panel, std::size_t column) const {
        const std::size_t index = block.image * panels_ + panel;
        const double* keys = packed_.get() + index * PANEL * shape_.channels;
        const double* key_norms = norms_.get() + index * PANEL;
        for (std::size_t first = 0; first < block.count; first += TILE_ROWS) {
            const double* rows[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; ++r) rows[r] = block.rows + (first + r) * shape_.channels;
            double products[TILE_ROWS * PANEL];
            multiply<Start::at_zero, 1>(products, rows, shape_.channels, keys);
            for (int r = 0; r < TILE_ROWS; ++r) {
                float* to = block.scores + (first + r) * CHUNK + column;
                finish<METRIC>(products + r * PANEL, block.norms[first + r], key_norms, to);
            }
        }
    }

    // From products to float32 scores: larger is closer, NaN is worst of all numbers.
    template <Metric METRIC>
    static void finish(const double* products, double norm, const double* key_norms, float* to) {
        for (std::size_t i = 0; i < PANEL; ++i) {
            double score = products[i];  // of the cosine: rounding takes back what exceeds 1
            if (METRIC == Metric::euclidean) {
                const double norms = norm + key_norms[i], distance = norms - 2 * score;
                score = distance < 1e-12 * norms ? 0 : -distance;  // of equal rows about 1e-16 is left
            }
            float rounded = score;
            if (METRIC == Metric::euclidean) rounded = rounded < -FLT_MAX / 2 ? -FLT_MAX / 2 : rounded;
            to[i] = rounded == rounded ? rounded : -FLT_MAX;
        }
    }

    // Few scores reach the limit: most of a row is passed with one comparison for a whole vector.
    void scan(const float* scores, std::size_t first, int64_t itself, Shortlist& shortlist) const {
        const std::size_t count = std::min(count_ - first, CHUNK);
        shortlist.raise_limit(reached_by(scores, count, shape_.K));
        for (std::size_t i = 0; i < count; i += WORD) {
            uint64_t mask = 0;
            for (std::size_t j = 0; j < WORD; j += LANES<float>)
                mask |= uint64_t(at_least(scores + i + j, shortlist.limit())) << j;
            if (count - i < WORD) mask &= (uint64_t(1) << (count - i)) - 1;
            shortlist.take(scores + i, mask, first + i, candidates_, itself);
        }
        shortlist.sort();
    }

    // A number that at least K of the scores reach, so that the first ones need not all be inserted: the K-th largest of
    // the maxima of every GROUPS-th score. Minus infinity where K is too large for that.
    static float reached_by(const float* scores, std::size_t count, std::size_t K) {
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
            const unsigned reached = __builtin_popcount(at_least(maxima, one)) +
                                     __builtin_popcount(at_least(maxima + LANES<float>, one));
            if (reached >= K && one > limit) limit = one;
        }
        return limit;
    }

    SearchShape shape_;
    Metric metric_;
    const int64_t* candidates_;
    std::size_t count_, panels_, slots_ = 0;
    int threads_;
    Buffer<double> packed_, norms_;
};

}  // namespace convnn
