// Kernels of learners, for a vector of pairs at a time: functions of squared distances, or of inner products.
#pragma once

#include <cmath>

#include "simd.h"

namespace convnn {

// exp(factor |x - y|^2)
template <class T>
struct GaussianKernel {
    static constexpr bool IS_RADIAL = true;
    T factor;

    Vector<T> operator()(Vector<T> squares) const { return power_of_e(squares * factor); }

    // Whether products give even the shortest distances between points of these squared lengths, in sum, well enough: the
    // exponent has an error of a few times their rounding.
    bool forgives(T lengths) const { return lengths * -factor <= 4; }
};

// exp(factor |x - y|)
template <class T>
struct LaplaceKernel {
    static constexpr bool IS_RADIAL = true;
    T factor;

    Vector<T> operator()(Vector<T> squares) const { return power_of_e(square_root(squares) * factor); }

    bool forgives(T) const { return false; }  // the root makes a small error at 0 a large one
};

// (scale x . y + offset)^degree
template <class T>
struct PolynomialKernel {
    static constexpr bool IS_RADIAL = false;
    unsigned degree;
    T scale, offset;

    Vector<T> operator()(Vector<T> products, Vector<T>, Vector<T>) const {
        Vector<T> base = fused(products, broadcast(scale), broadcast(offset)), power = broadcast(T(1));
        for (unsigned left = degree; left; left >>= 1) {
            if (left & 1) power *= base;
            base *= base;
        }
        return power;
    }
};

// The arc cosine. For float32 by the polynomial of the arc sine in Cephes, within 3 units in the last place of pi.
inline Vector<float> arc_cosine(Vector<float> x) {
    const Vector<float> size = x < 0 ? -x : x, half = broadcast(0.5f);
    const auto is_large = size > half;
    const Vector<float> z = is_large ? (1 - size) * half : size * size, t = is_large ? square_root(z) : size;
    Vector<float> p = broadcast(4.2163199048e-2f);
    for (const float coefficient : {2.4181311049e-2f, 4.5470025998e-2f, 7.4953002686e-2f, 1.6666752422e-1f})
        p = fused(p, z, broadcast(coefficient));
    p = fused(p * z, t, t);
    const Vector<float> twice = p + p, signed_p = x < 0 ? -p : p;
    return is_large ? (x < 0 ? 3.14159265f - twice : twice) : 1.57079633f - signed_p;
}
inline Vector<double> arc_cosine(Vector<double> x) {
    for (int lane = 0; lane < LANES<double>; ++lane) x[lane] = std::acos(x[lane]);
    return x;
}

// (|x| |y|)^ORDER J(angle) / pi
template <class T, int ORDER>
struct ArcCosineKernel {
    static constexpr bool IS_RADIAL = false;

    Vector<T> operator()(Vector<T> products, Vector<T> xx, Vector<T> yy) const {
        const Vector<T> one = broadcast(T(1)), lengths = square_root(xx * yy);
        Vector<T> cosine = lengths > 0 ? products / lengths : Vector<T>{};
        cosine = cosine < -one ? -one : cosine > one ? one : cosine;
        const Vector<T> rest = arc_cosine(-cosine) * T(1 / M_PI);
        if (ORDER == 0) return rest;
        const Vector<T> sine = square_root(one - cosine * cosine) * T(1 / M_PI);
        if (ORDER == 1) return lengths * (sine + rest * cosine);
        return lengths * lengths * (3 * sine * cosine + rest * (one + 2 * cosine * cosine));
    }
};

}  // namespace convnn
