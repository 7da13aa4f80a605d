// The keys that may be among the best of one query.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "parallel.h"

namespace convnn {

constexpr float NOBODY = -std::numeric_limits<float>::infinity();

// Keys are appended unsorted, as fast as possible, and occasionally ranked and cut: among equal scores the lowest key
// stays, which is the first to arrive if keys arrive in ascending order. With a margin, scores are known to half of it:
// every key that may still be among the best stays, and `settle` decides by exact scores; if there are too many, the
// list is `full`.
class Shortlist {
   public:
    static constexpr std::size_t WORD = 64;         // scores compared at once, one bit each
    static constexpr std::size_t SPARE = 4 * WORD;  // keys appended before it is cut

    static std::size_t capacity(std::size_t slots) { return round_up(slots + SPARE + WORD, WORD); }

    // scores and keys have twice the capacity: room to sort.
    Shortlist(float* scores, int32_t* keys, std::size_t slots, float margin, bool is_ascending)
        : scores_(scores), keys_(keys), slots_(slots), margin_(margin), is_ascending_(is_ascending) {}

    float limit() const { return limit_; }
    bool full() const { return full_; }
    const int32_t* keys() const { return keys_; }

    // At least `slots` scores are known to reach this.
    void reached(float score) { limit_ = std::max(limit_, score - margin_); }

    // Appends the keys whose bit is set, except `itself`.
    void take(const float* scores, const int32_t* keys, uint64_t mask, int32_t itself) {
        for (; mask; mask &= mask - 1) {
            const int column = __builtin_ctzll(mask);
            scores_[count_] = scores[column];
            keys_[count_] = keys[column];
            count_ += keys[column] != itself;
        }
        if (count_ > slots_ + SPARE) cut();
    }

    // Ranks the keys and keeps those that may be among the best.
    void cut() {
        drop();
        rank();
        leave_best();
        kept_ = count_;
    }

    // Ranks the keys by other scores, lowest key first among equals, and keeps the best. Keys that differ by more than
    // the margin are in order already.
    template <class Score>
    void settle(const Score& score) {
        drop();
        rank();
        std::size_t end = 0;
        for (std::size_t first = 0; first < std::min(count_, slots_); first = end) {
            for (end = first + 1; end < count_ && !(scores_[end - 1] - scores_[end] > margin_);) ++end;
            if (end - first > 1) rank_again(first, end, score);
        }
        count_ = std::min(count_, slots_);
    }

    // Slots without a key.
    void fill(int32_t key) {
        for (; count_ < slots_; ++count_) keys_[count_] = key;
    }

   private:
    // Drops keys appended since the last cut, when the limit was lower.
    void drop() {
        std::size_t left = kept_;
        for (std::size_t i = kept_; i < count_; ++i) {
            scores_[left] = scores_[i];
            keys_[left] = keys_[i];
            left += scores_[i] >= limit_;
        }
        count_ = left;
    }

    // The first of ranked keys.
    void leave_best() {
        if (count_ < slots_) return;
        const float last = scores_[slots_ - 1];
        if (margin_ == 0) {
            count_ = slots_;
            limit_ = std::max(limit_, is_ascending_ ? std::nextafter(last, -NOBODY) : last);  // or ties may still win
            return;
        }
        reached(last);
        while (count_ > slots_ && scores_[count_ - 1] < limit_) --count_;
        if (count_ <= slots_ + SPARE) return;
        full_ = true;
        limit_ = -NOBODY;
        count_ = 0;
    }

    template <class Score>
    void rank_again(std::size_t first, std::size_t end, const Score& score) {
        for (std::size_t i = first; i < end; ++i) {
            const int32_t key = keys_[i];
            const float one = score(key);
            std::size_t j = i;
            for (; j > first && (scores_[j - 1] < one || (scores_[j - 1] == one && keys_[j - 1] > key)); --j) {
                scores_[j] = scores_[j - 1];
                keys_[j] = keys_[j - 1];
            }
            scores_[j] = one;
            keys_[j] = key;
        }
    }

    void rank() {
        float* scores = scores_ + capacity(slots_);
        int32_t* keys = keys_ + capacity(slots_);
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t rank = rank_of(i);
            scores[rank] = scores_[i];
            keys[rank] = keys_[i];
        }
        std::copy_n(scores, count_, scores_);
        std::copy_n(keys, count_, keys_);
    }

    std::size_t rank_of(std::size_t i) const {
        const float score = scores_[i];
        int better = 0;
        if (is_ascending_) {
            for (std::size_t j = 0; j < i; ++j) better += scores_[j] >= score;
            for (std::size_t j = i + 1; j < count_; ++j) better += scores_[j] > score;
            return better;
        }
        int equal = 0;
        for (std::size_t j = 0; j < count_; ++j) better += scores_[j] > score;
        for (std::size_t j = 0; j < count_; ++j) equal += scores_[j] == score;
        for (std::size_t j = 0; equal > 1 && j < count_; ++j) better += scores_[j] == score && keys_[j] < keys_[i];
        return better;
    }

    float* scores_;
    int32_t* keys_;
    std::size_t slots_, count_ = 0, kept_ = 0;
    float margin_, limit_ = NOBODY;
    bool is_ascending_, full_ = false;
};

}  // namespace convnn
