// Threads and their memory. Tasks depend on shapes only, never on the number of threads: every sum is added in the same
// order on any machine, and results are bitwise equal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace convnn {

inline std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

inline std::size_t round_up(std::size_t a, std::size_t to) { return ceil_div(a, to) * to; }

// Memory aligned to cache lines, allocated before threads start, so that a failure can be reported.
template <class T>
class Buffer {
   public:
    explicit Buffer(std::size_t size) : data_(static_cast<T*>(::operator new(size * sizeof(T), ALIGNMENT))) {}
    ~Buffer() { ::operator delete(data_, ALIGNMENT); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* get() const { return data_; }

   private:
    static constexpr std::align_val_t ALIGNMENT{64};
    T* data_;
};

// Scratch memory for each thread.
template <class T>
class Scratch {
   public:
    Scratch(std::size_t size, int threads) : stride_(round_up(size, 64)), buffer_(stride_ * threads) {}
    T* get(int thread) const { return buffer_.get() + stride_ * thread; }

   private:
    std::size_t stride_;
    Buffer<T> buffer_;
};

// Calls task(index, thread) for index 0 .. count-1; the next free thread takes the next task.
template <class Task>
void parallel_for(std::size_t count, int threads, const Task& task) {
#ifdef _OPENMP
    if (threads > 1 && count > 1) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (std::size_t i = 0; i < count; ++i) task(i, omp_get_thread_num());
        return;
    }
#endif
    for (std::size_t i = 0; i < count; ++i) task(i, 0);
}

// Calls task(row) for every row, several rows per task.
template <class Task>
void parallel_for_rows(std::size_t rows, int threads, const Task& task) {
    constexpr std::size_t BLOCK = 64;
    parallel_for(ceil_div(rows, BLOCK), threads, [&](std::size_t i, int) {
        for (std::size_t row = i * BLOCK; row < std::min(rows, (i + 1) * BLOCK); ++row) task(row);
    });
}

}  // namespace convnn
