// DVH sampling. Contract: "inside", "signed_distance", "chord_power", "accumulate", "raster_area", "extremes". A thread
// for each node, point or row of cells. What many threads add to is added as whole numbers (volumes in units of 2^-33
// mm3), so that the order does not matter; other sums are kept row by row and added up on the host.
#include "common.cuh"

typedef unsigned long long u64;

#define INFINITE __longlong_as_double(0x7ff0000000000000LL)
#define UNITS_PER_MM3 8589934592.0

// Squared distance of a point to the segment (x1, y1, x2, y2).
__device__ double squared_distance(double x, double y, const double* s)
{
    const double ex = s[2] - s[0], ey = s[3] - s[1], px = x - s[0], py = y - s[1];
    const double length2 = ex * ex + ey * ey;
    const double t = length2 > 0.0 ? min(1.0, max(0.0, (px * ex + py * ey) / length2)) : 0.0;
    const double dx = px - t * ex, dy = py - t * ey;
    return dx * dx + dy * dy;
}

extern "C" __global__ void inside(
    double x0, double y0, double step, int nx, int ny, const double* __restrict__ segments, int m, bool* within)
{
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= nx * ny)
        return;
    const int i = at % nx, j = at / nx;
    const double y = y0 + j * step;
    int count = 0;
    for (int k = 0; k < m; ++k) {
        const double* s = segments + 4 * k;
        const bool up = s[1] <= s[3];
        const double xa = up ? s[0] : s[2], ya = up ? s[1] : s[3], xb = up ? s[2] : s[0], yb = up ? s[3] : s[1];
        // half open, so that a vertex on a row counts once
        if (y < ya || y >= yb || double(j) < ceil((ya - y0) / step))
            continue;
        const double x = xa + (y - ya) / (yb - ya) * (xb - xa);
        count += max(0.0, ceil((x - x0) / step)) <= i;
    }
    within[at] = count % 2 == 1;
}

extern "C" __global__ void signed_distance(
    double x0, double y0, double step, int nx, int ny, const double* __restrict__ segments, int m,
    const bool* __restrict__ within, double* distance, double* ux, double* uy)
{
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= nx * ny)
        return;
    const double x = x0 + (at % nx) * step, y = y0 + (at / nx) * step;
    double best = INFINITE;
    int owner = 0;
    for (int k = 0; k < m; ++k) {
        const double d2 = squared_distance(x, y, segments + 4 * k);
        if (d2 < best) {
            best = d2;
            owner = k;
        }
    }
    const double* s = segments + 4 * owner;
    const double ex = s[2] - s[0], ey = s[3] - s[1], length2 = ex * ex + ey * ey;
    const double t = length2 > 0.0 ? min(1.0, max(0.0, ((x - s[0]) * ex + (y - s[1]) * ey) / length2)) : 0.0;
    double dx = s[0] + t * ex - x, dy = s[1] + t * ey - y, length = sqrt(dx * dx + dy * dy);
    if (length < 1e-6 * step) { // on the contour: across its edge
        dx = -ey;
        dy = ex;
        length = sqrt(length2);
    }
    ux[at] = length > 0.0 ? dx / length : 1.0;
    uy[at] = length > 0.0 ? dy / length : 0.0;
    distance[at] = within[at] ? sqrt(best) : -sqrt(best);
}

