// Lists of neighbours: one for every query of every image, or one for every query that all images share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace convnn {

struct NeighborLists {
    const int64_t* indices;  // (batch, queries, K), or (queries, K) if shared
    bool shared;
    std::size_t queries, length, K;

    // Index of the k-th neighbour of a row, among (batch * queries), in the (batch * length) positions.
    std::size_t operator()(std::size_t row, std::size_t k) const {
        const std::size_t image = row / queries, list = shared ? row - image * queries : row;
        return image * length + indices[list * K + k];
    }

    // Calls visit(i, list, offset) for the rows first + i with i below count; list[k] + offset is the k-th neighbour.
    // A division for every neighbour would take longer than what is done with few channels.
    template <class Visit>
    void each(std::size_t first, std::size_t count, const Visit& visit) const {
        std::size_t image = first / queries, query = first - image * queries;
        for (std::size_t i = 0; i < count; ++i, ++query) {
            if (query == queries) ++image, query = 0;
            visit(i, indices + (shared ? query : image * queries + query) * K, image * length);
        }
    }
};

// The inverse of a shared list: the slots that refer to each position. Each position then gathers its gradient, instead
// of rows scattering theirs, so that positions are independent tasks.
class Sources {
   public:
    struct Slot {
        uint32_t query, k;
    };

    // The slots of one position of one image, in ascending order, and the first row of that image.
    struct Of {
        const Slot* slots;
        std::size_t count, first_row;

        std::size_t row(std::size_t i) const { return first_row + slots[i].query; }
        std::size_t k(std::size_t i) const { return slots[i].k; }
    };

    explicit Sources(const NeighborLists& lists)
        : queries_(lists.queries), length_(lists.length), starts_(length_ + 1), slots_(queries_ * lists.K) {
        for (std::size_t i = 0; i < slots_.size(); ++i) ++starts_[lists.indices[i] + 1];
        for (std::size_t t = 0; t < length_; ++t) starts_[t + 1] += starts_[t];
        std::vector<std::size_t> next(starts_.begin(), starts_.end() - 1);
        for (std::size_t query = 0, i = 0; query < queries_; ++query)
            for (std::size_t k = 0; k < lists.K; ++k, ++i)
                slots_[next[lists.indices[i]]++] = {uint32_t(query), uint32_t(k)};
    }

    // A position of the (batch * length).
    Of operator()(std::size_t position) const {
        const std::size_t image = position / length_, t = position - image * length_;
        return {slots_.data() + starts_[t], starts_[t + 1] - starts_[t], image * queries_};
    }

   private:
    std::size_t queries_, length_;
    std::vector<std::size_t> starts_;
    std::vector<Slot> slots_;
};

}  // namespace convnn
