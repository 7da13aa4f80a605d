// Sliding windows for Python; a part of the module of bindings.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <optional>

#include "sliding_window.h"

namespace nb = nanobind;

namespace convnn {
namespace {

template <class T, int DIMS>
using Array = nb::ndarray<T, nb::ndim<DIMS>, nb::c_contig, nb::device::cpu>;
using Sides = std::array<std::ptrdiff_t, 3>;

// Of maps (B, C, *S) and a weight (C_out, C_in, *K) of which a group has C_in inputs.
template <class X, class W, class Y>
SlidingShape shape_of(const X& x, const W& weight, const Y& out, const Sides& padding, const Sides& dilation) {
    const std::size_t groups = x.shape(1) / weight.shape(1);
    SlidingShape shape{x.shape(0), groups, weight.shape(1), out.shape(1) / groups, {}};
    for (int i = 0; i < 3; ++i)
        shape.axes[i] = {std::ptrdiff_t(x.shape(i + 2)), std::ptrdiff_t(out.shape(i + 2)), std::ptrdiff_t(weight.shape(i + 2)),
                         1, padding[i], dilation[i], 0, 0, 0};
    return shape;
}

template <class T>
void sliding(Array<const T, 5> x, Array<const T, 5> weight, std::optional<Array<const T, 1>> bias, Sides padding,
             Sides dilation, Array<T, 5> out, int threads) {
    nb::gil_scoped_release release;
    const SlidingWindow<T> window(shape_of(x, weight, out, padding, dilation), threads);
    window.forward(x.data(), weight.data(), bias ? bias->data() : nullptr, out.data());
}

template <class T>
void sliding_weight(Array<const T, 5> grad, Array<const T, 5> x, Sides padding, Sides dilation, Array<T, 5> grad_weight,
                    int threads) {
    nb::gil_scoped_release release;
    const SlidingWindow<T> window(shape_of(x, grad_weight, grad, padding, dilation), threads);
    window.weight(grad.data(), x.data(), grad_weight.data());
}

template <class T>
void define(nb::module_& m) {
    using nb::arg;
    m.def("sliding", &sliding<T>, arg("x").noconvert(), arg("weight").noconvert(), arg("bias").noconvert().none(),
          arg("padding"), arg("dilation"), arg("out").noconvert(), arg("threads"));
    m.def("sliding_weight", &sliding_weight<T>, arg("grad").noconvert(), arg("x").noconvert(), arg("padding"),
          arg("dilation"), arg("grad_weight").noconvert(), arg("threads"));
}

}  // namespace

void define_sliding(nb::module_& m) {
    define<float>(m);
    define<double>(m);
}

}  // namespace convnn
