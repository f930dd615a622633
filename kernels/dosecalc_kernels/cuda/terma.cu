// Collision kerma and scerma by an exact ray to each voxel. Contract: "add_terma". A thread for each voxel; the rays of
// a warp run side by side through the same voxels.
#include "common.cuh"

// the numbers of `geometry`
#define ORIGIN 0
#define SPACING 3
#define SOURCE 6
#define ROTATION 9
#define SAD 18
#define MAP_ORIGIN 19
#define PITCH 21
#define SOFTENING 22
#define HALF_X 25
#define HALF_Y 26
#define PARTS 27

__device__ __forceinline__ double integral_at(const double* integral, int rows, int columns, double x, double y)
{
    x = min(max(x, 0.0), columns - 1.0);
    y = min(max(y, 0.0), rows - 1.0);
    const int ix = min(int(x), columns - 2), iy = min(int(y), rows - 2);
    const double fx = x - ix, fy = y - iy;
    const double* at = integral + i64(iy) * columns + ix;
    return (at[0] * (1 - fx) + at[1] * fx) * (1 - fy) + (at[columns] * (1 - fx) + at[columns + 1] * fx) * fy;
}

// Mean of a map over a rectangle, from its integral image (bilinear in the integral).
__device__ __forceinline__ double map_mean(
    const double* integral, int rows, int columns, const double* g, double x, double y, double half_x, double half_y)
{
    const double xa = (x - half_x - g[MAP_ORIGIN]) / g[PITCH], xb = (x + half_x - g[MAP_ORIGIN]) / g[PITCH];
    const double ya = (y - half_y - g[MAP_ORIGIN + 1]) / g[PITCH], yb = (y + half_y - g[MAP_ORIGIN + 1]) / g[PITCH];
    const double total = integral_at(integral, rows, columns, xb, yb) - integral_at(integral, rows, columns, xa, yb) -
                         integral_at(integral, rows, columns, xb, ya) + integral_at(integral, rows, columns, xa, ya);
    return total / ((xb - xa) * (yb - ya));
}

// One axis of a walk from voxel to voxel along source + t direction, t from 0 to 1.
struct Axis {
    double enter, leave, delta, next;
    int index, step, n;
};

__device__ __forceinline__ Axis crossing(double source, double direction, double origin, double spacing, int n)
{
    const double infinite = __longlong_as_double(0x7ff0000000000000LL);
    const double low = origin - 0.5 * spacing, high = origin + (n - 0.5) * spacing;
    Axis a;
    a.n = n;
    if (direction == 0.0) {
        const bool within = low <= source && source <= high;
        a.enter = within ? -infinite : 1.0;
        a.leave = within ? infinite : 0.0;
        return a;
    }
    const double lo = (low - source) / direction, hi = (high - source) / direction;
    a.enter = min(lo, hi);
    a.leave = max(lo, hi);
    return a;
}

__device__ __forceinline__ void start(Axis& a, double t, double source, double direction, double origin, double spacing)
{
    a.index = min(max(int(floor((source + t * direction - origin) / spacing + 0.5)), 0), a.n - 1);
    a.step = direction > 0.0 ? 1 : -1;
    const double infinite = __longlong_as_double(0x7ff0000000000000LL);
    a.delta = direction != 0.0 ? fabs(spacing / direction) : infinite;
    a.next = direction != 0.0 ? (origin + (a.index + 0.5 * a.step) * spacing - source) / direction : infinite;
}

// Into the next voxel along this axis if the walk has come to its face; false where the volume ends.
__device__ __forceinline__ bool advance(Axis& a, double t)
{
    if (a.next > t)
        return true;
    a.index += a.step;
    a.next += a.delta;
    return unsigned(a.index) < unsigned(a.n);
}

