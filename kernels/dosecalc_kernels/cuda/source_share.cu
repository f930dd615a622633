// Share of the extra-focal source behind jaws and leaves. Contract: "add_source_share"; the method stands in
// cpu/source_share.py. A thread for each strip and point.
#include "common.cuh"

#define END 40.0 // an end of the source, in standard deviations
#define NEAR 1e-3 // edges that move by less are taken in the middle of their way
#define EDGES 6 // two leaf pairs and a pair of jaws
#define MOMENTS (EDGES * (EDGES - 1) / 2 + 2)

struct Edge {
    double start, end;
};

__device__ __forceinline__ double normal(double u)
{
    return 0.5 * erfc(-u * 0.70710678118654752440);
}

__device__ __forceinline__ double integral_of_normal(double u)
{
    return u * normal(u) + exp(-0.5 * min(u * u, 1e3)) * 0.39894228040143267794;
}

// Mean of the normal distribution function on the way from a to b.
__device__ __forceinline__ double mean_normal(double a, double b)
{
    if (fabs(b - a) < NEAR)
        return normal(0.5 * (a + b));
    return (integral_of_normal(b) - integral_of_normal(a)) / (b - a);
}

// The lowest (side 1) or highest (side -1) of edges at a moment; an end of the source where there is none.
__device__ __forceinline__ double innermost(const Edge* edges, int n, double t, double side)
{
    double found = side * END;
    for (int i = 0; i < n; ++i) {
        const double at = edges[i].start + (edges[i].end - edges[i].start) * t;
        if (side * at < side * found)
            found = at;
    }
    return found;
}

// When two edges pass each other, within the segment.
__device__ __forceinline__ double passing(Edge a, Edge b)
{
    const double nearing = (b.end - b.start) - (a.end - a.start);
    return nearing == 0.0 ? 0.0 : min(max((a.start - b.start) / nearing, 0.0), 1.0);
}

// Mean share of the source above all lower edges, which come first, and below all upper ones.
__device__ __noinline__ double between(const Edge* edges, int n_lower, int n_upper)
{
    const int n = n_lower + n_upper;
    bool rest = true;
    for (int i = 0; i < n; ++i)
        rest = rest && edges[i].start == edges[i].end;
    const Edge* upper = edges + n_lower;
    if (rest)
        return max(normal(innermost(upper, n_upper, 0.0, 1.0)) - normal(innermost(edges, n_lower, 0.0, -1.0)), 0.0);
    double moments[MOMENTS];
    moments[0] = 0.0;
    int count = 1;
    for (int i = 0; i < n; ++i)
        for (int j = i + 1; j < n; ++j) {
            const double t = passing(edges[i], edges[j]);
            int k = count++;
            for (; moments[k - 1] > t; --k)
                moments[k] = moments[k - 1];
            moments[k] = t;
        }
    moments[count] = 1.0;
    double seen = 0.0;
    for (int k = 0; k < count; ++k) {
        const double t0 = moments[k], t1 = moments[k + 1];
        if (t1 <= t0)
            continue;
        const double high0 = innermost(upper, n_upper, t0, 1.0), high1 = innermost(upper, n_upper, t1, 1.0);
        const double low0 = innermost(edges, n_lower, t0, -1.0), low1 = innermost(edges, n_lower, t1, -1.0);
        if (high0 + high1 > low0 + low1)
            seen += (t1 - t0) * (mean_normal(high0, high1) - mean_normal(low0, low1));
    }
    return seen;
}

// What jaws let through of the source between the ends of n leaf pairs, given as lower and upper end of each.
__device__ double behind(const Edge* jaw, const double* through, const Edge* leaves, int n)
{
    Edge edges[EDGES];
    for (int i = 0; i < n; ++i) {
        edges[i] = leaves[2 * i];
        edges[n + 1 + i] = leaves[2 * i + 1];
    }
    edges[n] = jaw[0];
    edges[2 * n + 1] = jaw[1];
    double seen = between(edges, n + 1, n + 1);
    if (through[0] > 0.0) {
        for (int i = 0; i < n; ++i)
            edges[n + i] = leaves[2 * i + 1];
        edges[2 * n] = jaw[0];
        seen += through[0] * between(edges, n, n + 1);
    }
    if (through[1] > 0.0) {
        for (int i = 0; i < n; ++i)
            edges[n + 1 + i] = leaves[2 * i + 1];
        edges[n] = jaw[1];
        seen += through[1] * between(edges, n + 1, n);
    }
    return seen;
}

extern "C" __global__ void add_source_share(
    double* out, const double* __restrict__ points, int n_points, int strips, const double* __restrict__ jaw,
    const double* __restrict__ jaw_transmission, const i64* __restrict__ pair_of_strip,
    const double* __restrict__ transmission, const double* __restrict__ tips, int layers, int pairs,
    const double* __restrict__ image, const double* __restrict__ weight, int segments)
{
    const i64 item = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item >= i64(strips) * n_points)
        return;
    const int strip = int(item / n_points), ip = int(item - i64(strip) * n_points);
    const double of_jaws = image[0] * points[ip], of_leaves = image[2] * points[ip];
    double total = out[item];
    for (int s = 0; s < segments; ++s) {
        Edge jaws[2], leaves[4];
        for (int side = 0; side < 2; ++side)
            jaws[side] = {of_jaws + image[1] * jaw[4 * s + side], of_jaws + image[1] * jaw[4 * s + 2 + side]};
        double seen = 0.0;
        for (int opened = 0; opened < 1 << layers; ++opened) {
            double share = 1.0;
            int n = 0;
            for (int layer = 0; layer < layers; ++layer) {
                const i64 pair = pair_of_strip[i64(layer) * strips + strip];
                const double through = transmission[i64(layer) * strips + strip];
                if (!(opened >> layer & 1)) {
                    share *= through;
                } else if (pair < 0) {
                    share = 0.0;
                } else {
                    share *= 1.0 - through;
                    const double* start = tips + ((i64(2 * s) * layers + layer) * pairs + pair) * 2;
                    const double* end = start + i64(layers) * pairs * 2;
                    for (int side = 0; side < 2; ++side)
                        leaves[2 * n + side] = {of_leaves + image[3] * start[side], of_leaves + image[3] * end[side]};
                    ++n;
                }
            }
            if (share != 0.0)
                seen += share * behind(jaws, jaw_transmission, leaves, n);
        }
        total += weight[s] * seen;
    }
    out[item] = total;
}