extern "C" __global__ void chord_power(
    const double* __restrict__ xs, const double* __restrict__ ys, const double* __restrict__ uxs,
    const double* __restrict__ uys, int n, const double* __restrict__ segments, int m, double radius, double* power,
    double* begin, double* end)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= n)
        return;
    const double x = xs[p], y = ys[p], ux = uxs[p], uy = uys[p];
    // the two nearest crossings on either side
    double ahead1 = INFINITE, ahead2 = INFINITE, behind1 = INFINITE, behind2 = INFINITE, nearest2 = INFINITE;
    int count = 0;
    for (int k = 0; k < m; ++k) {
        const double* s = segments + 4 * k;
        nearest2 = min(nearest2, squared_distance(x, y, s));
        const double ax = s[0] - x, ay = s[1] - y, bx = s[2] - x, by = s[3] - y;
        const double sa = ax * uy - ay * ux, sb = bx * uy - by * ux;
        if ((sa > 0.0) == (sb > 0.0))
            continue;
        const double w = sa / (sa - sb);
        const double t = (ax + w * (bx - ax)) * ux + (ay + w * (by - ay)) * uy;
        if (t > 0.0) {
            ++count;
            ahead2 = t < ahead1 ? ahead1 : min(ahead2, t);
            ahead1 = min(ahead1, t);
        } else {
            behind2 = -t < behind1 ? behind1 : min(behind2, -t);
            behind1 = min(behind1, -t);
        }
    }
    if (count % 2 == 1 && behind1 < INFINITE) {
        power[p] = ahead1 * behind1, begin[p] = -behind1, end[p] = ahead1;
    } else if (ahead2 < INFINITE && (ahead1 <= behind1 || behind2 == INFINITE)) {
        power[p] = -ahead1 * ahead2, begin[p] = ahead1, end[p] = ahead2;
    } else if (behind2 < INFINITE) {
        power[p] = -behind1 * behind2, begin[p] = -behind2, end[p] = -behind1;
    } else { // the line misses: as of a disc at the nearest point
        const double d = sqrt(nearest2);
        power[p] = -d * (d + 2.0 * radius), begin[p] = 0.0, end[p] = 0.0;
    }
}

struct Dose {
    const float* gy;
    i64 nz, ny, nx;
    double origin[3], spacing[3], lower[3], upper[3];
};

__device__ Dose dose_of(const float* gy, i64 nz, i64 ny, i64 nx, const double* grid)
{
    Dose d = {gy, nz, ny, nx};
    const i64 n[3] = {nx, ny, nz};
    for (int a = 0; a < 3; ++a) {
        d.origin[a] = grid[a];
        d.spacing[a] = grid[3 + a];
        d.lower[a] = grid[a] - 0.5 * grid[3 + a];
        d.upper[a] = grid[a] + (n[a] - 0.5) * grid[3 + a];
    }
    return d;
}

__device__ bool in_box(const Dose& d, double x, double y, double z)
{
    return d.lower[0] <= x && x <= d.upper[0] && d.lower[1] <= y && y <= d.upper[1] && d.lower[2] <= z && z <= d.upper[2];
}

// Trilinear dose and its gradient per mm; beyond the outermost centres the outermost value holds.
__device__ double dose_and_gradient(const Dose& d, double x, double y, double z, double& ddx, double& ddy, double& ddz)
{
    const double gx = min(max((x - d.origin[0]) / d.spacing[0], 0.0), d.nx - 1.0);
    const double gy = min(max((y - d.origin[1]) / d.spacing[1], 0.0), d.ny - 1.0);
    const double gz = min(max((z - d.origin[2]) / d.spacing[2], 0.0), d.nz - 1.0);
    const i64 i = min(i64(gx), max(d.nx - 2, i64(0))), j = min(i64(gy), max(d.ny - 2, i64(0)));
    const i64 k = min(i64(gz), max(d.nz - 2, i64(0)));
    const i64 next = i + 1 < d.nx ? 1 : 0, along = j + 1 < d.ny ? d.nx : 0, up = k + 1 < d.nz ? d.ny * d.nx : 0;
    const double u = gx - i, v = gy - j, w = gz - k;
    const float* at = d.gy + (k * d.ny + j) * d.nx + i;
    const double d000 = at[0], d100 = at[next], d010 = at[along], d110 = at[along + next];
    const double d001 = at[up], d101 = at[up + next], d011 = at[up + along], d111 = at[up + along + next];
    const double a00 = d000 + u * (d100 - d000), a10 = d010 + u * (d110 - d010);
    const double a01 = d001 + u * (d101 - d001), a11 = d011 + u * (d111 - d011);
    const double b0 = a00 + v * (a10 - a00), b1 = a01 + v * (a11 - a01);
    ddx = ((1 - w) * ((1 - v) * (d100 - d000) + v * (d110 - d010)) + w * ((1 - v) * (d101 - d001) + v * (d111 - d011))) /
          d.spacing[0];
    ddy = ((1 - w) * (a10 - a00) + w * (a11 - a01)) / d.spacing[1];
    ddz = (b1 - b0) / d.spacing[2];
    return b0 + w * (b1 - b0);
}

