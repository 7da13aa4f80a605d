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

// A tile of TILE_ROWS x TILE_COLUMNS sums, in registers.
template <class T>
struct Tile {
    Vector<T> sums[TILE_ROWS][2];

    void clear() {
        for (auto& row : sums) row[0] = row[1] = Vector<T>{};
    }
    void load_from(const T* from, std::size_t stride) {
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int v = 0; v < 2; ++v) sums[r][v] = load(from + r * stride + v * LANES<T>);
    }
    void store_to(T* to, std::size_t stride) const {
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int v = 0; v < 2; ++v) store(to + r * stride + v * LANES<T>, sums[r][v]);
    }
};

// tile[r][:] += sum_i rows[r][i * STRIDE] * panel[i][:] for i in 0 .. count-1, always added up in this order.
// The rows may lie anywhere: neighbours are multiplied where they are, without gathering them first.
template <int STRIDE, class T>
inline void multiply(Tile<T>& tile, const T* const* rows, std::size_t count, const T* panel) {
    const T* row[TILE_ROWS];
    Vector<T> sums[TILE_ROWS][2];
    for (int r = 0; r < TILE_ROWS; ++r) {
        row[r] = rows[r];
        for (int v = 0; v < 2; ++v) sums[r][v] = tile.sums[r][v];
    }
    for (std::size_t i = 0; i < count; ++i) {
        const Vector<T> left = load(panel + i * TILE_COLUMNS<T>);
        const Vector<T> right = load(panel + i * TILE_COLUMNS<T> + LANES<T>);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; ++r) {
            sums[r][0] += row[r][i * STRIDE] * left;
            sums[r][1] += row[r][i * STRIDE] * right;
        }
    }
    for (int r = 0; r < TILE_ROWS; ++r)
        for (int v = 0; v < 2; ++v) tile.sums[r][v] = sums[r][v];
}

}  // namespace convnn
