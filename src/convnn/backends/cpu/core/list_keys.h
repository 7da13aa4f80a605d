// The keys of a search, list by list.
#pragma once

#include <algorithm>
#include <vector>

#include "packed.h"

namespace convnn {

// Every list begins with a panel, and has its keys in ascending order.
template <class T, class S>
class ListKeys : public PackedKeys<T, S> {
    using Base = PackedKeys<T, S>;

   public:
    using Base::PANEL;

    struct Span {
        std::size_t first, count;  // members
    };

    // lists (batch, keys): the list of each key, or -1 for a key that may not be chosen.
    ListKeys(SearchShape shape, Metric metric, const int64_t* lists, std::size_t num_lists)
        : Base(shape, metric, shape.keys / PANEL + num_lists),
          lists_(lists),
          num_lists_(num_lists),
          spans_(shape.batch * num_lists) {}

    void pack(const T* keys, int threads) {
        this->measure(keys, this->shape_.keys, threads, [&](std::size_t image, std::size_t key) {
            return lists_[image * this->shape_.keys + key] < 0 ? -1 : int64_t(key);
        });
        parallel_for(this->shape_.batch, threads, [&](std::size_t image, int) { sort(image); });
        parallel_for(this->shape_.batch * num_lists_, threads, [&](std::size_t i, int) {
            const Span in = spans_.get()[i];
            if (in.count) Base::pack(i / num_lists_, in.first, in.first + in.count);
        });
    }

    const Span& span(std::size_t image, std::size_t list) const { return spans_.get()[image * num_lists_ + list]; }

   private:
    void sort(std::size_t image) {
        Span* spans = spans_.get() + image * num_lists_;
        std::fill_n(spans, num_lists_, Span{0, 0});
        std::vector<std::size_t> zeros(num_lists_);
        std::vector<int32_t> admitted;
        admitted.reserve(this->shape_.keys);
        const int64_t* lists = lists_ + image * this->shape_.keys;
        for (std::size_t key = 0; key < this->shape_.keys; ++key) {
            if (lists[key] < 0 || !this->admits(image, key, zeros[lists[key]])) continue;
            ++spans[lists[key]].count;
            admitted.push_back(key);
        }
        std::size_t places = 0;
        for (std::size_t i = 0; i < num_lists_; ++i) {
            spans[i].first = places;
            places += round_up(spans[i].count, PANEL);
            spans[i].count = 0;
        }
        int32_t* members = this->own_members(image);
        for (const int32_t key : admitted) {
            Span& in = spans[lists[key]];
            members[in.first + in.count++] = key;
        }
        for (std::size_t i = 0; i < num_lists_; ++i)
            for (std::size_t j = spans[i].count; j % PANEL; ++j)
                members[spans[i].first + j] = members[spans[i].first + spans[i].count - 1];
        this->center(image, places);  // places filled up with the last key of a list count too: any center will do
    }

    const int64_t* lists_;
    std::size_t num_lists_;
    Buffer<Span> spans_;
};

}  // namespace convnn