// What a thread knows of its cells: minimum and maximum dose, volume, covered volume, integral of dose over it.
struct Totals {
    double low, high, volume, covered, dose_sum;
};

__device__ void see(const Dose& d, double x, double y, double z, Totals& totals)
{
    if (!in_box(d, x, y, z))
        return;
    double gx, gy, gz;
    const double dose = dose_and_gradient(d, x, y, z, gx, gy, gz);
    totals.low = min(totals.low, dose);
    totals.high = max(totals.high, dose);
}

struct Histogram {
    u64* mass; // two's complement, so that what is taken away is added as well
    u64* step;
    i64 n;
    double low_gy, per_gy;
};

__device__ void add(u64* to, double volume_mm3) { atomicAdd(to, u64(i64(rint(volume_mm3 * UNITS_PER_MM3)))); }

// Add a step of a density (mass per bin) at a position in bins.
__device__ void step_at(const Histogram& h, double position, double density)
{
    const double p = min(max(position, 0.0), double(h.n));
    const i64 b = min(i64(p), h.n - 1);
    add(h.mass + b, (b + 1 - p) * density);
    add(h.step + b + 1, density);
}

// Add a weight evenly over `width` bins about position `at`; what would fall outside is moved to the edge.
__device__ void spread(const Histogram& h, double weight, double at, double width)
{
    const double low = max(at - width / 2.0, 0.0), high = min(at + width / 2.0, double(h.n));
    if (width < 0.5 || high - low < 0.5) {
        add(h.mass + min(max(i64(at), i64(0)), h.n - 1), weight);
        return;
    }
    step_at(h, low, weight / (high - low));
    step_at(h, high, -weight / (high - low));
}

// Middle and length of the part of an interval that lies in [lower, upper].
__device__ void overlap(double& centre, double& width, double lower, double upper)
{
    const double a = max(centre - width / 2.0, lower), b = min(centre + width / 2.0, upper);
    centre = 0.5 * (a + b);
    width = max(0.0, b - a);
}

// Add a cell of some area (square of side `width`) and height, as far as the grid covers it.
__device__ void deposit(
    const Dose& d, const Histogram& h, double area, double x, double y, double z, double width, double height, Totals& totals)
{
    totals.volume += area * height;
    double lx = width, ly = width, lz = height;
    overlap(x, lx, d.lower[0], d.upper[0]);
    overlap(y, ly, d.lower[1], d.upper[1]);
    overlap(z, lz, d.lower[2], d.upper[2]);
    if (lx <= 0.0 || ly <= 0.0 || lz <= 0.0)
        return;
    const double weight = area * height * (lx / width) * (ly / width) * (lz / height);
    double gx, gy, gz;
    const double dose = dose_and_gradient(d, x, y, z, gx, gy, gz);
    const double range = sqrt((gx * lx) * (gx * lx) + (gy * ly) * (gy * ly) + (gz * lz) * (gz * lz));
    spread(h, weight, (dose - h.low_gy) * h.per_gy, range * h.per_gy);
    totals.covered += weight;
    totals.dose_sum += weight * dose;
    totals.low = min(totals.low, dose);
    totals.high = max(totals.high, dose);
}

// One half of a cell, and the part of it where a function that is linear in it is positive.
struct Part {
    double x[4], y[4], cut_x[2], cut_y[2], share, cx, cy;
    int corners, cuts;
};

