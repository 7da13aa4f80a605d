// The gated delta rule: a state (V, D) into which every token writes, and from which it reads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "parallel.h"
#include "simd.h"

namespace convnn {

struct DeltaShape {
    std::size_t sequences, length, keys, values;
};
template <class T>
struct DeltaInputs {
    const T *r, *k, *v, *log_decay, *a, *b, *state;
};
template <class T>
struct DeltaGradients {
    T *r, *k, *v, *log_decay, *a, *b, *state;
};

// Rows of a state are padded to whole vectors, and their number to a multiple of ROWS: those are computed together.
template <class T>
class DeltaRule {
   public:
    DeltaRule(const DeltaShape& shape, int threads)
        : s_(shape), threads_(threads), width_(round_up(shape.keys, LANES<T>)), rows_(round_up(shape.values, ROWS)) {}

    void forward(const DeltaInputs<T>& in, T* out, T* last) const {
        const Scratch<T> scratch(state_size() + token_size() + 2 * rows_, threads_);
        parallel_for(s_.sequences, threads_, [&](std::size_t n, int thread) {
            T* state = scratch.get(thread);
            Token token(*this, state + state_size());
            T *u = token.end(), *o = u + rows_;
            read_state(state, in.state, n);
            for (std::size_t t = 0; t < s_.length; ++t) {
                token.load(in, n * s_.length + t);
                step(state, state, token, u);
                for (std::size_t i = 0; i < rows_; i += ROWS) products(state + i * width_, token.r, o + i);
                std::copy(o, o + s_.values, out + (n * s_.length + t) * s_.values);
            }
            write_state(last, state, n);
        });
    }

    // States are computed again: once to keep about sqrt(T) of them, then those of one chunk after the other.
    void backward(const T* grad, const T* grad_last, const DeltaInputs<T>& in, const DeltaGradients<T>& to) const {
        const std::size_t chunk = std::max<std::size_t>(1, std::ceil(std::sqrt(double(s_.length))));
        const std::size_t chunks = ceil_div(s_.length, chunk);
        const std::size_t states = chunks + chunk + 2;
        const Scratch<T> scratch(states * state_size() + 2 * token_size() + (chunk + 3) * rows_, threads_);
        parallel_for(s_.sequences, threads_, [&](std::size_t n, int thread) {
            T* kept = scratch.get(thread);
            T* within = kept + chunks * state_size();
            T* of_state = within + (chunk + 1) * state_size();
            Token token(*this, of_state + state_size()), gradients(*this, token.end());
            T *u = gradients.end(), *g = u + chunk * rows_, *p = g + rows_;
            read_state(within, in.state, n);
            for (std::size_t c = 0; c < chunks; ++c) {
                std::copy(within, within + state_size(), kept + c * state_size());
                for (std::size_t t = c * chunk; c + 1 < chunks && t < (c + 1) * chunk; ++t) {
                    token.load(in, n * s_.length + t);
                    step(within, within, token, u);
                }
            }
            read_state(of_state, grad_last, n);
            for (std::size_t c = chunks; c-- > 0;) {
                const std::size_t start = c * chunk, end = std::min(s_.length, start + chunk);
                std::copy(kept + c * state_size(), kept + (c + 1) * state_size(), within);
                for (std::size_t t = start; t < end; ++t) {
                    token.load(in, n * s_.length + t);
                    const T* before = within + (t - start) * state_size();
                    step(before, within + (t - start + 1) * state_size(), token, u + (t - start) * rows_);
                }
                for (std::size_t t = end; t-- > start;) {
                    const std::size_t at = n * s_.length + t;
                    token.load(in, at);
                    read_row(g, grad + at * s_.values, s_.values, rows_);
                    gradients.clear();
                    const T* before = within + (t - start) * state_size();
                    step_back(of_state, before, token, u + (t - start) * rows_, g, p, gradients);
                    gradients.store(to, at, token);
                }
            }
            write_state(to.state, of_state, n);
        });
    }

   private:
    static constexpr std::size_t ROWS = 4;

    DeltaShape s_;
    int threads_;
    std::size_t width_, rows_;

    std::size_t state_size() const { return rows_ * width_; }
    std::size_t token_size() const { return 5 * width_ + rows_; }

    static void read_row(T* row, const T* from, std::size_t count, std::size_t padded) {
        std::copy(from, from + count, row);
        std::fill(row + count, row + padded, T(0));
    }

    // The vectors of a token, or their gradients, filled up with zeros.
    struct Token {
        const DeltaRule& rule;
        T *r, *k, *decay, *a, *b, *v;

        Token(const DeltaRule& rule, T* at)
            : rule(rule), r(at), k(r + rule.width_), decay(k + rule.width_), a(decay + rule.width_), b(a + rule.width_),
              v(b + rule.width_) {}

        T* end() const { return v + rule.rows_; }

        void load(const DeltaInputs<T>& in, std::size_t at) {
            const std::size_t keys = rule.s_.keys, width = rule.width_;
            read_row(r, in.r + at * keys, keys, width);
            read_row(k, in.k + at * keys, keys, width);
            read_row(decay, in.log_decay + at * keys, keys, width);
            read_row(a, in.a + at * keys, keys, width);
            read_row(b, in.b + at * keys, keys, width);
            read_row(v, in.v + at * rule.s_.values, rule.s_.values, rule.rows_);
            for (std::size_t c = 0; c < width; c += LANES<T>) convnn::store(decay + c, power_of_e(convnn::load(decay + c)));
        }

