// Dose of contamination electrons. Contract: "add_contamination". A thread for each voxel, which walks back towards the
// source from voxel to voxel until it is out of the volume or beyond the electrons' reach.
#include "common.cuh"

// the numbers of `geometry`
#define ORIGIN 0
#define SPACING 3
#define SOURCE 6
#define ROTATION 9
#define SAD 18
#define MAP_ORIGIN 19
#define MAP_PITCH 21
#define SURFACE_DOSE 22
#define DEPTH 23
#define LIMIT 24

// One axis of the walk: where the next face is, along the unit vector, and how far apart faces are.
struct Axis {
    double to, over;
    int index, step, n;
};

__device__ __forceinline__ Axis axis(double p, double along, double origin, double spacing, int index, int n)
{
    const double infinite = __longlong_as_double(0x7ff0000000000000LL);
    Axis a = {infinite, infinite, index, along > 0.0 ? 1 : -1, n};
    if (along != 0.0) {
        a.to = (origin + (index + 0.5 * a.step) * spacing - p) / along;
        a.over = spacing / fabs(along);
    }
    return a;
}

// Into the next voxel along this axis if the walk has come to its face; false where the volume ends.
__device__ __forceinline__ bool advance(Axis& a, double t)
{
    if (a.to > t)
        return true;
    a.index += a.step;
    a.to += a.over;
    return unsigned(a.index) < unsigned(a.n);
}

// Between pixel centres; zero beyond the outermost ones.
__device__ __forceinline__ double bilinear(const double* values, int rows, int columns, double column, double row)
{
    if (!(column >= 0.0 && column <= columns - 1.0 && row >= 0.0 && row <= rows - 1.0))
        return 0.0;
    const int i = min(int(column), columns - 2), j = min(int(row), rows - 2);
    const double fx = column - i, fy = row - j;
    const double* at = values + i64(j) * columns + i;
    return (at[0] * (1 - fx) + at[1] * fx) * (1 - fy) + (at[columns] * (1 - fx) + at[columns + 1] * fx) * fy;
}

extern "C" __global__ void add_contamination(
    float* dose, const float* __restrict__ density, const short* __restrict__ release_index, int nz, int ny, int nx,
    const double* __restrict__ g, const double* __restrict__ values, int rows, int columns)
{
    const i64 voxel = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (voxel >= i64(nz) * ny * nx || release_index[voxel] < 0)
        return;
    const int ix = int(voxel % nx), iy = int(voxel / nx % ny), iz = int(voxel / nx / ny);
    const double px = g[ORIGIN] + ix * g[SPACING], py = g[ORIGIN + 1] + iy * g[SPACING + 1];
    const double pz = g[ORIGIN + 2] + iz * g[SPACING + 2];
    const double ex = px - g[SOURCE], ey = py - g[SOURCE + 1], ez = pz - g[SOURCE + 2];
    const double* r = g + ROTATION;
    const double below = -(r[6] * ex + r[7] * ey + r[8] * ez);
    if (below <= 0.0)
        return;
    const double scale = g[SAD] / below;
    const double x = (r[0] * ex + r[1] * ey + r[2] * ez) * scale, y = (r[3] * ex + r[4] * ey + r[5] * ez) * scale;
    const double electrons = bilinear(
        values, rows, columns, (x - g[MAP_ORIGIN]) / g[MAP_PITCH], (y - g[MAP_ORIGIN + 1]) / g[MAP_PITCH]);
    if (electrons <= 0.0)
        return;
    const double distance = sqrt(ex * ex + ey * ey + ez * ez);
    Axis ax = axis(px, -ex / distance, g[ORIGIN], g[SPACING], ix, nx);
    Axis ay = axis(py, -ey / distance, g[ORIGIN + 1], g[SPACING + 1], iy, ny);
    Axis az = axis(pz, -ez / distance, g[ORIGIN + 2], g[SPACING + 2], iz, nz);
    const double limit = g[LIMIT];
    double t = 0.0, path = 0.0;
    bool inside = true;
    while (inside && path <= limit) {
        const double nearest = min(min(ax.to, ay.to), az.to);
        path += 0.1 * (nearest - t) * density[(i64(az.index) * ny + ay.index) * nx + ax.index];
        t = nearest;
        inside = advance(ax, t);
        inside = advance(ay, t) && inside;
        inside = advance(az, t) && inside;
    }
    if (!(path > limit)) { // a lost density shows in the dose
        const double inverse_square = (g[SAD] / distance) * (g[SAD] / distance);
        dose[voxel] = float(dose[voxel] + g[SURFACE_DOSE] * electrons * inverse_square * exp(-path / g[DEPTH]));
    }
}
