// The Python module, compiled once for each instruction set as a separate module, so that they share no code.
#include <nanobind/stl/array.h>
#include <nanobind/stl/string_view.h>

#include <array>
#include <stdexcept>
#include <string_view>

#include "arrays.h"
#include "choose.h"
#include "convolve.h"
#include "depthwise.h"
#include "depthwise_window.h"
#include "gradients.h"
#include "largest.h"
#include "lists.h"
#include "narrow.h"
#include "ragged.h"
#include "select.h"
#include "skip_gram.h"
#include "triangular.h"
#include "walks.h"
#include "weigh.h"

namespace nb = nanobind;
using namespace convnn;

namespace convnn {
void define_sliding(nb::module_& m);  // bindings_sliding.cpp
}

namespace {

Metric metric_of(std::string_view name) {
    if (name == "cosine") return Metric::cosine;
    return name == "euclidean" ? Metric::euclidean : Metric::matmul;
}

template <class A>
void check_below(const A& indices, std::size_t length) {
    uint64_t signs = 0;  // of the indices and of their distances to the last one, for a loop in vectors
    const int64_t* data = indices.data();
    for (std::size_t i = 0, count = indices.size(); i < count; ++i) signs |= uint64_t(data[i]) | (length - 1 - uint64_t(data[i]));
    if (signs >> 63) throw nb::index_error("an index lies outside the positions");
}

template <class A>
void check_positions(const A& queries, const A& keys) {
    if (std::max(queries.shape(1), keys.shape(1)) > INT32_MAX) throw std::length_error("more than 2^31 - 1 positions");
}

template <class T>
void nearest(Array<const T, 3> queries, Array<const T, 3> keys, std::string_view metric,
             Optional<const int64_t, 1> positions, Optional<const int64_t, 1> candidates, Array<int64_t, 3> out,
             int threads) {
    if (positions) check_below(*positions, keys.shape(1));
    if (candidates) check_below(*candidates, keys.shape(1));
    check_positions(queries, keys);
    nb::gil_scoped_release release;
    const SearchShape shape{queries.shape(0), queries.shape(1), keys.shape(1), keys.shape(2), out.shape(2)};
    const auto run = [&](auto&& search) { search.run(queries.data(), keys.data(), data(positions), out.data()); };
    const std::size_t count = candidates ? candidates->size() : 0;
    if (shape.channels < NARROW)  // exact scores cost less than finding out which of them are needed
        run(Search<T, double>(shape, metric_of(metric), data(candidates), count, threads));
    else
        run(Search<T, float>(shape, metric_of(metric), data(candidates), count, threads));
}

// Lists number from 0; -1 is none.
template <class A>
void check_lists(const A& lists, std::size_t count) {
    bool valid = true;
    const int64_t* data = lists.data();
    for (std::size_t i = 0; i < lists.size(); ++i) valid &= std::size_t(data[i] + 1) <= count;
    if (!valid) throw nb::index_error("a list lies outside the lists");
}

template <class T>
void nearest_in_lists(Array<const T, 3> queries, Array<const T, 3> keys, std::string_view metric,
                      Optional<const int64_t, 1> positions, Array<const int64_t, 2> lists,
                      Array<const int64_t, 3> opened, std::size_t num_lists, Array<int64_t, 3> out, int threads) {
    if (positions) check_below(*positions, keys.shape(1));
    check_lists(lists, num_lists);
    check_lists(opened, num_lists);
    check_positions(queries, keys);
    nb::gil_scoped_release release;
    const SearchShape shape{queries.shape(0), queries.shape(1), keys.shape(1), keys.shape(2), out.shape(2)};
    const auto run = [&](auto&& search) { search.run(queries.data(), keys.data(), data(positions), out.data()); };
    if (shape.channels < NARROW)
        run(ListSearch<T, double>(shape, metric_of(metric), lists.data(), num_lists, opened.data(), opened.shape(2), threads));
    else
        run(ListSearch<T, float>(shape, metric_of(metric), lists.data(), num_lists, opened.data(), opened.shape(2), threads));
}

template <class T>
void one_of_each(Array<const T, 3> queries, Array<const T, 3> keys, Array<const int64_t, 3> choices,
                 std::string_view metric, bool unlike, Array<int64_t, 3> out, int threads) {
    check_below(choices, keys.shape(1));
    nb::gil_scoped_release release;
    const ChoiceShape shape{queries.shape(0), queries.shape(1), keys.shape(1),
                            keys.shape(2),    choices.shape(1), choices.shape(2)};
    const Choice<T> choice(shape, metric_of(metric), unlike, threads);
    choice.run(queries.data(), keys.data(), choices.data(), out.data());
}

// Lists (B, N, K) for a batch, or (1, N, K) for any batch.
NeighborLists lists_of(const Array<const int64_t, 3>& indices, std::size_t batch, std::size_t length) {
    return {indices.data(), indices.shape(0) < batch, indices.shape(1), length, indices.shape(2)};
}

template <class T>
void largest(Array<const T, 3> values, Array<const int64_t, 3> indices, Optional<const T, 3> scores,
             Optional<const bool, 3> absent, Optional<const T, 3> centers, Array<int64_t, 3> out, int threads) {
    check_below(indices, values.shape(1));
    nb::gil_scoped_release release;
    const NeighborLists lists = lists_of(indices, values.shape(0), values.shape(1));
    const Largest<T> largest{values.data(), lists, data(scores), data(absent), data(centers), values.shape(2)};
    largest.run(out.shape(0) * out.shape(1), out.data(), threads);
}

template <class T>
PairShape pair_shape(const Array<const T, 3>& queries, const Array<const T, 3>& keys, std::size_t K) {
    return {queries.shape(0), queries.shape(1), keys.shape(1), keys.shape(2), K};
}

template <class T>
void similarity(Array<const T, 3> queries, Array<const T, 3> keys, Array<const int64_t, 3> indices,
                std::string_view metric, Array<T, 3> out, int threads) {
    check_below(indices, keys.shape(1));
    nb::gil_scoped_release release;
    const PairShape shape = pair_shape(queries, keys, indices.shape(2));
    const NeighborLists lists = lists_of(indices, shape.batch, shape.length);
    const Pairs<T> pairs(shape, metric_of(metric), queries.data(), keys.data(), lists, threads);
    pairs.scores(out.data());
}

template <class T>
void similarity_backward(Array<const T, 3> grad, Array<const T, 3> queries, Array<const T, 3> keys,
                         Array<const int64_t, 3> indices, std::string_view metric, Array<T, 3> grad_queries,
                         Array<T, 3> grad_keys, int threads) {
    check_below(indices, keys.shape(1));
    nb::gil_scoped_release release;
    const PairShape shape = pair_shape(queries, keys, indices.shape(2));
    const NeighborLists lists = lists_of(indices, shape.batch, shape.length);
    const Pairs<T> pairs(shape, metric_of(metric), queries.data(), keys.data(), lists, threads);
    pairs.gradients(grad.data(), grad_queries.data(), grad_keys.data());
}

template <class T>
ConvolveShape convolve_shape(const Array<const T, 3>& values, const Array<const int64_t, 3>& indices,
                             const Array<const T, 3>& weight) {
    const std::size_t channels = values.shape(2);
    return {values.shape(0), values.shape(1),  indices.shape(1),          indices.shape(2),
            channels,        weight.shape(0), channels / weight.shape(1)};
}

bool is_depthwise(const ConvolveShape& shape) { return shape.width() == 1 && shape.outputs == shape.channels; }

template <class T>
void convolve(Array<const T, 3> values, Array<const int64_t, 3> indices, Optional<const T, 3> scores,
              Array<const T, 3> weight, Optional<const T, 1> bias, Array<T, 3> out, int threads) {
    check_below(indices, values.shape(1));
    nb::gil_scoped_release release;
    const ConvolveShape shape = convolve_shape(values, indices, weight);
    const NeighborLists lists = lists_of(indices, shape.batch, shape.length);
    const ConvolveInputs<T> in{values.data(), lists, data(scores), weight.data()};
    if (is_depthwise(shape))
        Depthwise<T>(shape, in, threads).forward(data(bias), out.data());
    else if (shape.width() < NARROW)
        Narrow<T>(shape, in, threads).forward(data(bias), out.data());
    else
        Forward<T>(shape, in, threads).run(data(bias), out.data());
}

template <class T>
void convolve_backward(Array<const T, 3> grad, Array<const T, 3> values, Array<const int64_t, 3> indices,
                       Optional<const T, 3> scores, Array<const T, 3> weight, Optional<T, 3> grad_values,
                       Optional<T, 3> grad_scores, Optional<T, 3> grad_weight, int threads) {
    check_below(indices, values.shape(1));
    nb::gil_scoped_release release;
    const ConvolveShape shape = convolve_shape(values, indices, weight);
    const NeighborLists lists = lists_of(indices, shape.batch, shape.length);
    const ConvolveInputs<T> in{values.data(), lists, data(scores), weight.data()};
    if (is_depthwise(shape)) {
        const Depthwise<T> depthwise(shape, in, threads);
        if (grad_values) depthwise.values(grad.data(), grad_values->data());
        if (grad_scores) depthwise.scores(grad.data(), grad_scores->data());
        if (grad_weight) depthwise.weight(grad.data(), grad_weight->data());
        return;
    }
    const Narrow<T> narrow(shape, in, threads);
    const bool is_narrow = shape.width() < NARROW;
    if (grad_values && is_narrow) narrow.values(grad.data(), grad_values->data());
    if (grad_weight && is_narrow) narrow.weight(grad.data(), grad_weight->data());
    if ((grad_values && !is_narrow) || grad_scores) {
        const BackwardValues<T> backward(shape, in, grad.data(), threads);
        if (grad_values && !is_narrow) backward.values(grad_values->data());
        if (grad_scores) backward.scores(grad_scores->data());
    }
    if (grad_weight && !is_narrow) BackwardWeight<T>(shape, in, grad.data(), threads).run(grad_weight->data());
}

using Sides = std::array<std::ptrdiff_t, 3>;

// Windows of a map (B, *S, C), with the longest side of the kernel along the rows.
template <class X, class W, class Y>
Window window_of(const X& x, const W& weight, const Y& out, const Sides& stride, const Sides& padding, const Sides& dilation) {
    Axis axes[3];
    std::ptrdiff_t in_step = 1, out_step = 1, kernel_step = 1;
    for (int i = 2; i >= 0; --i) {
        axes[i] = {std::ptrdiff_t(x.shape(i + 1)), std::ptrdiff_t(out.shape(i + 1)), std::ptrdiff_t(weight.shape(i + 1)),
                   stride[i], padding[i], dilation[i], in_step, out_step, kernel_step};
        in_step *= axes[i].in, out_step *= axes[i].out, kernel_step *= axes[i].kernel;
    }
    const int longest = axes[2].kernel >= std::max(axes[0].kernel, axes[1].kernel) ? 2 : axes[1].kernel >= axes[0].kernel ? 1 : 0;
    std::swap(axes[longest], axes[2]);
    if (axes[1].in > axes[0].in) std::swap(axes[0], axes[1]);
    return {x.shape(0), x.shape(4), {axes[0], axes[1], axes[2]}};
}

template <class T>
void depthwise(Array<const T, 5> x, Array<const T, 4> weight, Optional<const T, 1> bias, Sides stride, Sides padding,
               Sides dilation, Array<T, 5> out, int threads) {
    nb::gil_scoped_release release;
    const DepthwiseWindow<T> window(window_of(x, weight, out, stride, padding, dilation), threads);
    window.forward(x.data(), weight.data(), data(bias), out.data());
}

template <class T>
void depthwise_backward(Array<const T, 5> grad, Array<const T, 5> x, Array<const T, 4> weight, Sides stride, Sides padding,
                        Sides dilation, Optional<T, 5> grad_x, Optional<T, 4> grad_weight, int threads) {
    nb::gil_scoped_release release;
    const DepthwiseWindow<T> window(window_of(x, weight, grad, stride, padding, dilation), threads);
    window.backward(grad.data(), x.data(), weight.data(), data(grad_x), data(grad_weight));
}

template <class T>
void solve_triangular(Array<const T, 4> z, Array<const T, 4> weight, Array<T, 4> out, int threads) {
    nb::gil_scoped_release release;
    const TriangularShape shape{z.shape(0), z.shape(1) / weight.shape(1), weight.shape(1), z.shape(2),
                                z.shape(3), weight.shape(2),              weight.shape(3)};
    TriangularSolve<T>(shape, weight.data(), threads).run(z.data(), out.data());
}

// Lists by their starts, of which the last is the number of edges.
RaggedLists ragged_of(const Array<const int64_t, 1>& starts, const Array<const int64_t, 1>& indices,
                      std::size_t positions) {
    const int64_t* data = starts.data();
    bool valid = starts.size() && !data[0] && data[starts.size() - 1] == int64_t(indices.size());
    for (std::size_t i = 1; i < starts.size(); ++i) valid &= data[i - 1] <= data[i];
    if (!valid) throw nb::index_error("the starts of the lists do not ascend from 0 to the number of edges");
    check_below(indices, positions);
    return {data, indices.data(), starts.size() - 1};
}

template <class T>
void ragged_sum(Array<const T, 2> values, Array<const int64_t, 1> starts, Array<const int64_t, 1> indices,
                Optional<const T, 2> scores, Array<T, 2> out, int threads) {
    const RaggedLists lists = ragged_of(starts, indices, values.shape(0));
    nb::gil_scoped_release release;
    const Ragged ragged(lists, values.shape(1), scores ? scores->shape(1) : 1, threads);
    ragged.sum(values.data(), data(scores), out.data());
}

template <class T>
void ragged_products(Array<const T, 2> queries, Array<const T, 2> keys, Array<const int64_t, 1> starts,
                     Array<const int64_t, 1> indices, Array<T, 2> out, int threads) {
    const RaggedLists lists = ragged_of(starts, indices, keys.shape(0));
    nb::gil_scoped_release release;
    Ragged(lists, keys.shape(1), out.shape(1), threads).products(queries.data(), keys.data(), out.data());
}

template <class T>
void ragged_largest(Array<const T, 2> values, Array<const int64_t, 1> starts, Array<const int64_t, 1> indices,
                    Array<int64_t, 2> out, int threads) {
    const RaggedLists lists = ragged_of(starts, indices, values.shape(0));
    nb::gil_scoped_release release;
    Ragged(lists, values.shape(1), 1, threads).largest(values.data(), out.data());
}

template <class T>
void ragged_softmax(Array<const T, 2> values, Array<const T, 1> temperatures, Array<const int64_t, 1> starts,
                    Array<const int64_t, 1> indices, Array<T, 2> out, Array<T, 2> logs, Array<T, 2> squares, int threads) {
    const RaggedLists lists = ragged_of(starts, indices, values.shape(0));
    nb::gil_scoped_release release;
    const Ragged ragged(lists, values.shape(1), 1, threads);
    ragged.softmax(values.data(), temperatures.data(), out.data(), logs.data(), squares.data());
}

template <class T>
void ragged_softmax_backward(Array<const T, 2> grad, Array<const T, 2> values, Array<const T, 1> temperatures,
                             Array<const T, 2> out, Array<const T, 2> logs, Array<const int64_t, 1> back_starts,
                             Array<const int64_t, 1> back_indices, Array<T, 2> grad_values, int threads) {
    const RaggedLists lists = ragged_of(back_starts, back_indices, grad.shape(0));
    nb::gil_scoped_release release;
    const Ragged ragged(lists, values.shape(1), 1, threads);
    ragged.softmax_values(grad.data(), values.data(), temperatures.data(), out.data(), logs.data(), grad_values.data());
}

// Choices are positions, or negative for none.
template <class T>
void scatter_choices(Array<const T, 2> rows, Array<const int64_t, 2> choices, Array<T, 2> out, int threads) {
    bool valid = true;
    for (std::size_t i = 0; i < choices.size(); ++i) valid &= choices.data()[i] < int64_t(out.shape(0));
    if (!valid) throw nb::index_error("a choice lies outside the positions");
    nb::gil_scoped_release release;
    scatter(rows.data(), choices.data(), rows.shape(0), out.shape(0), out.shape(1), out.data(), threads);
}

void transpose_lists(Array<const int64_t, 1> starts, Array<const int64_t, 1> indices, Array<int64_t, 1> out_starts,
                     Array<int64_t, 1> out_lists, Array<int64_t, 1> out_edges, int) {
    const RaggedLists lists = ragged_of(starts, indices, out_starts.size() - 1);
    nb::gil_scoped_release release;
    transpose(lists, out_starts.size() - 1, out_starts.data(), out_lists.data(), out_edges.data());
}

void fill_random_bits(uint64_t seed, uint64_t first, Array<int64_t, 1> out, int threads) {
    nb::gil_scoped_release release;
    random_bits(seed, first, out.size(), out.data(), threads);
}

void sum_weights(Array<const int64_t, 1> starts, Array<const double, 1> weights, Array<double, 1> out, int threads) {
    nb::gil_scoped_release release;
    cumulative_weights({starts.data(), nullptr, starts.size() - 1}, weights.data(), out.data(), threads);
}

// The lists are not looked through here: a step touches little of them, and they were checked when they were made.
template <class Number>
void walk(Array<const Number, 2> numbers, Array<const int64_t, 1> starts, Array<const int64_t, 1> indices,
          Array<const int64_t, 1> nodes, Optional<const double, 1> weights, Optional<const double, 1> cumulative,
          Optional<const int64_t, 1> back_starts, Optional<const int64_t, 1> back_indices, double p, double q,
          Array<int64_t, 2> out, int threads) {
    check_below(nodes, starts.size() - 1);
    nb::gil_scoped_release release;
    const Likelihood likely{data(weights), data(cumulative), data(back_starts), data(back_indices), p, q};
    const Walks walks({starts.data(), indices.data(), starts.size() - 1}, likely, threads);
    walks.run(nodes.data(), numbers.data(), numbers.shape(0), numbers.shape(1), out.data());
}

template <class T>
void skip_gram(Array<T, 2> vertex, Array<T, 2> context, Array<const int64_t, 2> positive,
               Array<const int64_t, 2> negative, Array<const double, 1> rates, Array<const int64_t, 1> groups,
               double decay, double negative_weight, Array<T, 1> losses, int threads) {
    nb::gil_scoped_release release;
    const SkipGram<T> pass({vertex.shape(1), negative.shape(1)}, decay, negative_weight, threads);
    pass.run(vertex.data(), context.data(), positive.data(), negative.data(), rates.data(), groups.data(),
             groups.size() - 1, losses.data());
}

template <class T>
void define(nb::module_& m) {
    using nb::arg;
    m.def("nearest", &nearest<T>, arg("queries").noconvert(), arg("keys").noconvert(), arg("metric"),
          arg("positions").none(), arg("candidates").none(), arg("out").noconvert(), arg("threads"));
    m.def("nearest_in_lists", &nearest_in_lists<T>, arg("queries").noconvert(), arg("keys").noconvert(), arg("metric"),
          arg("positions").none(), arg("lists"), arg("opened"), arg("num_lists"), arg("out").noconvert(), arg("threads"));
    m.def("one_of_each", &one_of_each<T>, arg("queries").noconvert(), arg("keys").noconvert(),
          arg("choices").noconvert(), arg("metric"), arg("unlike"), arg("out").noconvert(), arg("threads"));
    m.def("largest", &largest<T>, arg("values").noconvert(), arg("indices").noconvert(), arg("scores").none(),
          arg("absent").none(), arg("centers").none(), arg("out").noconvert(), arg("threads"));
    m.def("similarity", &similarity<T>, arg("queries").noconvert(), arg("keys").noconvert(),
          arg("indices").noconvert(), arg("metric"), arg("out").noconvert(), arg("threads"));
    m.def("similarity_backward", &similarity_backward<T>, arg("grad").noconvert(), arg("queries").noconvert(),
          arg("keys").noconvert(), arg("indices").noconvert(), arg("metric"), arg("grad_queries").noconvert(),
          arg("grad_keys").noconvert(), arg("threads"));
    m.def("convolve", &convolve<T>, arg("values").noconvert(), arg("indices").noconvert(), arg("scores").none(),
          arg("weight").noconvert(), arg("bias").none(), arg("out").noconvert(), arg("threads"));
    m.def("convolve_backward", &convolve_backward<T>, arg("grad").noconvert(), arg("values").noconvert(),
          arg("indices").noconvert(), arg("scores").none(), arg("weight").noconvert(), arg("grad_values").none(),
          arg("grad_scores").none(), arg("grad_weight").none(), arg("threads"));
    m.def("solve_triangular", &solve_triangular<T>, arg("z").noconvert(), arg("weight").noconvert(),
          arg("out").noconvert(), arg("threads"));
    m.def("depthwise", &depthwise<T>, arg("x").noconvert(), arg("weight").noconvert(), arg("bias").none(), arg("stride"),
          arg("padding"), arg("dilation"), arg("out").noconvert(), arg("threads"));
    m.def("depthwise_backward", &depthwise_backward<T>, arg("grad").noconvert(), arg("x").noconvert(),
          arg("weight").noconvert(), arg("stride"), arg("padding"), arg("dilation"), arg("grad_x").none(),
          arg("grad_weight").none(), arg("threads"));
    m.def("ragged_sum", &ragged_sum<T>, arg("values").noconvert(), arg("starts"), arg("indices"), arg("scores").none(),
          arg("out").noconvert(), arg("threads"));
    m.def("ragged_products", &ragged_products<T>, arg("queries").noconvert(), arg("keys").noconvert(), arg("starts"),
          arg("indices"), arg("out").noconvert(), arg("threads"));
    m.def("ragged_largest", &ragged_largest<T>, arg("values").noconvert(), arg("starts"), arg("indices"), arg("out"),
          arg("threads"));
    m.def("ragged_softmax", &ragged_softmax<T>, arg("values").noconvert(), arg("temperatures").noconvert(), arg("starts"),
          arg("indices"), arg("out").noconvert(), arg("logs").noconvert(), arg("squares").noconvert(), arg("threads"));
    m.def("ragged_softmax_backward", &ragged_softmax_backward<T>, arg("grad").noconvert(), arg("values").noconvert(),
          arg("temperatures").noconvert(), arg("out").noconvert(), arg("logs").noconvert(), arg("back_starts"),
          arg("back_indices"), arg("grad_values").noconvert(), arg("threads"));
    m.def("skip_gram", &skip_gram<T>, arg("vertex").noconvert(), arg("context").noconvert(), arg("positive"),
          arg("negative"), arg("rates").noconvert(), arg("groups"), arg("decay"), arg("negative_weight"),
          arg("losses").noconvert(), arg("threads"));
    m.def("scatter_choices", &scatter_choices<T>, arg("rows").noconvert(), arg("choices"), arg("out").noconvert(),
          arg("threads"));
}

template <class Number>
void define_walk(nb::module_& m) {
    using nb::arg;
    m.def("walk", &walk<Number>, arg("numbers").noconvert(), arg("starts"), arg("indices"), arg("nodes"),
          arg("weights").none(), arg("cumulative").none(), arg("back_starts").none(), arg("back_indices").none(),
          arg("p"), arg("q"), arg("out"), arg("threads"));
}

}  // namespace

NB_MODULE(CONVNN_MODULE, m) {
    define<float>(m);
    define<double>(m);
    define_sliding(m);
    m.def("transpose_lists", &transpose_lists);
    m.def("random_bits", &fill_random_bits);
    m.def("cumulative_weights", &sum_weights);
    define_walk<int64_t>(m);
    define_walk<double>(m);
    define_scans(m);
    define_blocks(m);
    define_kernel_products(m);
#if defined(CONVNN_PORTABLE)
    m.def("instruction_sets", [] {  // of this processor, best first; the portable module answers
        nb::list names;
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx512f")) names.append("avx512");
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.append("avx2");
#endif
        names.append("portable");
        return names;
    });
#endif
}
