// Mean transmission of moving jaws and leaves. Contract: "add_transmission"; the method stands in cpu/fluence.py. A
// thread for each point. The terms of the piecewise constant functions lie in local memory.
#include "common.cuh"

#ifndef MAX_TIPS // edges that a leaf end is made of
#define MAX_TIPS 8
#endif

struct Term {
    double value, from, to;
};

// The part of [t0, t1] in which sign * (a + (b - a) t) > 0.
__device__ __forceinline__ void clip_interval(double& t0, double& t1, double a, double b, double sign)
{
    const double f0 = sign * a, f1 = sign * b;
    if (f0 > 0.0 && f1 > 0.0)
        return;
    if (f0 <= 0.0 && f1 <= 0.0) {
        t1 = t0;
        return;
    }
    const double crossing = f0 / (f0 - f1);
    if (f0 > 0.0)
        t1 = max(t0, min(t1, crossing));
    else
        t0 = min(t1, max(t0, crossing));
}

// Append a term; the first one is the constant, which takes whatever holds for the whole segment.
__device__ __forceinline__ void add_term(Term* terms, int& n, double value, double from, double to)
{
    if (value == 0.0 || to <= from)
        return;
    if (from <= 0.0 && to >= 1.0)
        terms[0].value += value;
    else
        terms[n++] = {value, from, to};
}

__device__ __forceinline__ int start_terms(Term* terms, double constant)
{
    terms[0] = {constant, 0.0, 1.0};
    return 1;
}

// What a point sees of a pair of jaws: one, less what each of the two takes away while it covers the point.
__device__ int jaw_terms(Term* terms, double p, const double* jaw, double through_lower, double through_upper)
{
    int n = start_terms(terms, 1.0);
    double free0 = 0.0, free1 = 1.0;
    clip_interval(free0, free1, p - jaw[0], p - jaw[2], 1.0);
    add_term(terms, n, through_lower - 1.0, 0.0, free0);
    add_term(terms, n, through_lower - 1.0, free1, 1.0);
    free0 = 0.0, free1 = 1.0;
    clip_interval(free0, free1, p - jaw[1], p - jaw[3], -1.0);
    add_term(terms, n, through_upper - 1.0, 0.0, free0);
    add_term(terms, n, through_upper - 1.0, free1, 1.0);
    return n;
}

// The part of the segment for which a leaf pair, drawn back by `tip` at both ends, leaves the point open.
__device__ __forceinline__ void opened(
    double& t0, double& t1, double p, i64 pair, const double* start, const double* end, double tip)
{
    t0 = t1 = 0.0;
    if (pair < 0)
        return;
    t1 = 1.0;
    clip_interval(t0, t1, p - start[2 * pair] + tip, p - end[2 * pair] + tip, 1.0);
    clip_interval(t0, t1, p - start[2 * pair + 1] - tip, p - end[2 * pair + 1] - tip, -1.0);
}

// What a point sees of a layer: between the sides of a leaf, or in the strip that it shares with its neighbour.
__device__ int leaf_terms(
    Term* terms, double p, i64 pair, i64 neighbour, double both_closed, double one_closed, const double* start,
    const double* end, const double* tip_mm, const double* tip_share, int tips)
{
    int n = start_terms(terms, both_closed);
    for (int k = 0; k < tips; ++k) {
        double a0, a1, b0, b1;
        opened(a0, a1, p, pair, start, end, tip_mm[k]);
        if (neighbour == pair) {
            add_term(terms, n, tip_share[k] * (1.0 - both_closed), a0, a1);
            continue;
        }
        opened(b0, b1, p, neighbour, start, end, tip_mm[k]);
        add_term(terms, n, tip_share[k] * (one_closed - both_closed), a0, a1);
        add_term(terms, n, tip_share[k] * (one_closed - both_closed), b0, b1);
        add_term(terms, n, tip_share[k] * (1.0 - 2.0 * one_closed + both_closed), max(a0, b0), min(a1, b1));
    }
    return n;
}

// Integral over the segment of the product of four sums of terms.
__device__ double mean_of_product(
    const Term* x, int n_x, const Term* y, int n_y, const Term* first, int n_first, const Term* second, int n_second)
{
    double total = 0.0;
    for (int j = 0; j < n_y; ++j)
        for (int i = 0; i < n_x; ++i) {
            const double value = y[j].value * x[i].value;
            const double t0 = max(y[j].from, x[i].from), t1 = min(y[j].to, x[i].to);
            if (value == 0.0 || t1 <= t0)
                continue;
            for (int k = 0; k < n_first; ++k) {
                const double u0 = max(t0, first[k].from), u1 = min(t1, first[k].to);
                if (u1 <= u0)
                    continue;
                for (int m = 0; m < n_second; ++m) {
                    const double length = min(u1, second[m].to) - max(u0, second[m].from);
                    if (length > 0.0)
                        total += value * first[k].value * second[m].value * length;
                }
            }
        }
    return total;
}

extern "C" __global__ void add_transmission(
    double* out, const double* __restrict__ along, const double* __restrict__ across, int columns, int rows,
    const double* __restrict__ jaw_along, const double* __restrict__ jaw_across,
    const double* __restrict__ jaw_transmission, const i64* __restrict__ pair_of_row,
    const double* __restrict__ closed, const double* __restrict__ leaf_start, const double* __restrict__ leaf_end,
    int pairs, const double* __restrict__ tip_mm, const double* __restrict__ tip_share, int layers, int tips,
    double weight)
{
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(columns) * rows)
        return;
    const int iy = int(i / columns), ix = int(i - i64(iy) * columns);
    Term x[5], y[5], leaves[2][3 * MAX_TIPS + 1];
    const int n_y = jaw_terms(y, across[iy], jaw_across, jaw_transmission[2], jaw_transmission[3]);
    const int n_x = jaw_terms(x, along[ix], jaw_along, jaw_transmission[0], jaw_transmission[1]);
    int n_leaf[2];
    for (int layer = 0; layer < 2; ++layer) {
        n_leaf[layer] = start_terms(leaves[layer], 1.0);
        if (layer >= layers)
            continue;
        const i64 own = i64(2 * layer) * rows + iy, next = i64(2 * layer + 1) * rows + iy;
        const i64 first_leaf = i64(layer) * pairs * 2;
        n_leaf[layer] = leaf_terms(
            leaves[layer], along[ix], pair_of_row[own], pair_of_row[next], closed[own], closed[next],
            leaf_start + first_leaf, leaf_end + first_leaf, tip_mm + layer * tips, tip_share + layer * tips, tips);
    }
    out[i] += weight * mean_of_product(x, n_x, y, n_y, leaves[0], n_leaf[0], leaves[1], n_leaf[1]);
}