// The diagonal of a cell alternates so that no direction is preferred. `f`: values at (0, 0), (1, 0), (0, 1), (1, 1).
__device__ Part half_of_cell(int i, int j, int half, double xa, double ya, double step, const double* f)
{
    // corners as x + 2 y
    const int corners[4][3] = {{0, 1, 3}, {0, 3, 2}, {0, 1, 2}, {1, 3, 2}};
    const int* c = corners[((i + j) % 2) * 2 + half];
    Part p;
    p.corners = p.cuts = 0;
    double px[3], py[3], v[3];
    for (int n = 0; n < 3; ++n) {
        px[n] = xa + (c[n] & 1) * step;
        py[n] = ya + (c[n] >> 1) * step;
        v[n] = f[c[n]];
    }
    for (int a = 0; a < 3; ++a) {
        const int b = (a + 1) % 3;
        if (v[a] > 0.0) {
            p.x[p.corners] = px[a];
            p.y[p.corners++] = py[a];
        }
        if ((v[a] > 0.0) != (v[b] > 0.0)) {
            const double t = v[a] / (v[a] - v[b]);
            p.cut_x[p.cuts] = p.x[p.corners] = px[a] + t * (px[b] - px[a]);
            p.cut_y[p.cuts++] = p.y[p.corners++] = py[a] + t * (py[b] - py[a]);
        }
    }
    double total = 0.0, cx = 0.0, cy = 0.0;
    for (int k = 1; k < p.corners - 1; ++k) {
        const double area =
            fabs((p.x[k] - p.x[0]) * (p.y[k + 1] - p.y[0]) - (p.x[k + 1] - p.x[0]) * (p.y[k] - p.y[0]));
        total += area;
        cx += area * (p.x[0] + p.x[k] + p.x[k + 1]) / 3.0;
        cy += area * (p.y[0] + p.y[k] + p.y[k + 1]) / 3.0;
    }
    p.share = total / (step * step);
    p.cx = total > 0.0 ? cx / total : 0.0;
    p.cy = total > 0.0 ? cy / total : 0.0;
    return p;
}

struct Piece {
    const double *constant, *linear, *quadratic, *hole_first, *hole_last;
    bool never_grow;
    int nx;
};

// The piece's level set at a raster node: positive inside.
__device__ double level(const Piece& p, int j, int i, double t)
{
    const i64 n = i64(j) * p.nx + i;
    double value = p.constant[n] + t * (p.linear[n] + t * p.quadratic[n]);
    if (p.never_grow)
        value = min(value, p.constant[n]);
    return min(value, -(t < 0.5 ? p.hole_first[n] : p.hole_last[n]));
}

// First and last index of the voxel centres that lie in an interval.
__device__ void indices(double centre, double width, double origin, double spacing, i64 n, i64& first, i64& last)
{
    const double half = (0.5 + 1e-6) * width; // a centre on the wall between two cells must not fall between them
    first = i64(ceil(max((centre - half - origin) / spacing, 0.0)));
    last = i64(floor(min(max((centre + half - origin) / spacing, -1.0), n - 1.0)));
}

