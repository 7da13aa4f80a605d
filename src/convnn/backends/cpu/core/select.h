// Who the neighbours are: exact search over all keys, a tile of scores at a time.
#pragma once

#include <cfloat>
#include <cmath>
#include <limits>

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

// The best keys of one query so far, best first; equal scores keep the order in which they came.
struct Best {
    float* scores;
    int64_t* keys;
    std::size_t size;

    void clear(int64_t key) {
        for (std::size_t i = 0; i < size; ++i) {
            scores[i] = -std::numeric_limits<float>::infinity();
            keys[i] = key;
        }
    }
    float worst() const { return scores[size - 1]; }
    void insert(float score, int64_t key) {
        std::size_t i = size - 1;
        for (; i > 0 && scores[i - 1] < score; --i) {
            scores[i] = scores[i - 1];
            keys[i] = keys[i - 1];
        }
        scores[i] = score;
        keys[i] = key;
    }
};

// One bit for each of LANES<float> scores that is greater than the limit.
inline unsigned greater_than(const float* scores, float limit) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), _mm512_set1_ps(limit), _CMP_GT_OQ);
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(scores), _mm256_set1_ps(limit), _CMP_GT_OQ));
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES<float>; ++i) bits |= unsigned(scores[i] > limit) << i;
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
    static constexpr std::size_t PANELS_AT_ONCE = 128 / PANEL;
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
        const std::size_t blocks = ceil_div(shape_.queries, BLOCK);
        const Scratch<double> rows(BLOCK * shape_.channels, threads_);
        const Scratch<float> scores(BLOCK * (CHUNK + shape_.K), threads_);
        const Scratch<int64_t> best(BLOCK * shape_.K, threads_);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            Block block{i / blocks, i % blocks * BLOCK, rows.get(thread), scores.get(thread), best.get(thread)};
            search(block, queries, positions, out);
        });
    }

   private:
    struct Block {
        std::size_t image, first;
        double* rows;
        float* scores;  // (BLOCK, CHUNK), then (BLOCK, K) of the best
        int64_t* best;
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
        const std::size_t slots = shape_.K - (positions != nullptr);
        block.count = shape_.queries - block.first < BLOCK ? shape_.queries - block.first : BLOCK;
        for (std::size_t r = 0; r < BLOCK; ++r) {
            const std::size_t query = block.first + (r < block.count ? r : block.count - 1);
            const T* row = queries + (block.image * shape_.queries + query) * shape_.channels;
            block.norms[r] = prepare(metric_, row, shape_.channels, block.rows + r * shape_.channels, 1);
            best_of(block, r, slots).clear(positions ? positions[query] : 0);
        }
        for (std::size_t panel = 0; slots && panel < panels_; panel += PANELS_AT_ONCE) {
            const std::size_t last = panel + PANELS_AT_ONCE < panels_ ? panel + PANELS_AT_ONCE : panels_;
            for (std::size_t p = panel; p < last; ++p) score(block, p, (p - panel) * PANEL);
            for (std::size_t r = 0; r < block.count; ++r)
                scan(block, r, panel * PANEL, slots, positions ? positions[block.first + r] : -1);
        }
        for (std::size_t r = 0; r < block.count; ++r) write(block, r, slots, positions, out);
    }

    Best best_of(const Block& block, std::size_t r, std::size_t slots) const {
        return {block.scores + BLOCK * CHUNK + r * shape_.K, block.best + r * shape_.K, slots};
    }

    // Scores of all queries of the block with one panel of keys, into columns `column` .. of the chunk.
    void score(const Block& block, std::size_t panel, std::size_t column) const {
        const std::size_t index = block.image * panels_ + panel;
        const double* keys = packed_.get() + index * PANEL * shape_.channels;
        for (std::size_t first = 0; first < block.count; first += TILE_ROWS) {
            const double* rows[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; ++r) rows[r] = block.rows + (first + r) * shape_.channels;
            Tile<double> tile;
            tile.clear();
            multiply<1>(tile, rows, shape_.channels, keys);
            for (int r = 0; r < TILE_ROWS; ++r)
                for (int v = 0; v < 2; ++v) {
                    const Vector<double> norms = load(norms_.get() + index * PANEL + v * LANES<double>);
                    float* to = block.scores + (first + r) * CHUNK + column + v * LANES<double>;
                    finish(tile.sums[r][v], block.norms[first + r] + norms, to);
                }
        }
    }

    // From products to float32 scores: larger is closer, NaN is worst of all numbers.
    void finish(Vector<double> product, Vector<double> norms, float* to) const {
        if (metric_ == Metric::cosine) {
            product = product > 1 ? Vector<double>{} + 1 : product;
            product = product < -1 ? Vector<double>{} - 1 : product;
        } else {
            const Vector<double> distance = norms - 2 * product;
            product = distance < 1e-12 * norms ? Vector<double>{} : -distance;  // equal rows leave about 1e-16
        }
        typedef float Narrow __attribute__((vector_size(VECTOR_BYTES / 2)));
        Narrow score = __builtin_convertvector(product, Narrow);
        score = score < -FLT_MAX / 2 ? Narrow{} - FLT_MAX / 2 : score;
        score = score == score ? score : Narrow{} - FLT_MAX;
        __builtin_memcpy(to, &score, sizeof score);
    }

    // Few scores beat the worst of the best: most of a row is passed with one comparison for a whole vector.
    void scan(const Block& block, std::size_t r, std::size_t first, std::size_t slots, int64_t itself) const {
        const float* scores = block.scores + r * CHUNK;
        const std::size_t count = count_ - first < CHUNK ? count_ - first : CHUNK;
        Best best = best_of(block, r, slots);
        for (std::size_t i = 0; i < count; i += LANES<float>) {
            unsigned found = greater_than(scores + i, best.worst());
            for (; found; found &= found - 1) {
                const std::size_t column = i + __builtin_ctz(found);
                if (column >= count || scores[column] <= best.worst()) continue;
                const int64_t key = key_at(first + column);
                if (key != itself) best.insert(scores[column], key);
            }
        }
    }

    void write(const Block& block, std::size_t r, std::size_t slots, const int64_t* positions, int64_t* out) const {
        int64_t* to = out + (block.image * shape_.queries + block.first + r) * shape_.K;
        if (positions) *to++ = positions[block.first + r];
        const Best best = best_of(block, r, slots);
        for (std::size_t k = 0; k < slots; ++k) to[k] = best.keys[k];
    }

    SearchShape shape_;
    Metric metric_;
    const int64_t* candidates_;
    std::size_t count_, panels_;
    int threads_;
    Buffer<double> packed_, norms_;
};

}  // namespace convnn
