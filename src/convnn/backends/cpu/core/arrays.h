// Arrays that Python passes: contiguous, on the CPU, of a fixed number of axes.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>

namespace convnn {

template <class T, int DIMS>
using Array = nanobind::ndarray<T, nanobind::ndim<DIMS>, nanobind::c_contig, nanobind::device::cpu>;
template <class T, int DIMS>
using Optional = std::optional<Array<T, DIMS>>;

template <class A>
auto data(const std::optional<A>& array) {
    return array ? array->data() : nullptr;
}

void define_blocks(nanobind::module_& m);           // in bindings_blocks.cpp
void define_scans(nanobind::module_& m);            // in bindings_scan.cpp
void define_kernel_products(nanobind::module_& m);  // in bindings_kernel_product.cpp

}  // namespace convnn