// g: x0, y0, step, z0, height, weight first and last, low dose, bin width
extern "C" __global__ void __launch_bounds__(128, 1) accumulate(
    const double* __restrict__ constant, const double* __restrict__ linear, const double* __restrict__ quadratic,
    bool never_grow, const double* __restrict__ hole_first, const double* __restrict__ hole_last, int ny, int nx,
    const double* __restrict__ g, int first_layer, int layers, int sublayers, const float* __restrict__ dose_gy, i64 dz,
    i64 dy, i64 dx, const double* __restrict__ grid, i64* mass, i64* step, i64 bins, double* rows)
{
    const i64 item = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item >= i64(layers) * (ny - 1))
        return;
    const int layer = first_layer + int(item / (ny - 1)), j = int(item % (ny - 1));
    const Piece piece = {constant, linear, quadratic, hole_first, hole_last, never_grow, nx};
    const Dose dose = dose_of(dose_gy, dz, dy, dx, grid);
    const Histogram h = {reinterpret_cast<u64*>(mass), reinterpret_cast<u64*>(step), bins, g[7], 1.0 / g[8]};
    const double size = g[2], height = g[4], thickness = fabs(height) / sublayers;
    const bool face = layer < 0 || layer == sublayers;
    const double t = min(1.0, max(0.0, (layer + 0.5) / sublayers)), z = g[3] + t * height;
    const double weight = g[5] + t * (g[6] - g[5]);
    Totals totals = {INFINITE, -INFINITE, 0.0, 0.0, 0.0};
    i64 k0, k1, j0, j1;
    indices(z, thickness, dose.origin[2], dose.spacing[2], dz, k0, k1);
    const double ya = g[1] + j * size, yc = ya + 0.5 * size;
    indices(yc, size, dose.origin[1], dose.spacing[1], dy, j0, j1);
    for (int i = 0; i < nx - 1; ++i) {
        const double f[4] = {
            level(piece, j, i, t), level(piece, j, i + 1, t), level(piece, j + 1, i, t), level(piece, j + 1, i + 1, t)};
        const int positive = (f[0] > 0.0) + (f[1] > 0.0) + (f[2] > 0.0) + (f[3] > 0.0);
        if (positive == 0)
            continue;
        const double xa = g[0] + i * size, xc = xa + 0.5 * size;
        if (!face) { // a trilinear dose has its inner extremes at the voxels' centres
            i64 i0, i1;
            indices(xc, size, dose.origin[0], dose.spacing[0], dx, i0, i1);
            for (i64 gk = k0; gk <= k1; ++gk)
                for (i64 gj = j0; gj <= j1; ++gj)
                    for (i64 gi = i0; gi <= i1; ++gi) {
                        const double at = min(1.0, max(0.0, (dose.origin[2] + gk * dose.spacing[2] - g[3]) / height));
                        const double u = (dose.origin[0] + gi * dose.spacing[0] - xa) / size;
                        const double v = (dose.origin[1] + gj * dose.spacing[1] - ya) / size;
                        double value = 0.0;
                        for (int c = 0; c < 4; ++c)
                            value += ((c & 1 ? u : 1.0 - u) * (c >> 1 ? v : 1.0 - v)) *
                                     level(piece, j + (c >> 1), i + (c & 1), at);
                        if (value > 0.0) {
                            const double d = dose_gy[(gk * dy + gj) * dx + gi];
                            totals.low = min(totals.low, d);
                            totals.high = max(totals.high, d);
                        }
                    }
        }
        if (positive == 4) {
            if (face)
                see(dose, xc, yc, z, totals);
            else
                deposit(dose, h, weight * size * size, xc, yc, z, size, thickness, totals);
            continue;
        }
        for (int half = 0; half < 2; ++half) {
            const Part p = half_of_cell(i, j, half, xa, ya, size, f);
            if (p.corners < 3)
                continue;
            for (int c = 0; c < p.cuts; ++c)
                see(dose, p.cut_x[c], p.cut_y[c], z, totals);
            if (!face && p.share > 0.0) {
                const double area = 0.5 * p.share * size * size;
                deposit(dose, h, weight * area, p.cx, p.cy, z, sqrt(area), thickness, totals);
            }
        }
    }
    double* row = rows + 5 * item;
    row[0] = totals.low, row[1] = totals.high, row[2] = totals.volume, row[3] = totals.covered, row[4] = totals.dose_sum;
}

extern "C" __global__ void raster_area(const double* __restrict__ values, int ny, int nx, double* rows)
{
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= ny - 1)
        return;
    double cells = 0.0;
    for (int i = 0; i < nx - 1; ++i) {
        const double* v = values + i64(j) * nx + i;
        const double f[4] = {v[0], v[1], v[nx], v[nx + 1]};
        const int positive = (f[0] > 0.0) + (f[1] > 0.0) + (f[2] > 0.0) + (f[3] > 0.0);
        if (positive == 4)
            cells += 1.0;
        else if (positive > 0)
            for (int half = 0; half < 2; ++half) {
                const Part p = half_of_cell(i, j, half, 0.0, 0.0, 1.0, f);
                if (p.corners >= 3)
                    cells += 0.5 * p.share;
            }
    }
    rows[j] = cells;
}

extern "C" __global__ void extremes(
    const double* __restrict__ points, i64 n, const float* __restrict__ dose_gy, i64 nz, i64 ny, i64 nx,
    const double* __restrict__ grid, double* low, double* high)
{
    const i64 p = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= n)
        return;
    Totals totals = {INFINITE, -INFINITE, 0.0, 0.0, 0.0};
    see(dose_of(dose_gy, nz, ny, nx, grid), points[3 * p], points[3 * p + 1], points[3 * p + 2], totals);
    low[p] = totals.low;
    high[p] = totals.high;
}
