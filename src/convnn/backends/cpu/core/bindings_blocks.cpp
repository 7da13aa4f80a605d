// Attention between blocks, for the module of bindings.cpp.
#include "arrays.h"
#include "block_attention.h"

namespace nb = nanobind;

namespace convnn {
namespace {

template <class T>
using Rows = Array<const T, 3>;
using Mask = Array<const bool, 3>;

template <class T>
BlockAttention<T> attention_of(const Rows<T>& queries, const Rows<T>& keys, const Rows<T>& values, const Mask& is_open,
                               std::size_t query_block, std::size_t key_block, int threads) {
    const BlockShape shape{queries.shape(0), queries.shape(1), keys.shape(1), keys.shape(2), values.shape(2), query_block, key_block};
    return {shape, queries.data(), keys.data(), values.data(), is_open.data(), threads};
}

template <class T>
void attend_to_blocks(Rows<T> queries, Rows<T> keys, Rows<T> values, Mask is_open, std::size_t query_block,
                      std::size_t key_block, Array<T, 3> out, Array<T, 2> logs, int threads) {
    nb::gil_scoped_release release;
    attention_of(queries, keys, values, is_open, query_block, key_block, threads).forward(out.data(), logs.data());
}

template <class T>
void attend_to_blocks_backward(Rows<T> grad, Array<const T, 2> taken, Array<const T, 2> logs, Rows<T> queries, Rows<T> keys,
                               Rows<T> values, Mask is_open, std::size_t query_block, std::size_t key_block,
                               Array<T, 3> grad_queries, Array<T, 3> grad_keys, Array<T, 3> grad_values, int threads) {
    nb::gil_scoped_release release;
    attention_of(queries, keys, values, is_open, query_block, key_block, threads)
        .backward(grad.data(), taken.data(), logs.data(), {grad_queries.data(), grad_keys.data(), grad_values.data()});
}

template <class T>
void define(nb::module_& m) {
    // The first array decides between the types; Python has made all of one.
    m.def("attend_to_blocks", &attend_to_blocks<T>);
    m.def("attend_to_blocks_backward", &attend_to_blocks_backward<T>);
}

}  // namespace

void define_blocks(nb::module_& m) {
    define<float>(m);
    define<double>(m);
}

}  // namespace convnn
