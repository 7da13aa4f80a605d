// Lists of neighbours: one for every query of every image, or one for every query that all images share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convnn {

struct NeighborLists {
    const int64_t* indices;  // (batch, queries, K), or (queries, K) if shared
    bool shared;
    std::size_t queries, length, K;

    // Where the k-th neighbour of a row of the (batch * queries) lies among the (batch * length) positions.
    std::size_t operator()(std::size_t row, std::size_t k) const {
        const std::size_t image = row / queries, list = shared ? row - image * queries : row;
        return image * length + indices[list * K + k];
    }
};

}  // namespace convnn
