// Vectors of the instruction set for which this file is compiled, and the inner loop of all matrix products.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace convnn {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
constexpr int TILE_ROWS = 8;  // 16 accumulators in 32 registers; more row pointers than general registers would spill
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
constexpr int TILE_ROWS = 6;  // 12 accumulators in 16 registers
#else
constexpr int VECTOR_BYTES = 16;
constexpr int TILE_ROWS = 6;
#endif

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(VECTOR_BYTES)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr int LANES = VECTOR_BYTES / sizeof(T);

// Columns of a tile: two vectors, so that each broadcast is used twice.
template <class T>
constexpr int TILE_COLUMNS = 2 * LANES<T>;

template <class T>
inline Vector<T> load(const T* from) {
    Vector<T> v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}

template <class T>
inline void store(T* to, Vector<T> v) {
    __builtin_memcpy(to, &v, sizeof v);
}

// The first numbers of a vector, and zeros after them.
template <class T>
inline Vector<T> load_some(const T* from, std::size_t count) {
    if (count >= std::size_t(LANES<T>)) return load(from);
    Vector<T> v{};
    for (std::size_t i = 0; i < count; ++i) v[i] = from[i];
    return v;
}

template <class T>
inline void store_some(T* to, Vector<T> v, std::size_t count) {
    if (count >= std::size_t(LANES<T>)) return store(to, v);
    for (std::size_t i = 0; i < count; ++i) to[i] = v[i];
}

// Asks for numbers that are needed soon: the processor foresees one stream of rows, not many.
template <class T>
inline void prefetch(const T* from, std::size_t count) {
    for (std::size_t i = 0; i < count; i += 64 / sizeof(T)) __builtin_prefetch(from + i);
}

