// Exact share of each pixel that polygons cover. Contract: "polygon_coverage". A thread for each row: it adds the edges
// that cross the row in their order and then sums along it, so nothing depends on the order of threads.
#include "common.cuh"

// The part of an edge within a row, from xa to xb, of signed height.
__device__ void add_row(double* steps, int nx, double xa, double xb, double height)
{
    const double left = min(xa, xb), right = max(xa, xb);
    if (right <= 0.0) {
        steps[0] += height;
        return;
    }
    if (left >= nx)
        return;
    const double width = right - left;
    if (left < 0.0)
        steps[0] += height * (-left / width);
    for (int i = int(max(floor(left), 0.0)); i < nx; ++i) {
        const double a = max(left, double(i)), b = min(right, double(i + 1));
        if (width > 0.0 && a >= b)
            break;
        const double part = width > 0.0 ? height * (b - a) / width : height;
        const double past = 0.5 * (a + b) - i; // mean distance from the pixel's left side
        steps[i] += part * (1.0 - past);
        if (i + 1 < nx)
            steps[i + 1] += part * past;
        if (width == 0.0)
            break;
    }
}

extern "C" __global__ void polygon_coverage(
    const double* __restrict__ xy, const i64* __restrict__ ring_offsets, int rings, int ny, int nx, double* coverage)
{
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= ny)
        return;
    double* steps = coverage + i64(j) * nx;
    for (int i = 0; i < nx; ++i)
        steps[i] = 0.0;
    for (int ring = 0; ring < rings; ++ring) {
        const i64 first = ring_offsets[ring], last = ring_offsets[ring + 1];
        for (i64 k = first; k < last; ++k) {
            const i64 n = k + 1 < last ? k + 1 : first;
            double x0 = xy[2 * k], y0 = xy[2 * k + 1], x1 = xy[2 * n], y1 = xy[2 * n + 1];
            if (y0 == y1)
                continue;
            double sign = -1.0; // upwards: the inside of a counter-clockwise ring lies to the left
            if (y0 > y1) {
                const double x = x0, y = y0;
                x0 = x1, y0 = y1, x1 = x, y1 = y;
                sign = 1.0;
            }
            const double a = max(y0, double(j)), b = min(y1, double(j + 1));
            if (a >= b)
                continue;
            const double slope = (x1 - x0) / (y1 - y0);
            add_row(steps, nx, x0 + slope * (a - y0), x0 + slope * (b - y0), sign * (b - a));
        }
    }
    double total = 0.0;
    for (int i = 0; i < nx; ++i) {
        total += steps[i];
        steps[i] = total;
    }
}
