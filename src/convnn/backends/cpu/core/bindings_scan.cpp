// The scans, for the module of bindings.cpp.
#include "arrays.h"
#include "bi_wkv.h"
#include "delta_rule.h"

namespace nb = nanobind;

namespace convnn {
namespace {

template <class T>
using Rows = Array<const T, 3>;

template <class T>
void bi_wkv(Rows<T> key, Rows<T> value, Array<const T, 1> decay, Array<const T, 1> first, Array<T, 3> out,
            Array<T, 3> logs, int threads) {
    nb::gil_scoped_release release;
    const BiWkv<T> scan({key.shape(0), key.shape(1), key.shape(2)}, decay.data(), first.data(), threads);
    scan.forward(key.data(), value.data(), out.data(), logs.data());
}

template <class T>
void bi_wkv_backward(Rows<T> grad, Rows<T> taken, Rows<T> logs, Rows<T> key, Rows<T> value, Array<const T, 1> decay,
                     Array<const T, 1> first, Array<T, 3> grad_key, Array<T, 3> grad_value, Array<T, 2> grad_decay,
                     Array<T, 2> grad_first, int threads) {
    nb::gil_scoped_release release;
    const BiWkv<T> scan({key.shape(0), key.shape(1), key.shape(2)}, decay.data(), first.data(), threads);
    scan.backward({grad.data(), taken.data(), logs.data(), key.data(), value.data()},
                  {grad_key.data(), grad_value.data(), grad_decay.data(), grad_first.data()});
}

template <class T>
DeltaRule<T> rule_of(const Rows<T>& r, const Rows<T>& v, int threads) {
    return DeltaRule<T>({r.shape(0), r.shape(1), r.shape(2), v.shape(2)}, threads);
}

template <class T>
void delta_rule(Rows<T> r, Rows<T> k, Rows<T> v, Rows<T> log_decay, Rows<T> a, Rows<T> b, Rows<T> state,
                Array<T, 3> out, Array<T, 3> last, int threads) {
    nb::gil_scoped_release release;
    const DeltaInputs<T> inputs{r.data(), k.data(), v.data(), log_decay.data(), a.data(), b.data(), state.data()};
    rule_of<T>(r, v, threads).forward(inputs, out.data(), last.data());
}

template <class T>
void delta_rule_backward(Rows<T> grad, Rows<T> grad_last, Rows<T> r, Rows<T> k, Rows<T> v, Rows<T> log_decay,
                         Rows<T> a, Rows<T> b, Rows<T> state, Array<T, 3> grad_r, Array<T, 3> grad_k,
                         Array<T, 3> grad_v, Array<T, 3> grad_decay, Array<T, 3> grad_a, Array<T, 3> grad_b,
                         Array<T, 3> grad_state, int threads) {
    nb::gil_scoped_release release;
    const DeltaInputs<T> inputs{r.data(), k.data(), v.data(), log_decay.data(), a.data(), b.data(), state.data()};
    const DeltaGradients<T> gradients{grad_r.data(), grad_k.data(), grad_v.data(),    grad_decay.data(),
                                      grad_a.data(), grad_b.data(), grad_state.data()};
    rule_of<T>(r, v, threads).backward(grad.data(), grad_last.data(), inputs, gradients);
}

template <class T>
void define(nb::module_& m) {
    // The first array decides between the types; Python has made all of one.
    m.def("bi_wkv", &bi_wkv<T>);
    m.def("bi_wkv_backward", &bi_wkv_backward<T>);
    m.def("delta_rule", &delta_rule<T>);
    m.def("delta_rule_backward", &delta_rule_backward<T>);
}

}  // namespace

void define_scans(nb::module_& m) {
    define<float>(m);
    define<double>(m);
}

}  // namespace convnn
