// Mean transmission of moving jaws and leaves. Contract: "add_transmission"; the method stands in cpu/fluence.py. A
// thread for each pixel. The terms of the piecewise constant functions lie in local memory.
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

// What a point sees of a layer in the mean: leaf_terms summed up, where nothing else moves.
__device__ double mean_of_layer(
    double p, i64 pair, i64 neighbour, double both_closed, double one_closed, const double* start, const double* end,
    const double* tip_mm, const double* tip_share, int tips)
{
    double total = both_closed;
    for (int k = 0; k < tips; ++k) {
        double a0, a1, b0, b1;
        opened(a0, a1, p, pair, start, end, tip_mm[k]);
        if (neighbour == pair) {
            total += tip_share[k] * (1.0 - both_closed) * (a1 - a0);
            continue;
        }
        opened(b0, b1, p, neighbour, start, end, tip_mm[k]);
        const double both = max(min(a1, b1) - max(a0, b0), 0.0);
        total += tip_share[k] * (one_closed - both_closed) * ((a1 - a0) + (b1 - b0));
        total += tip_share[k] * (1.0 - 2.0 * one_closed + both_closed) * both;
    }
    return total;
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

// Whether an edge that moves between p and q never comes into [a, b].
__device__ __forceinline__ bool beside(double p, double q, double low_margin, double high_margin, double a, double b)
{
    return max(p, q) + high_margin < a || min(p, q) - low_margin > b;
}

// Whether no end of a leaf pair, however far drawn back, comes into [a, b].
__device__ __forceinline__ bool ends_beside(
    double a, double b, i64 pair, const double* start, const double* end, double least_tip, double most_tip)
{
    if (pair < 0)
        return true;
    return beside(start[2 * pair], end[2 * pair], most_tip, -least_tip, a, b) &&
           beside(start[2 * pair + 1], end[2 * pair + 1], -least_tip, most_tip, a, b);
}

extern "C" __global__ void add_transmission(
    double* out, const double* __restrict__ edges, const i64* __restrict__ first_piece,
    const double* __restrict__ across, int pixels, int rows, const double* __restrict__ jaw_along,
    const double* __restrict__ jaw_across, const double* __restrict__ jaw_transmission,
    const i64* __restrict__ pair_of_row, const double* __restrict__ closed, const double* __restrict__ leaves, int pairs,
    const double* __restrict__ tip_mm, const double* __restrict__ tip_share, int layers, int tips,
    const double* __restrict__ weight, int segments)
{
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(pixels) * rows)
        return;
    const int iy = int(i / pixels), ix = int(i - i64(iy) * pixels);
    const i64 first = first_piece[ix], last = first_piece[ix + 1];
    const double a = edges[first], b = edges[last];
    i64 pair[2][2];
    double shut[2][2], least_tip[2], most_tip[2];
    for (int layer = 0; layer < layers; ++layer) {
        for (int k = 0; k < 2; ++k) {
            pair[layer][k] = pair_of_row[i64(2 * layer + k) * rows + iy];
            shut[layer][k] = closed[i64(2 * layer + k) * rows + iy];
        }
        least_tip[layer] = most_tip[layer] = tip_mm[layer * tips];
        for (int k = 1; k < tips; ++k) {
            least_tip[layer] = min(least_tip[layer], tip_mm[layer * tips + k]);
            most_tip[layer] = max(most_tip[layer], tip_mm[layer * tips + k]);
        }
    }
    const i64 bank = i64(pairs) * 2; // leaf ends of one layer
    double total = out[i];
    for (int s = 0; s < segments; ++s) {
        const double* jaw = jaw_along + 4 * s;
        const double* start = leaves + i64(2 * s) * layers * bank;
        const double* end = start + layers * bank;
        // where no edge passes, one sample says all
        bool even = beside(jaw[0], jaw[2], 0.0, 0.0, a, b) && beside(jaw[1], jaw[3], 0.0, 0.0, a, b);
        for (int layer = 0; layer < layers; ++layer)
            for (int k = 0; k < 2; ++k)
                even = even && ends_beside(a, b, pair[layer][k], start + layer * bank, end + layer * bank,
                                           least_tip[layer], most_tip[layer]);
        Term x[5], y[5], of_leaves[2][3 * MAX_TIPS + 1];
        const int n_y = jaw_terms(y, across[iy], jaw_across + 4 * s, jaw_transmission[2], jaw_transmission[3]);
        const int pieces = even ? 1 : int(last - first);
        double seen = 0.0;
        for (int k = 0; k < pieces; ++k) {
            const double low = even ? a : edges[first + k], high = even ? b : edges[first + k + 1];
            const double p = 0.5 * (low + high);
            const int n_x = jaw_terms(x, p, jaw, jaw_transmission[0], jaw_transmission[1]);
            if (layers == 1 && n_x == 1 && n_y == 1) {
                seen += (high - low) / (b - a) * (x[0].value * y[0].value *
                        mean_of_layer(p, pair[0][0], pair[0][1], shut[0][0], shut[0][1], start, end, tip_mm, tip_share,
                                      tips));
                continue;
            }
            int n_leaf[2];
            for (int layer = 0; layer < 2; ++layer) {
                n_leaf[layer] = start_terms(of_leaves[layer], 1.0);
                if (layer < layers)
                    n_leaf[layer] = leaf_terms(
                        of_leaves[layer], p, pair[layer][0], pair[layer][1], shut[layer][0], shut[layer][1],
                        start + layer * bank, end + layer * bank, tip_mm + layer * tips, tip_share + layer * tips, tips);
            }
            seen += (high - low) / (b - a) *
                    mean_of_product(x, n_x, y, n_y, of_leaves[0], n_leaf[0], of_leaves[1], n_leaf[1]);
        }
        total += weight[s] * seen;
    }
    out[i] = total;
}

// Sums along the rows, beside and below a border of zeros.
extern "C" __global__ void integrate_rows(double* out, const double* __restrict__ values, int rows, int columns)
{
    const i64 iy = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (iy > rows)
        return;
    double* row = out + iy * (columns + 1);
    const double* of = values + (iy - 1) * columns;
    row[0] = 0.0;
    double sum = 0.0;
    for (int ix = 0; ix < columns; ++ix) {
        if (iy > 0)
            sum += of[ix];
        row[ix + 1] = sum;
    }
}

// Sums of the rows below each.
extern "C" __global__ void integrate_columns(double* out, int rows, int columns)
{
    const i64 ix = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ix > columns)
        return;
    double sum = 0.0;
    for (i64 iy = 1; iy <= rows; ++iy) {
        sum += out[iy * (columns + 1) + ix];
        out[iy * (columns + 1) + ix] = sum;
    }
}
