// Bidirectional WKV: in every channel, means over all tokens with weights that decay to both sides.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "parallel.h"
#include "simd.h"

namespace convnn {

// The logarithm of numbers of at least 1; of float32 with an error of 2 units in the last place.
inline Vector<float> logarithm(Vector<float> x) {
    typedef int32_t Integers __attribute__((vector_size(VECTOR_BYTES)));
    const Integers bits = reinterpret_cast<Integers>(x);
    const Integers up = (bits >> 22) & 1;  // 1.5 to 2 count as 0.75 to 1 of the next power of 2
    const Vector<float> power = __builtin_convertvector((bits >> 23) - 127 + up, Vector<float>);
    const Vector<float> rest = reinterpret_cast<Vector<float>>((bits & 0x7FFFFF) | ((127 - up) << 23)) - 1.0f;
    const Vector<float> square = rest * rest;
    Vector<float> p = broadcast(7.0376836292e-2f);
    for (const float coefficient : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                                    -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
        p = fused(p, rest, broadcast(coefficient));
    p = p * rest * square + power * -2.12194440e-4f - 0.5f * square;
    return x < 3.4e38f ? rest + p + power * 0.693359375f : x;  // also NaN
}
inline Vector<double> logarithm(Vector<double> x) {
    for (int lane = 0; lane < LANES<double>; ++lane) x[lane] = std::log(x[lane]);
    return x;
}

// Sums over the tokens on one side of a position, in as many channels as a vector has lanes. Weights are relative to the
// largest, and to a place that was passed `steps` ago: no number is rounded at every step.
template <class T, int SUMS>
struct Side {
    Vector<T> highest, sums[SUMS];  // highest: the logarithm of the largest weight, at that place
    T steps;

    static Side nothing() { return {broadcast(T(-1e30)), {}, 0}; }

    // The logarithm of the largest weight at the current position.
    Vector<T> level(Vector<T> decay) const { return highest - decay * steps; }

    // Passes a token with this logarithm of its weight; the steps count from a new place after `period` of them.
    void pass(Vector<T> log, const Vector<T>* terms, Vector<T> decay, T period) {
        steps += 1;
        log = fused(decay, broadcast(steps), log);
        const Vector<T> rise = log - highest;
        const auto higher = rise > Vector<T>{};
        const Vector<T> one = broadcast(T(1)), less = power_of_e(higher ? -rise : rise);
        const Vector<T> keep = higher ? less : one, take = higher ? one : less;
        highest = higher ? log : highest;
        for (int i = 0; i < SUMS; ++i) sums[i] = fused(sums[i], keep, take * terms[i]);
        if (steps >= period) {
            highest = level(decay);
            steps = 0;
        }
    }
};

struct ScanShape {
    std::size_t batch, length, channels;
};
template <class T>
struct BiWkvInputs {
    const T *grad, *taken, *logs, *key, *value;
};
template <class T>
struct BiWkvGradients {
    T *key, *value, *decay, *first;  // (B, T, C) twice, (B, C) twice
};

// Two passes: from the right, which keeps what lies beyond each chunk, then chunk by chunk from the left.
template <class T>
class BiWkv {
   public:
    BiWkv(ScanShape shape, const T* decay, const T* first, int threads)
        : s_(shape), decay_(decay), first_(first), threads_(threads), chunks_(ceil_div(shape.length, CHUNK)) {}

    // out, logs (B, T, C) from key, value (B, T, C): means, and the logarithms of the sums of their weights.
    void forward(const T* key, const T* value, T* out, T* logs) const {
        run<2>([&](Lanes* first, Lanes* end) {
            const auto log_of = [&](const Lanes& l, std::size_t t) { return l.load(key, t); };
            const auto terms_of = [&](const Lanes& l, std::size_t t, Vector<T>* terms) {
                terms[0] = l.load(value, t);
                terms[1] = broadcast(T(1));
            };
            const auto finish = [&](Lanes& l, std::size_t t, const Side<T, 2>& left, const Side<T, 2>& right) {
                const Vector<T> own = l.load(key, t) + l.first, on_left = left.level(l.decay), on_right = right.level(l.decay);
                Vector<T> top = on_left > on_right ? on_left : on_right;
                top = own > top ? own : top;
                const Vector<T> a = power_of_e(on_left - top), b = power_of_e(on_right - top), c = power_of_e(own - top);
                const Vector<T> sum = fused(a, left.sums[1], fused(b, right.sums[1], c));
                l.store(out, t, fused(a, left.sums[0], fused(b, right.sums[0], c * l.load(value, t))) / sum);
                l.store(logs, t, top + logarithm(sum));
            };
            const auto fetch = [&](const Lanes& l, std::size_t t) { l.fetch(t, key, value, out, logs); };
            scan<2>(first, end, log_of, terms_of, [](Side<T, 2>&) {}, finish, fetch);
        });
    }

    // The weight of token i in the mean at t, e^(k_i - log_t - distance), is summed over t by scans of -log. The two
    // sums of `grad` and `taken` are followed by two in which each position counts as often as there are tokens between.
    void backward(const BiWkvInputs<T>& in, const BiWkvGradients<T>& to) const {
        run<4>([&](Lanes* first, Lanes* end) {
            const auto log_of = [&](const Lanes& l, std::size_t t) { return -l.load(in.logs, t); };
            const auto terms_of = [&](const Lanes& l, std::size_t t, Vector<T>* terms) {
                terms[0] = l.load(in.grad, t);
                terms[1] = l.load(in.taken, t);
                terms[2] = terms[3] = Vector<T>{};
            };
            const auto before = [](Side<T, 4>& side) {
                side.sums[2] += side.sums[0];
                side.sums[3] += side.sums[1];
            };
            const auto finish = [&](Lanes& l, std::size_t t, const Side<T, 4>& left, const Side<T, 4>& right) {
                const Vector<T> k = l.load(in.key, t), v = l.load(in.value, t);
                const Vector<T> grad = l.load(in.grad, t), taken = l.load(in.taken, t);
                const Vector<T> a = power_of_e(k + left.level(l.decay)), b = power_of_e(k + right.level(l.decay));
                const Vector<T> c = power_of_e(k + l.first - l.load(in.logs, t));
                const auto both = [&](int i) { return fused(a, left.sums[i], b * right.sums[i]); };
                const Vector<T> value = fused(c, grad, both(0));
                l.store(to.value, t, value);
                l.store(to.key, t, fused(v, value, -fused(c, taken, both(1))));
                l.chunk_decay += both(3) - v * both(2);
                l.chunk_first += c * fused(grad, v, -taken);
                if (t % CHUNK == CHUNK - 1 || t + 1 == s_.length) l.add_chunk();
            };
            const auto fetch = [&](const Lanes& l, std::size_t t) {
                l.fetch(t, in.logs, in.grad, in.taken, in.key, in.value, to.key, to.value);
            };
            scan<4>(first, end, log_of, terms_of, before, finish, fetch);
            for (Lanes* l = first; l < end; ++l) {
                l->store_sum(to.decay, l->of_decay);
                l->store_sum(to.first, l->of_first);
            }
        });
    }

   private:
    static constexpr std::size_t CHUNK = 32, TOGETHER = 4;
    static constexpr T EXACT = 16;  // a decay up to which logarithms of weights lose little

    // As many channels of one sequence as a vector has lanes.
    struct Lanes {
        std::size_t offset, stride, count, of_sums;
        std::byte* scratch;
        Vector<T> decay, first;
        T period;
        Vector<T> of_decay, of_first, chunk_decay, chunk_first;

        Vector<T> load(const T* from, std::size_t t) const { return load_some(from + offset + t * stride, count); }
        void store(T* to, std::size_t t, Vector<T> v) const { store_some(to + offset + t * stride, v, count); }
        // Rows lie far apart, and the processor does not foresee them.
        template <class... P>
        void fetch(std::size_t t, P*... from) const {
            (__builtin_prefetch(from + offset + t * stride), ...);
        }
        void store_sum(T* to, Vector<T> v) const { store_some(to + of_sums, v, count); }
        void add_chunk() {  // adding few numbers to a large sum loses less than adding many
            of_decay += chunk_decay;
            of_first += chunk_first;
            chunk_decay = chunk_first = Vector<T>{};
        }
    };

    // A task takes some vectors of channels that lie side by side, so that the memory of a row comes in longer pieces; the
    // number of tasks is even, if it can be.
    template <int SUMS, class Task>
    void run(const Task& task) const {
        const std::size_t size = (chunks_ + CHUNK) * sizeof(Side<T, SUMS>), vectors = ceil_div(s_.channels, LANES<T>);
        const std::size_t together = ceil_div(vectors, round_up(ceil_div(vectors, TOGETHER), 2));
        const std::size_t groups = ceil_div(vectors, together);
        const Scratch<std::byte> scratch(together * size, threads_);
        parallel_for(s_.batch * groups, threads_, [&](std::size_t i, int thread) {
            Lanes lanes[TOGETHER];
            const std::size_t first = i % groups * together, end = std::min(vectors, first + together);
            for (std::size_t v = first; v < end; ++v)
                lanes[v - first] = lanes_of(i / groups, v * LANES<T>, scratch.get(thread) + (v - first) * size);
            task(lanes, lanes + (end - first));
        });
    }

    Lanes lanes_of(std::size_t sequence, std::size_t c, std::byte* scratch) const {
        const std::size_t count = std::min<std::size_t>(LANES<T>, s_.channels - c);
        Lanes l{sequence * s_.length * s_.channels + c, s_.channels, count, sequence * s_.channels + c, scratch};
        l.decay = load_some(decay_ + c, count);
        l.first = load_some(first_ + c, count);
        T largest = 0;
        for (std::size_t lane = 0; lane < count; ++lane) largest = std::max(largest, std::abs(l.decay[lane]));
        l.period = std::max(T(1), EXACT / largest);  // infinite without decay
        return l;
    }

    // finish(lanes, t, left, right) for every token, from left to right; before(side) precedes the passing of a token, and
    // fetch(lanes, t) its use by a chunk.
    template <int SUMS, class LogOf, class TermsOf, class Before, class Finish, class Fetch>
    void scan(Lanes* first, Lanes* end, const LogOf& log_of, const TermsOf& terms_of, const Before& before,
              const Finish& finish, const Fetch& fetch) const {
        using S = Side<T, SUMS>;
        const auto pass = [&](const Lanes& l, S& side, std::size_t t) {
            Vector<T> terms[SUMS];
            terms_of(l, t, terms);
            before(side);
            side.pass(log_of(l, t), terms, l.decay, l.period);
        };
        const auto beyond = [](const Lanes& l) { return reinterpret_cast<S*>(l.scratch); };  // of each chunk
        for (Lanes* l = first; l < end; ++l) beyond(*l)[chunks_ - 1] = S::nothing();
        for (std::size_t chunk = chunks_; --chunk > 0;)
            for (Lanes* l = first; l < end; ++l) {
                S right = beyond(*l)[chunk];
                for (std::size_t t = end_of(chunk); t-- > chunk * CHUNK;) {
                    fetch(*l, t - CHUNK);
                    pass(*l, right, t);
                }
                beyond(*l)[chunk - 1] = right;
            }
        S lefts[TOGETHER];
        std::fill(lefts, lefts + (end - first), S::nothing());
        for (std::size_t chunk = 0; chunk < chunks_; ++chunk)
            for (Lanes* l = first; l < end; ++l) {
                S *rights = beyond(*l) + chunks_, right = beyond(*l)[chunk], left = lefts[l - first];
                for (std::size_t t = end_of(chunk); t-- > chunk * CHUNK;) {
                    rights[t % CHUNK] = right;
                    pass(*l, right, t);
                }
                for (std::size_t t = chunk * CHUNK; t < end_of(chunk); ++t) {
                    if (t + CHUNK < s_.length) fetch(*l, t + CHUNK);
                    finish(*l, t, left, rights[t % CHUNK]);
                    pass(*l, left, t);
                }
                lefts[l - first] = left;
            }
    }

    std::size_t end_of(std::size_t chunk) const { return std::min(s_.length, (chunk + 1) * CHUNK); }

    ScanShape s_;
    const T *decay_, *first_;
    int threads_;
    std::size_t chunks_;
};

}  // namespace convnn
