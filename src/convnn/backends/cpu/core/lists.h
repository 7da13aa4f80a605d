// Search for neighbours among the keys of a few lists.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "block.h"
#include "list_keys.h"

namespace convnn {

// Each query opens lists of its own. Queries that open the same ones first share a block, so that a list is scored for
// many of them at once, and only for those that open it.
template <class T, class S>
class ListSearch : BlockSearch<T, S, ListKeys<T, S>> {
    using Base = BlockSearch<T, S, ListKeys<T, S>>;
    using typename Base::Memory;

   public:
    using Base::CHUNK, Base::PANEL, Base::SIZE;
    static_assert(SIZE <= 32);

    // lists as in ListKeys; opened (batch, queries, most): lists to be opened, or -1.
    ListSearch(SearchShape shape, Metric metric, const int64_t* lists, std::size_t num_lists, const int64_t* opened,
               std::size_t most, int threads)
        : Base(shape, metric, threads, lists, num_lists),
          num_lists_(num_lists),
          opened_(opened),
          most_(most),
          order_(shape.batch * shape.queries) {}

    // Slots without a key are -1.
    void run(const T* queries, const T* keys, const int64_t* positions, int64_t* out) {
        this->start(queries, keys, positions);
        parallel_for(shape_.batch, threads_, [&](std::size_t image, int) { order(image); });
        const std::size_t blocks = ceil_div(shape_.queries, SIZE);
        const Memory memory(*this, 0, 0, 2 * num_lists_);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            const std::size_t image = i / blocks, first = i % blocks * SIZE;
            Block<S> block = memory.block(image, thread);
            this->load_queries(block, order_.get() + image * shape_.queries + first,
                               std::min(shape_.queries - first, SIZE), false);
            if (slots_) open_lists(block, memory.more_keys(thread));
            for (std::size_t r = 0; r < block.count; ++r) choose(block, r, out);
        });
    }

   private:
    const int64_t* opened(std::size_t image, std::size_t query) const {
        return opened_ + (image * shape_.queries + query) * most_;
    }

    // Queries by their first list, and then by their second.
    void order(std::size_t image) {
        int32_t* order = order_.get() + image * shape_.queries;
        std::iota(order, order + shape_.queries, 0);
        std::sort(order, order + shape_.queries, [&](int32_t a, int32_t b) {
            const int64_t *left = opened(image, a), *right = opened(image, b);
            for (std::size_t p = 0; p < std::min<std::size_t>(most_, 2); ++p)
                if (left[p] != right[p]) return left[p] < right[p];
            return a < b;
        });
    }

    // The lists of all queries, those that come first for some query before the others.
    void open_lists(Block<S>& block, int32_t* memory) const {
        int32_t *queries_of = memory, *lists = memory + num_lists_, *end = lists;  // a bit for each query that opens a list
        std::fill_n(queries_of, num_lists_, 0);
        for (std::size_t p = 0; p < most_; ++p) {
            for (std::size_t r = 0; r < block.count; ++r) {
                const int64_t list = opened(block.image, block.queries[r])[p];
                if (list < 0) continue;
                if (!queries_of[list]) *end++ = list;
                queries_of[list] |= int32_t(1u << r);
            }
        }
        for (; lists < end; ++lists) open(block, *lists, uint32_t(queries_of[*lists]));
    }

    void open(Block<S>& block, std::size_t list, uint32_t opens) const {
        uint8_t queries[SIZE + TILE_ROWS];
        std::size_t count = 0;
        for (std::size_t r = 0; r < block.count; ++r)
            if (opens >> r & 1 && !block.shortlists[r].full()) queries[count++] = r;
        if (!count) return;
        std::fill_n(queries + count, TILE_ROWS, queries[count - 1]);  // the last tile has as many rows
        const auto [start, keys] = keys_.span(block.image, list);
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t columns = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < columns; i += PANEL)
                for (std::size_t q = 0; q < count; q += TILE_ROWS)
                    this->score(block, queries + q, (start + first + i) / PANEL, i);
            for (std::size_t q = 0; q < count; ++q)
                this->scan(block, queries[q], keys_.members(block.image) + start + first, columns);
        }
    }

    void choose(Block<S>& block, std::size_t r, int64_t* out) const {
        const auto opened_keys = [&](std::size_t query, const auto& visit) {
            const int64_t* lists = opened(block.image, block.queries[query]);
            for (std::size_t p = 0; p < most_; ++p) {
                if (lists[p] < 0 || std::find(lists, lists + p, lists[p]) != lists + p) continue;
                const auto [start, keys] = keys_.span(block.image, lists[p]);
                visit(keys_.members(block.image) + start, keys);
            }
        };
        this->decide(block, r, false, opened_keys);
        this->write(block, r, -1, out);
    }

    using Base::keys_, Base::shape_, Base::slots_, Base::threads_;
    std::size_t num_lists_;
    const int64_t* opened_;
    std::size_t most_;
    Buffer<int32_t> order_;
};

}  // namespace convnn
