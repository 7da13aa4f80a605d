// Search for neighbours among the keys of a few lists.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "block.h"
#include "list_keys.h"

namespace convnn {

// Each query opens lists of its own. Queries that open the same ones first share a block, so that a list is scored for
// many of them at once, and only for those that open it: first the lists that come first, because their keys are likely
// to be the best.
template <class T, class S>
class ListSearch : BlockSearch<T, S, ListKeys<T, S>, 64, TILE_ROWS> {
    using Base = BlockSearch<T, S, ListKeys<T, S>, 64, TILE_ROWS>;
    using typename Base::Block, typename Base::Memory;

   public:
    using Base::CHUNK, Base::PANEL, Base::SIZE;

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
        const Memory memory(*this, 0, 0, 2 * SIZE * most_ + 2 * num_lists_ + 1);
        parallel_for(shape_.batch * blocks, threads_, [&](std::size_t i, int thread) {
            const std::size_t image = i / blocks, first = i % blocks * SIZE;
            Block block = memory.block(image, thread);
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

    // Queries by their first list, and then by their second: sorted by the second, and stably by the first.
    void order(std::size_t image) {
        int32_t* order = order_.get() + image * shape_.queries;
        std::iota(order, order + shape_.queries, 0);
        std::vector<int32_t> before(shape_.queries);
        for (std::size_t place = std::min<std::size_t>(most_, 2); place-- > 0;) {
            std::copy_n(order, shape_.queries, before.begin());
            std::vector<std::size_t> ends(num_lists_ + 2);
            const auto list_of = [&](int32_t query) { return std::size_t(opened(image, query)[place] + 1); };
            for (const int32_t query : before) ++ends[list_of(query) + 1];
            std::partial_sum(ends.begin(), ends.end(), ends.begin());
            for (const int32_t query : before) order[ends[list_of(query)]++] = query;
        }
    }

    void open_lists(Block& block, int32_t* memory) const {
        int32_t *lists = memory, *queries = lists + SIZE * most_, *ends = queries + SIZE * most_;
        name_once(block, lists, ends);
        for (const std::size_t first : {std::size_t(0), std::size_t(1)}) {
            sort(block, lists, first, first ? most_ : std::min<std::size_t>(1, most_), queries, ends);
            for (std::size_t list = 0; list < num_lists_; ++list)
                open(block, list, queries + (list ? ends[list - 1] : 0), queries + ends[list]);
        }
    }

    // The lists of each query of a block (SIZE, most), with -1 in place of one that came before.
    void name_once(const Block& block, int32_t* lists, int32_t* last_query) const {
        std::fill_n(last_query, num_lists_, -1);
        for (std::size_t r = 0; r < block.count; ++r) {
            const int64_t* named = opened(block.image, block.queries[r]);
            for (std::size_t p = 0; p < most_; ++p) {
                const bool is_new = named[p] >= 0 && last_query[named[p]] != int32_t(r);
                lists[r * most_ + p] = is_new ? int32_t(named[p]) : -1;
                if (is_new) last_query[named[p]] = int32_t(r);
            }
        }
    }

    // The queries that open each list at a place from `first` to before `last`, list by list, and where each list ends.
    void sort(const Block& block, const int32_t* lists, std::size_t first, std::size_t last, int32_t* queries,
              int32_t* ends) const {
        std::fill_n(ends, num_lists_ + 1, 0);
        for (std::size_t r = 0; r < block.count; ++r)
            for (std::size_t p = first; p < last; ++p) ++ends[lists[r * most_ + p] + 1];
        ends[0] = 0;  // -1 is no list
        for (std::size_t i = 0; i < num_lists_; ++i) ends[i + 1] += ends[i];
        for (std::size_t r = 0; r < block.count; ++r) {
            for (std::size_t p = first; p < last; ++p) {
                const int32_t list = lists[r * most_ + p];
                if (list >= 0) queries[ends[list]++] = int32_t(r);
            }
        }
    }

    void open(Block& block, std::size_t list, const int32_t* queries, const int32_t* end) const {
        while (queries < end) {
            std::size_t tile[TILE_ROWS], count = 0;
            for (; queries < end && count < TILE_ROWS; ++queries)
                if (!block.shortlists[*queries].full()) tile[count++] = *queries;
            if (!count) return;
            std::fill(tile + count, tile + TILE_ROWS, tile[count - 1]);
            look_at(block, list, tile, count);
        }
    }

    // The keys of a list, for as many queries as a tile has.
    void look_at(Block& block, std::size_t list, const std::size_t* tile, std::size_t count) const {
        const auto [start, keys] = keys_.span(block.image, list);
        for (std::size_t first = 0; first < keys; first += CHUNK) {
            const std::size_t columns = std::min(keys - first, CHUNK);
            for (std::size_t i = 0; i < columns; i += PANEL)
                this->score(block, tile, (start + first + i) / PANEL, block.scores + i);
            for (std::size_t q = 0; q < count; ++q)
                this->scan(block, tile[q], block.scores + q * CHUNK, keys_.members(block.image) + start + first, columns);
        }
    }

    void choose(Block& block, std::size_t r, int64_t* out) const {
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