        void clear() { std::fill(r, end(), T(0)); }

        // Those of the decays are times the decays of the token.
        void store(const DeltaGradients<T>& to, std::size_t at, const Token& token) const {
            const std::size_t keys = rule.s_.keys;
            std::copy(r, r + keys, to.r + at * keys);
            std::copy(k, k + keys, to.k + at * keys);
            std::copy(a, a + keys, to.a + at * keys);
            std::copy(b, b + keys, to.b + at * keys);
            std::copy(v, v + rule.s_.values, to.v + at * rule.s_.values);
            for (std::size_t c = 0; c < keys; ++c) to.log_decay[at * keys + c] = decay[c] * token.decay[c];
        }
    };

    void read_state(T* state, const T* from, std::size_t n) const {
        std::fill(state, state + state_size(), T(0));
        for (std::size_t i = 0; i < s_.values; ++i)
            read_row(state + i * width_, from + (n * s_.values + i) * s_.keys, s_.keys, width_);
    }

    void write_state(T* to, const T* state, std::size_t n) const {
        for (std::size_t i = 0; i < s_.values; ++i)
            std::copy(state + i * width_, state + i * width_ + s_.keys, to + (n * s_.values + i) * s_.keys);
    }

    static T sum(Vector<T> lanes) {
        T parts[LANES<T>];
        convnn::store(parts, lanes);
        for (int half = LANES<T> / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
        return parts[0];
    }

    // The products of ROWS rows of a state with a vector.
    void products(const T* state, const T* vector, T* out) const {
        Vector<T> sums[ROWS]{};
        for (std::size_t c = 0; c < width_; c += LANES<T>) {
            const Vector<T> x = load(vector + c);
            for (std::size_t i = 0; i < ROWS; ++i) sums[i] = fused(load(state + i * width_ + c), x, sums[i]);
        }
        for (std::size_t i = 0; i < ROWS; ++i) out[i] = sum(sums[i]);
    }

    // after = before diag(decay) + u b^T + v k^T with u = before a
    void step(const T* before, T* after, const Token& token, T* u) const {
        for (std::size_t first = 0; first < rows_; first += ROWS) {
            products(before + first * width_, token.a, u + first);
            for (std::size_t c = 0; c < width_; c += LANES<T>) {
                const Vector<T> decay = load(token.decay + c), b = load(token.b + c), k = load(token.k + c);
                for (std::size_t i = first; i < first + ROWS; ++i) {
                    const Vector<T> written = fused(broadcast(u[i]), b, broadcast(token.v[i]) * k);
                    store(after + i * width_ + c, fused(load(before + i * width_ + c), decay, written));
                }
            }
        }
    }

    // Turns the gradient of the state after a token, without what it reads, into that of the state before it.
    void step_back(T* of_state, const T* before, const Token& token, const T* u, const T* g, T* p, Token& to) const {
        const T* after = before + state_size();
        for (std::size_t first = 0; first < rows_; first += ROWS) {
            Vector<T> of_u[ROWS]{}, of_v[ROWS]{};
            for (std::size_t c = 0; c < width_; c += LANES<T>) {
                const Vector<T> r = load(token.r + c), k = load(token.k + c), b = load(token.b + c);
                Vector<T> of_r = load(to.r + c), of_k = load(to.k + c), of_b = load(to.b + c);
                for (std::size_t i = 0; i < ROWS; ++i) {
                    T* row = of_state + (first + i) * width_ + c;
                    const Vector<T> read = broadcast(g[first + i]), whole = fused(read, r, load(row));
                    store(row, whole);
                    of_r = fused(read, load(after + (first + i) * width_ + c), of_r);
                    of_k = fused(broadcast(token.v[first + i]), whole, of_k);
                    of_b = fused(broadcast(u[first + i]), whole, of_b);
                    of_u[i] = fused(whole, b, of_u[i]);
                    of_v[i] = fused(whole, k, of_v[i]);
                }
                store(to.r + c, of_r);
                store(to.k + c, of_k);
                store(to.b + c, of_b);
            }
            for (std::size_t i = 0; i < ROWS; ++i) {
                p[first + i] = sum(of_u[i]);
                to.v[first + i] = sum(of_v[i]);
            }
            for (std::size_t c = 0; c < width_; c += LANES<T>) {
                const Vector<T> decay = load(token.decay + c), a = load(token.a + c);
                Vector<T> of_a = load(to.a + c), of_decay = load(to.decay + c);
                for (std::size_t i = first; i < first + ROWS; ++i) {
                    T* row = of_state + i * width_ + c;
                    const Vector<T> old = load(before + i * width_ + c), whole = load(row), from_u = broadcast(p[i]);
                    of_a = fused(from_u, old, of_a);
                    of_decay = fused(old, whole, of_decay);
                    store(row, fused(whole, decay, from_u * a));
                }
                store(to.a + c, of_a);
                store(to.decay + c, of_decay);
            }
        }
    }
};

}  // namespace convnn
