// Who the neighbours are: exact search over all keys, a tile of scores at a time.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"
#include "shortlist.h"
#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace convnn {

enum class Metric { cosine, euclidean, matmul };

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

// NaN and what overflows are worst of all numbers, and what overflows below zero is next.
inline float bounded(float score) {
    score = score < -FLT_MAX / 2 ? -FLT_MAX / 2 : score;
    return score <= FLT_MAX ? score : -FLT_MAX;
}

template <class T>
inline Vector<double> load_exactly(const T* from) {
    typedef T Narrow __attribute__((vector_size(LANES<double> * sizeof(T))));
    Narrow v;
    __builtin_memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, Vector<double>);
}

// In float64, always in the same order.
template <class A, class B>
double exact_dot(const A* a, const B* b, std::size_t channels) {
    constexpr std::size_t WIDTH = LANES<double>;
    Vector<double> sums[4]{};
    std::size_t c = 0;
    for (; c + 4 * WIDTH <= channels; c += 4 * WIDTH)
        for (std::size_t i = 0; i < 4; ++i)
            sums[i] += load_exactly(a + c + i * WIDTH) * load_exactly(b + c + i * WIDTH);
    for (; c + WIDTH <= channels; c += WIDTH) sums[0] += load_exactly(a + c) * load_exactly(b + c);
    const Vector<double> lanes = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = 0;
    for (std::size_t i = 0; i < WIDTH; ++i) sum += lanes[i];
    for (; c < channels; ++c) sum += double(a[c]) * b[c];
    return sum;
}

// What goes with the products: the length of a row for the cosine, 0 if it counts as zero; its square otherwise.
template <class T>
double norm_of(const T* row, std::size_t channels, Metric metric) {
    const double squares = exact_dot(row, row, channels);
    if (metric != Metric::cosine) return squares;
    return std::sqrt(squares) <= 1e-12 ? 0 : std::sqrt(squares);
}