// Line integrals (g/cm2) of two densities from the source along e, voxel by voxel (Amanatides and Woo 1987).
__device__ void path(
    const float* basis_a, const float* basis_b, int nz, int ny, int nx, const double* g, double ex, double ey, double ez,
    double& path_a, double& path_b)
{
    path_a = path_b = 0.0;
    Axis x = crossing(g[SOURCE], ex, g[ORIGIN], g[SPACING], nx);
    Axis y = crossing(g[SOURCE + 1], ey, g[ORIGIN + 1], g[SPACING + 1], ny);
    Axis z = crossing(g[SOURCE + 2], ez, g[ORIGIN + 2], g[SPACING + 2], nz);
    double t = max(max(0.0, x.enter), max(y.enter, z.enter));
    const double t_end = min(min(1.0, x.leave), min(y.leave, z.leave));
    if (t_end <= t)
        return;
    const double inside = t + 1e-9; // a hair inside, so that the first voxel is the one that the ray enters
    start(x, inside, g[SOURCE], ex, g[ORIGIN], g[SPACING]);
    start(y, inside, g[SOURCE + 1], ey, g[ORIGIN + 1], g[SPACING + 1]);
    start(z, inside, g[SOURCE + 2], ez, g[ORIGIN + 2], g[SPACING + 2]);
    while (t < t_end) {
        const double t_next = min(min(x.next, y.next), min(z.next, t_end));
        const i64 voxel = (i64(z.index) * ny + y.index) * nx + x.index;
        path_a += (t_next - t) * basis_a[voxel];
        path_b += (t_next - t) * basis_b[voxel];
        t = t_next;
        if (!advance(x, t) || !advance(y, t) || !advance(z, t))
            break;
    }
    const double length_cm = sqrt(ex * ex + ey * ey + ez * ez) / 10.0;
    path_a *= length_cm;
    path_b *= length_cm;
}

extern "C" __global__ void __launch_bounds__(256) add_terma(
    float* kerma, float* scerma, const float* __restrict__ basis_a, const float* __restrict__ basis_b,
    const short* __restrict__ release_index, int nz, int ny, int nx, const double* __restrict__ geometry,
    const double* __restrict__ integral, int rows, int columns, const double* __restrict__ cutoff,
    const float* __restrict__ mu_a, const float* __restrict__ mu_b, const float* __restrict__ release_kerma,
    const float* __restrict__ release_scerma, int energies)
{
    const i64 voxel = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (voxel >= i64(nz) * ny * nx)
        return;
    const int release = release_index[voxel];
    if (release < 0)
        return;
    const double* g = geometry;
    const i64 row = voxel / nx;
    const int ix = int(voxel - row * nx), iz = int(row / ny), iy = int(row - i64(iz) * ny);
    const double ex = g[ORIGIN] + ix * g[SPACING] - g[SOURCE];
    const double ey = g[ORIGIN + 1] + iy * g[SPACING + 1] - g[SOURCE + 1];
    const double ez = g[ORIGIN + 2] + iz * g[SPACING + 2] - g[SOURCE + 2];
    const double* r = g + ROTATION;
    const double depth = -(r[6] * ex + r[7] * ey + r[8] * ez);
    if (depth <= 0.0)
        return;
    const double scale = g[SAD] / depth;
    const double x = (r[0] * ex + r[1] * ey + r[2] * ez) * scale;
    const double y = (r[3] * ex + r[4] * ey + r[5] * ez) * scale;
    const int parts = int(g[PARTS]);
    double fluence = 0.0;
    for (int i = 0; i < parts; ++i) {
        const double* middle = g + PARTS + 1 + 2 * i;
        fluence += map_mean(
            integral, rows, columns, g, x + middle[0] * scale, y + middle[1] * scale, g[HALF_X] * scale,
            g[HALF_Y] * scale);
    }
    fluence /= parts;
    if (fluence <= *cutoff)
        return;
    double a, b;
    path(basis_a, basis_b, nz, ny, nx, g, ex, ey, ez, a, b);
    const double theta = atan(sqrt(x * x + y * y) / g[SAD]) * 57.295779513082320877;
    const double soft =
        1.0 + theta * (g[SOFTENING] + theta * (g[SOFTENING + 1] + theta * g[SOFTENING + 2]));
    const float path_a = float(a * soft), path_b = float(b * soft);
    const float* kerma_of = release_kerma + i64(release) * energies;
    const float* scerma_of = release_scerma + i64(release) * energies;
    float k = 0.0f, s = 0.0f;
    for (int e = 0; e < energies; ++e) {
        // fmaxf would turn NaN into no attenuation
        const float thickness = path_a * mu_a[e] + path_b * mu_b[e];
        const float survive = thickness < 0.0f ? 1.0f : 1.0f - one_minus_exp2_minus(thickness);
        k = fmaf(survive, kerma_of[e], k);
        s = fmaf(survive, scerma_of[e], s);
    }
    // the map is relative to isotropic emission, so it falls with the square of the true distance
    const float released = float(fluence * (g[SAD] * g[SAD] / (ex * ex + ey * ey + ez * ez)));
    kerma[voxel] += released * k;
    scerma[voxel] += released * s;
}
