// Products of kernel matrices, for the module of bindings.cpp.
#include <nanobind/stl/array.h>
#include <nanobind/stl/string_view.h>

#include <array>
#include <string_view>

#include "arrays.h"
#include "kernel_product.h"

namespace nb = nanobind;

namespace convnn {
namespace {

using Numbers = std::array<double, 3>;

template <class T, class Use>
void use_kernel(std::string_view name, const Numbers& numbers, const Use& use) {
    if (name == "gaussian") return use(GaussianKernel<T>{T(-0.5 / (numbers[0] * numbers[0]))});
    if (name == "laplace") return use(LaplaceKernel<T>{T(-1 / numbers[0])});
    if (name == "polynomial") return use(PolynomialKernel<T>{unsigned(numbers[0]), T(numbers[1]), T(numbers[2])});
    if (numbers[0] == 0) return use(ArcCosineKernel<T, 0>{});
    if (numbers[0] == 1) return use(ArcCosineKernel<T, 1>{});
    use(ArcCosineKernel<T, 2>{});
}

// Without v, out (n, m) is the kernel matrix itself.
template <class T>
void kernel_product(Array<const T, 2> X, Array<const T, 2> Y, Optional<const T, 2> v, std::string_view name,
                    Numbers numbers, Array<T, 2> out, int threads) {
    if (v && !v->shape(1)) return;
    nb::gil_scoped_release release;
    const KernelShape shape{X.shape(0), Y.shape(0), X.shape(1), v ? v->shape(1) : 0};
    use_kernel<T>(name, numbers, [&](auto function) {
        KernelProduct<T, decltype(function)>(shape, function, threads).run(X.data(), Y.data(), data(v), out.data());
    });
}

}  // namespace

void define_kernel_products(nb::module_& m) {
    using nb::arg;
    const auto define = [&](auto function) {
        m.def("kernel_product", function, arg("X").noconvert(), arg("Y").noconvert(), arg("v").none(), arg("name"),
              arg("numbers"), arg("out").noconvert(), arg("threads"));
    };
    define(&kernel_product<float>);
    define(&kernel_product<double>);
}

}  // namespace convnn