// Larger is closer. Of equal rows cancellation leaves about 1e-16 of the norms.
template <class S>
S closeness(S product, S norms) {
    const S distance = norms - 2 * product;
    return distance < S(1e-12) * norms ? 0 : -distance;
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

// The score of a pair is a sum in float64 rounded to float32, the same for equal keys wherever they stand: a tie is a tie.
// With S = double all scores are computed so. With S = float, twice as fast, float32 sums find the few keys that can be
// among the best, their error being bounded, and only those are scored exactly; a query of which too many keys may be
// among the best (they tie, or nearly) is scored exactly with all keys.
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
          norms_(shape.batch * panels_ * PANEL),
          key_norms_(shape.batch * shape.keys),
          eligible_(shape.batch * num_candidates_),
          images_(shape.batch) {}

    void run(const T* queries, const T* keys, const int64_t* positions, int64_t* out) {
        keys_ = keys;
        slots_ = shape_.K - (positions != nullptr);
        parallel_for(shape_.batch, threads_, [&](std::size_t image, int) { measure(image); });
        parallel_for(shape_.batch * panels_, threads_, [&](std::size_t i, int) { pack(i); });
        const std::size_t blocks = ceil_div(shape_.queries, BLOCK), room = 2 * Shortlist::capacity(slots_);
        const Scratch<S> rows(BLOCK * shape_.channels, threads_);
        const Scratch<double> exact_rows(BLOCK * shape_.channels, threads_);
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
        S* rows;             // (BLOCK, channels), of length one for the cosine
        double* exact_rows;  // the same in float64
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

    double norm_of(const T* row) const { return convnn::norm_of(row, shape_.channels, metric_); }

    // Norms, and who may be chosen: zero rows, such as padding, tie with each other, so that no more than the first K,
    // and one for a query that is one of them, ever are.
    void measure(std::size_t image) {
        Image found{0, 0};
        std::size_t zeros = 0;
        for (std::size_t i = 0; i < num_candidates_; ++i) {
            const std::size_t key = candidates_ ? candidates_[i] : i;
            const double norm = norm_of(key_row(image, key));
            key_norms_.get()[image * shape_.keys + key] = norm;
            if (!(norm <= found.largest_norm)) found.largest_norm = norm;  // also if it is NaN
            if (norm == 0 && ++zeros > shape_.K + 1) continue;
            eligible_.get()[image * num_candidates_ + found.count++] = key;
        }
        images_.get()[image] = found;
    }

    // A row as the products need it: of length one for the cosine, a zero row staying zero.
    template <class To>
    void convert(const T* row, double norm, To* to, std::size_t stride) const {
        const bool is_zero = metric_ == Metric::cosine && norm == 0;
        const double divisor = metric_ == Metric::cosine && !is_zero ? norm : 1;
        for (std::size_t c = 0; c < shape_.channels; ++c) to[c * stride] = is_zero ? 0 : row[c] / divisor;
    }

    void pack(std::size_t panel) {
        const std::size_t image = panel / panels_, first = panel % panels_ * PANEL, count = images_.get()[image].count;
        for (std::size_t i = 0; first < count && i < PANEL; ++i) {
            const std::size_t key = key_at(image, std::min(first + i, count - 1));
            const double norm = key_norms_.get()[image * shape_.keys + key];
            norms_.get()[panel * PANEL + i] = norm;
            convert(key_row(image, key), norm, packed_.get() + panel * PANEL * shape_.channels + i, PANEL);
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
            block.norms[r] = norm_of(row);
            double* exact = block.exact_rows + r * shape_.channels;
            convert(row, block.norms[r], exact, 1);
            std::copy_n(exact, shape_.channels, block.rows + r * shape_.channels);
        }
    }

    // Twice the largest error of a float32 score: each of C sums and a few roundings more err by 2^-24 of the largest
    // possible sum, which is 1 for the cosine. Infinite where float32 cannot hold the norms.
    float margin(const Block& block, std::size_t r) const {
        if (IS_EXACT) return 0;
        const double error = 2 * 1.01 * double(shape_.channels + 8) / (1 << 24);
        if (metric_ == Metric::cosine) return error;
        const double query = block.norms[r], key = images_.get()[block.image].largest_norm;
        const auto held = [](double squares) { return squares > 1e-25 && squares < 1e30; };
        if (metric_ == Metric::euclidean) return held(query + key) ? error * (query + key) : -NOBODY;
        return held(query) && held(key) ? error * std::sqrt(query * key) : -NOBODY;
    }

    // Scores of all queries of the block with one panel of keys, into columns `column` .. of the chunk.
    void score(const Block& block, std::size_t panel, std::size_t column) const {
        const std::size_t index = block.image * panels_ + panel;
        const S* keys = packed_.get() + index * PANEL * shape_.channels;
        for (std::size_t first = 0; first < block.count; first += TILE_ROWS) {
            const S* rows[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; ++r) rows[r] = block.rows + (first + r) * shape_.channels;
            S products[TILE_ROWS * PANEL];
            multiply<Start::at_zero, 1>(products, rows, shape_.channels, keys);
            for (int r = 0; r < TILE_ROWS; ++r) {
                float* to = block.scores + (first + r) * CHUNK + column;
                const S* product = products + r * PANEL;
                if (metric_ == Metric::euclidean)
                    finish_distances(product, block.norms[first + r], norms_.get() + index * PANEL, to);
                else
                    for (std::size_t i = 0; i < PANEL; ++i) to[i] = bounded(product[i]);  // takes back what exceeds 1
            }
        }
    }

    static void finish_distances(const S* products, S norm, const S* norms, float* to) {
        for (std::size_t i = 0; i < PANEL; ++i) to[i] = bounded(closeness(products[i], norm + norms[i]));
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
        const double product =
            exact_dot(block.exact_rows + r * shape_.channels, key_row(block.image, key), shape_.channels);
        const double norm = key_norms_.get()[block.image * shape_.keys + key];
        if (metric_ == Metric::matmul) return bounded(product);
        if (metric_ == Metric::cosine) return bounded(norm == 0 ? 0 : product / norm);
        return bounded(closeness(product, block.norms[r] + norm));
    }

    SearchShape shape_;
    Metric metric_;
    const int64_t* candidates_;
    std::size_t num_candidates_, panels_, slots_ = 0;
    int threads_;
    const T* keys_ = nullptr;
    Buffer<S> packed_, norms_;
    Buffer<double> key_norms_;
    Buffer<int64_t> eligible_;
    Buffer<Image> images_;
};

}  // namespace convnn
