// The neighbour with the largest contribution to each channel of a position.
#pragma once

#include <algorithm>
#include <cstdint>

#include "neighbors.h"
#include "parallel.h"

namespace convnn {

// values (batch * length, channels); scores and absent (batch * queries, K) or null; centers (batch * queries, channels)
// or null. Compares score * (value - center); NaN is largest, and the first of equals wins.
template <class T>
struct Largest {
    const T* values;
    NeighborLists lists;
    const T* scores;
    const bool* absent;
    const T* centers;
    std::size_t channels;

    void run(std::size_t rows, int64_t* slots, int threads) const {
        parallel_for_rows(rows, threads, [&](std::size_t row) {
            for (std::size_t first = 0; first < channels; first += BLOCK)
                choose(row, first, std::min(BLOCK, channels - first), slots + row * channels + first);
        });
    }

   private:
    static constexpr std::size_t BLOCK = 64;

    // Slot numbers have type T, so that all lanes have one width; K is far below the largest integer exact in T.
    void choose(std::size_t row, std::size_t first, std::size_t count, int64_t* slots) const {
        T best[BLOCK], best_slot[BLOCK] = {};
        bring(row, 0, first, count, best);
        for (std::size_t k = 1; k < lists.K; ++k) {
            if (absent && absent[row * lists.K + k]) continue;
            T brought[BLOCK];
            bring(row, k, first, count, brought);
            const T slot = T(k);
            for (std::size_t c = 0; c < count; ++c) {
                const bool is_better = brought[c] > best[c] || (brought[c] != brought[c] && best[c] == best[c]);
                best_slot[c] = is_better ? slot : best_slot[c];
                best[c] = is_better ? brought[c] : best[c];
            }
        }
        for (std::size_t c = 0; c < count; ++c) slots[c] = int64_t(best_slot[c]);
    }

    void bring(std::size_t row, std::size_t k, std::size_t first, std::size_t count, T* brought) const {
        const T* value = values + lists(row, k) * channels + first;
        if (!scores) {  // a center would not change the order
            std::copy(value, value + count, brought);
            return;
        }
        const T score = scores[row * lists.K + k];
        const T* center = centers ? centers + row * channels + first : nullptr;
        for (std::size_t c = 0; c < count; ++c) brought[c] = (center ? value[c] - center[c] : value[c]) * score;
    }
};

}  // namespace convnn