// a * b + c, rounded once if the instruction set supports it. The compiler does not fuse operations by itself (see
// CMakeLists.txt): it might in one copy of a loop and not in another, and a sum must have the same bits in all copies.
#if defined(__AVX512F__)
inline Vector<float> fused(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector<double> fused(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__AVX2__)
inline Vector<float> fused(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector<double> fused(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm256_fmadd_pd(a, b, c); }
#else
template <class V>
inline V fused(V a, V b, V c) {
    return a * b + c;
}
#endif
#if defined(__AVX2__)  // numbers after the last whole vector
inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
#endif

#if defined(__AVX512F__)
inline Vector<float> square_root(Vector<float> v) { return _mm512_sqrt_ps(v); }
inline Vector<double> square_root(Vector<double> v) { return _mm512_sqrt_pd(v); }
#elif defined(__AVX2__)
inline Vector<float> square_root(Vector<float> v) { return _mm256_sqrt_ps(v); }
inline Vector<double> square_root(Vector<double> v) { return _mm256_sqrt_pd(v); }
#else
template <class V>
inline V square_root(V v) {
    for (std::size_t i = 0; i < sizeof v / sizeof v[0]; ++i) v[i] = std::sqrt(v[i]);
    return v;
}
#endif

template <class T>
inline Vector<T> broadcast(T number) {
    return number - Vector<T>{};
}

// e to the power of numbers that are at most 0, or NaN. For float32: 2^n times a polynomial, with an error of 2 units in the
// last place; numbers below -87 give 0.
inline Vector<float> power_of_e(Vector<float> x) {
    typedef int32_t Integers __attribute__((vector_size(VECTOR_BYTES)));
    const Vector<float> low = broadcast(-87.0f), bounded = x < low ? low : x;
    const Integers n = __builtin_convertvector(bounded * 1.44269504f - 0.5f, Integers);  // rounded, as x <= 0
    const Vector<float> whole = __builtin_convertvector(n, Vector<float>);
    const Vector<float> rest = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2 in two parts
    Vector<float> p = broadcast(1.9875691500e-4f);
    for (const float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = fused(p, rest, broadcast(coefficient));
    p = fused(p, rest * rest, rest) + 1.0f;
    const Vector<float> scale = reinterpret_cast<Vector<float>>((n + 127) << 23);
    return x < low ? Vector<float>{} : p * scale;
}
// For float64 the polynomial is Taylor's, of degree 13; numbers below -708 give 0. The number that is added and taken away
// leaves an integer in the low bits.
inline Vector<double> power_of_e(Vector<double> x) {
    typedef int64_t Integers __attribute__((vector_size(VECTOR_BYTES)));
    const Vector<double> low = broadcast(-708.0), bounded = x < low ? low : x, integers = broadcast(0x1.8p52);
    const Vector<double> shifted = bounded * 1.4426950408889634 + integers, whole = shifted - integers;
    const Vector<double> rest = (bounded - whole * 6.93147180369123816490e-01) - whole * 1.90821492927058770002e-10;
    Vector<double> p = broadcast(1 / 6227020800.0);
    for (const double factorial : {479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0})
        p = fused(p, rest, broadcast(1 / factorial));
    p = fused(p, rest * rest, rest) + 1.0;
    const Vector<double> scale = reinterpret_cast<Vector<double>>((reinterpret_cast<Integers>(shifted) + 1023) << 52);
    return x < low ? Vector<double>{} : p * scale;
}

// Whether a number lies below zero; NaN does not.
template <class V>
inline bool any_negative(V v) {
    bool found = false;
    for (std::size_t lane = 0; lane < sizeof v / sizeof v[0]; ++lane) found |= v[lane] < 0;
    return found;
}

enum class Start { at_zero, at_sums };

// The term of a pair of numbers in a sum.
struct Product {
    template <class V>
    static V add(V sum, V a, V b) {
        return fused(a, b, sum);
    }
};
struct SquaredDifference {
    template <class V>
    static V add(V sum, V a, V b) {
        return fused(a - b, a - b, sum);
    }
};

// sums[r][:] = start + sum_i Term(rows[r][i * STRIDE], panel[i][:]) for i in 0 .. count-1, always added in this order;
// sums is a tile of (TILE_ROWS, TILE_COLUMNS). The rows may be anywhere in memory: neighbours are multiplied in place,
// without gathering them first. Not inlined, because the compiler would run out of registers and spill sums inside the
// loop.
template <Start START, int STRIDE, class Term = Product, class T>
[[gnu::noinline]] void multiply(T* sums, const T* const* rows, std::size_t count, const T* panel) {
    constexpr int COLUMNS = TILE_COLUMNS<T>;
    const T* row[TILE_ROWS];
    Vector<T> left[TILE_ROWS], right[TILE_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
        row[r] = rows[r];
        left[r] = START == Start::at_zero ? Vector<T>{} : load(sums + r * COLUMNS);
        right[r] = START == Start::at_zero ? Vector<T>{} : load(sums + r * COLUMNS + LANES<T>);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const Vector<T> l = load(panel + i * COLUMNS), h = load(panel + i * COLUMNS + LANES<T>);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; ++r) {
            const Vector<T> number = broadcast(row[r][i * STRIDE]);
            left[r] = Term::add(left[r], number, l);
            right[r] = Term::add(right[r], number, h);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
        store(sums + r * COLUMNS, left[r]);
        store(sums + r * COLUMNS + LANES<T>, right[r]);
    }
}

// sums[r][:] += sum_i rows[i][column + r] panel[i * step][:], the product of a transposed matrix; otherwise as `multiply`.
template <class T>
[[gnu::noinline]] void multiply_transposed(T* sums, const T* const* rows, std::size_t column, std::size_t count,
                                           const T* panel, std::size_t step) {
    constexpr int COLUMNS = TILE_COLUMNS<T>;
    Vector<T> left[TILE_ROWS], right[TILE_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
        left[r] = load(sums + r * COLUMNS);
        right[r] = load(sums + r * COLUMNS + LANES<T>);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const T* row = rows[i] + column;
        const Vector<T> l = load(panel + i * step), h = load(panel + i * step + LANES<T>);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; ++r) {
            const Vector<T> number = broadcast(row[r]);
            left[r] = fused(number, l, left[r]);
            right[r] = fused(number, h, right[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
        store(sums + r * COLUMNS, left[r]);
        store(sums + r * COLUMNS + LANES<T>, right[r]);
    }
}

// Transposes the square of LANES vectors: log2(LANES) perfect shuffles of the rows.
template <class T, int... I>
inline void shuffle_rows(Vector<T>* rows, std::integer_sequence<int, I...>) {
    constexpr int HALF = LANES<T> / 2;
    Vector<T> out[LANES<T>];
#pragma GCC unroll 8
    for (int i = 0; i < HALF; ++i) {
        const Vector<T> a = rows[i], b = rows[i + HALF];
        out[2 * i] = Vector<T>{(I % 2 ? b[I / 2] : a[I / 2])...};
        out[2 * i + 1] = Vector<T>{(I % 2 ? b[HALF + I / 2] : a[HALF + I / 2])...};
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES<T>; ++i) rows[i] = out[i];
}

template <class T>
inline void transpose(Vector<T>* rows) {
#pragma GCC unroll 4
    for (int n = 1; n < LANES<T>; n *= 2) shuffle_rows<T>(rows, std::make_integer_sequence<int, LANES<T>>{});
}

}  // namespace convnn
