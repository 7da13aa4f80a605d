// Vectors of the instruction set this file is compiled for, and the one loop that all matrix products here end in.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convnn {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
constexpr int TILE_ROWS = 8;  // 16 accumulators of 32 registers; more row pointers than general registers would spill
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
constexpr int TILE_ROWS = 6;  // 12 accumulators of 16 registers
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

enum class Start { at_zero, at_sums };

// sums[r][:] = start + sum_i rows[r][i * STRIDE] * panel[i][:] for i in 0 .. count-1, always added up in this order; sums
// is a tile of (TILE_ROWS, TILE_COLUMNS). The rows may lie anywhere: neighbours are multiplied where they are, without
// gathering them first. Not inlined, or the compiler runs out of registers and spills sums inside the loop.
template <Start START, int STRIDE, class T>
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
            left[r] += row[r][i * STRIDE] * l;
            right[r] += row[r][i * STRIDE] * h;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
        store(sums + r * COLUMNS, left[r]);
        store(sums + r * COLUMNS + LANES<T>, right[r]);
    }
}

}  // namespace convnn
