// All keys of a search, in leaves where that saves work.
#pragma once

#include <algorithm>
#include <vector>

#include "leaves.h"
#include "packed.h"

namespace convnn {

// Keys are packed in ascending order or, where the bounds of leaves are likely to save work, leaf by leaf.
template <class T, class S>
class LeafKeys : public PackedKeys<T, S> {
    using Base = PackedKeys<T, S>;

   public:
    using Base::PANEL;

    LeafKeys(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t num_candidates)
        : LeafKeys(shape, metric, candidates, candidates ? num_candidates : shape.keys,
                   ceil_div(candidates ? num_candidates : shape.keys, LEAF)) {}

    void pack(const T* keys, int threads) {
        this->measure(keys, num_candidates_, threads, [&](std::size_t, std::size_t i) { return key_at(i); });
        parallel_for(shape_.batch, threads, [&](std::size_t image, int) {
            admit(image);
            cut(image);
        });
        parallel_for(shape_.batch * leaves_, threads, [&](std::size_t i, int) {
            if (!is_cut(i / leaves_)) pack_leaf(i / leaves_, i % leaves_);
        });
    }

    std::size_t count(std::size_t image) const { return images_.get()[image].count; }
    bool is_cut(std::size_t image) const { return images_.get()[image].is_cut; }
    std::size_t leaves(std::size_t image) const { return ceil_div(count(image), LEAF); }
    std::size_t most_leaves() const { return leaves_; }
    const Ball<S>& ball(std::size_t image, std::size_t leaf) const { return balls_.get()[image * leaves_ + leaf]; }

    // Rows of an image, as the order compares them.
    Points<T> points(const T* rows, const double* scales) const {
        return {rows, metric_ == Metric::cosine ? scales : nullptr, shape_.channels};
    }

   private:
    static constexpr std::size_t FEWEST = 16;  // leaves; with fewer, finding the right ones costs more than it saves
    static constexpr std::size_t MOST = 16;    // keys a query; with more, so does putting the keys in order

    struct Image {
        std::size_t count;  // keys that may be chosen
        bool is_cut;        // its leaves are distinct enough to be visited one by one
    };

    LeafKeys(SearchShape shape, Metric metric, const int64_t* candidates, std::size_t count, std::size_t leaves)
        : Base(shape, metric, leaves * (LEAF / PANEL)),
          candidates_(candidates),
          num_candidates_(count),
          leaves_(leaves),
          balls_(shape.batch * leaves),
          centers_(shape.batch * leaves * shape.channels),
          images_(shape.batch) {}

    int64_t key_at(std::size_t i) const { return candidates_ ? candidates_[i] : int64_t(i); }

    void admit(std::size_t image) {
        int32_t* members = this->own_members(image);
        std::size_t count = 0, zeros = 0;
        for (std::size_t i = 0; i < num_candidates_; ++i) {
            const std::size_t key = key_at(i);
            if (this->admits(image, key, zeros)) members[count++] = key;
        }
        images_.get()[image] = {count, false};
        this->center(image, count);
    }

    void cut(std::size_t image) {
        Image& in = images_.get()[image];
        int32_t* members = this->own_members(image);
        const Points<T> keys = points(this->row(image, 0), this->norms(image));
        if (in.count < FEWEST * LEAF || in.count > MOST * shape_.queries) return;
        if (!lies_together(keys, members, in.count)) return;
        const std::vector<int32_t> ascending(members, members + in.count);
        Halving<T>(keys, LEAF).order(members, in.count);
        in.is_cut = true;
        for (std::size_t leaf = 0; leaf < leaves(image); ++leaf) pack_leaf(image, leaf);
        if (share_apart(image) > 0.1) return;
        in.is_cut = false;
        std::copy(ascending.begin(), ascending.end(), members);
    }

    void pack_leaf(std::size_t image, std::size_t leaf) {
        const Image& in = images_.get()[image];
        const std::size_t first = leaf * LEAF, end = std::min(first + LEAF, in.count);
        if (first >= in.count) return;
        Base::pack(image, first, end);
        if (!in.is_cut) return;
        Ball<S>& ball = balls_.get()[image * leaves_ + leaf];
        ball.center = centers_.get() + (image * leaves_ + leaf) * shape_.channels;
        enclose(ball, this->panel(image, first / PANEL), end - first, shape_.channels);
    }

    // The share of leaves that a bound excludes for a key of another leaf, estimated from a few.
    double share_apart(std::size_t image) const {
        constexpr std::size_t FEW = 16;
        const std::size_t count = leaves(image), step = ceil_div(count, FEW);
        std::size_t apart = 0, pairs = 0;
        for (std::size_t i = 0; i < count; i += step) {
            for (std::size_t j = 0; j < count; ++j, ++pairs) {
                const Ball<S>&a = ball(image, i), &b = ball(image, j);
                const double square = exact_sum<SquaredDifference>(a.center, b.center, shape_.channels);
                apart += std::sqrt(square) > double(a.radius) + b.radius;
            }
        }
        return double(apart) / pairs;
    }

    using Base::metric_;
    using Base::shape_;
    const int64_t* candidates_;
    std::size_t num_candidates_, leaves_;
    Buffer<Ball<S>> balls_;
    Buffer<S> centers_;  // of balls
    Buffer<Image> images_;
};

}  // namespace convnn
