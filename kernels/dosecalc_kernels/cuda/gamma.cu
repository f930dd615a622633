// Gamma index. Contract: "gamma_of_points". A thread for each point and criterion. With offsets it takes them in order of
// their length until they are longer than the least gamma found; without, it looks for the minimum over all points, cell
// by cell in rings of rising distance, as the CPU's kernel does (docs/gamma.md). Lengths in units of the distance
// criterion, doses in units of the dose criterion.
#include "common.cuh"

#define STEPS 40
#define TWIST 0.5
#define MOST_PARTS 8
#define STILL 1e-7
#define SLACK 1e-9
#define SAME 1e-6

#define INFINITE __longlong_as_double(0x7ff0000000000000LL)
#define NOTHING __longlong_as_double(0x7ff8000000000000LL)

struct Nodes {
    const double* at;
    i64 n;
    double per_cell; // nodes per mm, 0 where they are not regular
};

__device__ __forceinline__ double clip(double value, double low, double high) { return min(max(value, low), high); }

// Distance of 0 from the interval.
__device__ __forceinline__ double apart(double low, double high) { return max(0.0, max(low, -high)); }

// First node that is not below a position.
__device__ i64 search(const Nodes& nodes, double position)
{
    i64 low = 0, high = nodes.n;
    while (low < high) {
        const i64 middle = (low + high) / 2;
        if (nodes.at[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Cell of a position, or the outermost one.
__device__ i64 cell_of(const Nodes& nodes, double position)
{
    const i64 last = nodes.n - 2;
    if (last <= 0)
        return 0;
    i64 cell;
    if (nodes.per_cell > 0.0)
        cell = position > nodes.at[0] ? i64((position - nodes.at[0]) * nodes.per_cell) : 0;
    else
        cell = search(nodes, position) - 1;
    return min(max(cell, i64(0)), last);
}

// Cell of a position and where in it, 0 to 1; false outside the nodes.
__device__ bool locate(const Nodes& nodes, double position, i64& cell, double& share)
{
    const i64 last = nodes.n - 2;
    cell = 0;
    share = 0.0;
    if (last < 0)
        return fabs(position - nodes.at[0]) <= SLACK;
    if (nodes.per_cell > 0.0) {
        share = (position - nodes.at[0]) * nodes.per_cell;
        cell = min(max(i64(share), i64(0)), last);
        share -= cell;
    } else {
        cell = min(max(search(nodes, position) - 1, i64(0)), last);
        share = (position - nodes.at[cell]) / (nodes.at[cell + 1] - nodes.at[cell]);
    }
    return -SLACK <= share && share <= 1.0 + SLACK;
}

struct Cells {
    const double* dose;
    const double* low;
    const double* high;
    Nodes z, y, x;
};

// Trilinear dose; false outside the nodes.
__device__ bool dose_at(const Cells& c, double z, double y, double x, double& dose)
{
    i64 k, j, i;
    double fz, fy, fx;
    if (!locate(c.z, z, k, fz) || !locate(c.y, y, j, fy) || !locate(c.x, x, i, fx))
        return false;
    const i64 up = c.z.n > 1 ? c.y.n * c.x.n : 0, along = c.y.n > 1 ? c.x.n : 0, next = c.x.n > 1 ? 1 : 0;
    const double* v = c.dose + (k * c.y.n + j) * c.x.n + i;
    const double v00 = v[0] + (v[next] - v[0]) * fx, v01 = v[along] + (v[along + next] - v[along]) * fx;
    const double v10 = v[up] + (v[up + next] - v[up]) * fx;
    const double v11 = v[up + along] + (v[up + along + next] - v[up + along]) * fx;
    const double v0 = v00 + (v01 - v00) * fy, v1 = v10 + (v11 - v10) * fy;
    dose = v0 + (v1 - v0) * fz;
    return true;
}

// Trilinear dose within a cell and its slopes along z, y, x per width of the cell.
__device__ void dose_and_slopes(
    const double* v, double c, double b, double a, double& dose, double& gz, double& gy, double& gx)
{
    const double v00 = v[0] + (v[1] - v[0]) * a, v01 = v[2] + (v[3] - v[2]) * a;
    const double v10 = v[4] + (v[5] - v[4]) * a, v11 = v[6] + (v[7] - v[6]) * a;
    const double v0 = v00 + (v01 - v00) * b, v1 = v10 + (v11 - v10) * b;
    const double along_x0 = (v[1] - v[0]) * (1.0 - b) + (v[3] - v[2]) * b;
    const double along_x1 = (v[5] - v[4]) * (1.0 - b) + (v[7] - v[6]) * b;
    dose = v0 + (v1 - v0) * c;
    gz = v1 - v0;
    gy = (v01 - v00) * (1.0 - c) + (v11 - v10) * c;
    gx = along_x0 * (1.0 - c) + along_x1 * c;
}

// A box: lower and upper bound along z, y, x.
struct Box {
    double z0, z1, y0, y1, x0, x1;
};

// Least |y|^2 + (rest + g.y)^2 over a box: it is y = clip(-t g) with t = rest + g.y, one equation in t.
__device__ void optimum(
    double rest, double gz, double gy, double gx, const Box& box, double& z, double& y, double& x)
{
    double t = rest / (1.0 + gz * gz + gy * gy + gx * gx);
    double low = -INFINITE, high = INFINITE;
    for (int n = 0; n <= 20; ++n) {
        z = clip(-t * gz, box.z0, box.z1);
        y = clip(-t * gy, box.y0, box.y1);
        x = clip(-t * gx, box.x0, box.x1);
        double slope = 1.0, fixed = rest;
        z == -t * gz ? slope += gz * gz : fixed += gz * z;
        y == -t * gy ? slope += gy * gy : fixed += gy * y;
        x == -t * gx ? slope += gx * gx : fixed += gx * x;
        const double next = fixed / slope;
        if (fabs(next - t) <= 1e-12 * (fabs(t) + 1e-12))
            return;
        (next > t ? low : high) = t;
        t = low < next && next < high ? next : 0.5 * (low + high);
    }
}

// Least squared gamma in a part of a cell, from its point next to the reference point on.
__device__ double descend(const double* v, const Box& box, const Box& part, double d, double per_dose)
{
    const double per_z = box.z1 > box.z0 ? 1.0 / (box.z1 - box.z0) : 0.0;
    const double per_y = box.y1 > box.y0 ? 1.0 / (box.y1 - box.y0) : 0.0;
    const double per_x = box.x1 > box.x0 ? 1.0 / (box.x1 - box.x0) : 0.0;
    double z = clip(0.0, part.z0, part.z1), y = clip(0.0, part.y0, part.y1), x = clip(0.0, part.x0, part.x1);
    double best_z = z, best_y = y, best_x = x, least = INFINITE;
    for (int n = 0; n < STEPS; ++n) {
        double dose, gz, gy, gx;
        dose_and_slopes(v, (z - box.z0) * per_z, (y - box.y0) * per_y, (x - box.x0) * per_x, dose, gz, gy, gx);
        const double e = (dose - d) * per_dose;
        gz *= per_z * per_dose;
        gy *= per_y * per_dose;
        gx *= per_x * per_dose;
        const double gamma2 = z * z + y * y + x * x + e * e;
        if (gamma2 < least * (1.0 - STILL)) {
            least = gamma2;
            best_z = z, best_y = y, best_x = x;
            optimum(e - gz * z - gy * y - gx * x, gz, gy, gx, part, z, y, x);
        } else if (gamma2 > least * (1.0 + STILL)) {
            z = 0.5 * (z + best_z), y = 0.5 * (y + best_y), x = 0.5 * (x + best_x);
        } else
            break;
    }
    return least;
}

// Into how many parts along each axis to divide a cell, so that dose is nearly linear in each.
__device__ int parts_of(const double* v, double per_dose)
{
    double twist = fabs(v[0] - v[1] - v[2] + v[3]) + fabs(v[4] - v[5] - v[6] + v[7]);
    twist = max(twist, fabs(v[0] - v[1] - v[4] + v[5]) + fabs(v[2] - v[3] - v[6] + v[7]));
    twist = max(twist, fabs(v[0] - v[2] - v[4] + v[6]) + fabs(v[1] - v[3] - v[5] + v[7]));
    twist *= per_dose;
    return twist <= TWIST ? 1 : min(MOST_PARTS, int(ceil(min(sqrt(twist / TWIST), 1e6))));
}

// Least squared gamma in a cell, or `best`.
__device__ double least_in_cell(const double* v, const Box& box, double d, double per_dose, double best)
{
    const int n = parts_of(v, per_dose);
    const int nz = box.z1 > box.z0 ? n : 1, ny = box.y1 > box.y0 ? n : 1, nx = box.x1 > box.x0 ? n : 1;
    for (int k = 0; k < nz; ++k)
        for (int j = 0; j < ny; ++j)
            for (int i = 0; i < nx; ++i) {
                Box part = box;
                if (n > 1) {
                    part.z0 = box.z0 + (box.z1 - box.z0) * k / nz, part.z1 = box.z0 + (box.z1 - box.z0) * (k + 1) / nz;
                    part.y0 = box.y0 + (box.y1 - box.y0) * j / ny, part.y1 = box.y0 + (box.y1 - box.y0) * (j + 1) / ny;
                    part.x0 = box.x0 + (box.x1 - box.x0) * i / nx, part.x1 = box.x0 + (box.x1 - box.x0) * (i + 1) / nx;
                    double low = INFINITE, high = -INFINITE; // a trilinear dose has its extremes in corners
                    for (int corner = 0; corner < 8; ++corner) {
                        double value, gz, gy, gx;
                        dose_and_slopes(
                            v, double(k + corner / 4) / nz, double(j + corner / 2 % 2) / ny,
                            double(i + corner % 2) / nx, value, gz, gy, gx);
                        low = min(low, value), high = max(high, value);
                    }
                    const double gap = max(0.0, max(low - d, d - high)) * per_dose;
                    const double z = apart(part.z0, part.z1), y = apart(part.y0, part.y1), x = apart(part.x0, part.x1);
                    if (gap * gap + z * z + y * y + x * x >= best)
                        continue;
                }
                best = min(best, descend(v, box, part, d, per_dose));
            }
    return best;
}

// Distance along one axis to the cells `ring` away on either side; infinite where there are none.
__device__ double ring_distance(const Nodes& nodes, double position, i64 cell, i64 ring, double per_mm)
{
    double least = INFINITE;
    if (cell - ring >= 0)
        least = (position - nodes.at[cell - ring + 1]) * per_mm;
    if (cell + ring <= nodes.n - 2)
        least = min(least, (nodes.at[cell + ring] - position) * per_mm);
    return least;
}

// Least squared gamma over all cells, or `best`.
__device__ double least_anywhere(
    const Cells& c, double pz, double py, double px, double d, double per_dose, double per_mm, double best)
{
    const i64 mz = max(c.z.n - 1, i64(1)), my = max(c.y.n - 1, i64(1)), mx = max(c.x.n - 1, i64(1));
    const i64 k0 = cell_of(c.z, pz), j0 = cell_of(c.y, py), i0 = cell_of(c.x, px);
    const i64 last = max(max(max(k0, mz - 1 - k0), max(j0, my - 1 - j0)), max(i0, mx - 1 - i0));
    const i64 up = c.z.n > 1 ? c.y.n * c.x.n : 0, along = c.y.n > 1 ? c.x.n : 0, next = c.x.n > 1 ? 1 : 0;
    for (i64 ring = 0; ring <= last; ++ring) {
        if (ring > 0) {
            const double reach = min(
                min(ring_distance(c.z, pz, k0, ring, per_mm), ring_distance(c.y, py, j0, ring, per_mm)),
                ring_distance(c.x, px, i0, ring, per_mm));
            if (reach > 0.0 && reach * reach >= best)
                break;
        }
        for (i64 k = max(i64(0), k0 - ring); k < min(mz, k0 + ring + 1); ++k) {
            Box box;
            box.z0 = (c.z.at[k] - pz) * per_mm;
            box.z1 = (c.z.at[min(k + 1, c.z.n - 1)] - pz) * per_mm;
            const double dz = apart(box.z0, box.z1);
            if (dz * dz >= best)
                continue;
            const bool face_z = k - k0 == ring || k0 - k == ring;
            for (i64 j = max(i64(0), j0 - ring); j < min(my, j0 + ring + 1); ++j) {
                box.y0 = (c.y.at[j] - py) * per_mm;
                box.y1 = (c.y.at[min(j + 1, c.y.n - 1)] - py) * per_mm;
                const double dy = apart(box.y0, box.y1);
                if (dz * dz + dy * dy >= best)
                    continue;
                const i64 stride = face_z || j - j0 == ring || j0 - j == ring ? 1 : 2 * ring;
                for (i64 i = i0 - ring; i <= i0 + ring; i += stride) {
                    if (i < 0 || i >= mx)
                        continue;
                    const i64 cell = (k * my + j) * mx + i;
                    const double gap = max(0.0, max(c.low[cell] - d, d - c.high[cell])) * per_dose;
                    box.x0 = (c.x.at[i] - px) * per_mm;
                    box.x1 = (c.x.at[min(i + 1, c.x.n - 1)] - px) * per_mm;
                    const double dx = apart(box.x0, box.x1);
                    if (dz * dz + dy * dy + dx * dx + gap * gap >= best)
                        continue;
                    const double* at = c.dose + (k * c.y.n + j) * c.x.n + i;
                    const double v[8] = {at[0],  at[next],      at[along],      at[along + next],
                                         at[up], at[up + next], at[up + along], at[up + along + next]};
                    best = least_in_cell(v, box, d, per_dose, best);
                }
            }
        }
    }
    return best;
}

// Distance of a position from the extent of the nodes.
__device__ double outside(const Nodes& nodes, double p, double per_mm)
{
    return apart((nodes.at[0] - p) * per_mm, (nodes.at[nodes.n - 1] - p) * per_mm);
}

extern "C" __global__ void __launch_bounds__(128, 1) gamma_of_points(
    const double* __restrict__ reference, i64 wy, i64 wx, const i64* __restrict__ points, i64 n,
    const double* __restrict__ dose, const double* __restrict__ low, const double* __restrict__ high,
    const double* __restrict__ node_z, i64 nz, const double* __restrict__ node_y, i64 ny,
    const double* __restrict__ node_x, i64 nx, const double* __restrict__ per_cell, const double* __restrict__ ref_z,
    const double* __restrict__ ref_y, const double* __restrict__ ref_x, const double* __restrict__ dose_criterion,
    const double* __restrict__ distance_mm, i64 criteria, double max_gamma, const double* __restrict__ offsets,
    i64 n_offsets, float* result)
{
    const i64 item = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item >= n * criteria)
        return;
    const i64 flat = points[item % n];
    const double mm = distance_mm[item / n], criterion = dose_criterion[item], per_dose = 1.0 / criterion;
    const double d = reference[flat], most = max_gamma * max_gamma, per_mm = 1.0 / mm;
    const double pz = ref_z[flat / (wy * wx)], py = ref_y[flat / wx % wy], px = ref_x[flat % wx];
    const Cells c = {
        dose, low, high, {node_z, nz, per_cell[0]}, {node_y, ny, per_cell[1]}, {node_x, nx, per_cell[2]}};
    double value;
    double best = most;
    if (dose_at(c, pz, py, px, value)) {
        const double e = (value - d) * per_dose;
        if (fabs(value - d) <= SAME * criterion) {
            result[item] = float(fabs(value - d) / criterion);
            return;
        }
        best = e * e < most ? e * e : most;
    } else {
        const double z = outside(c.z, pz, per_mm), y = outside(c.y, py, per_mm), x = outside(c.x, px, per_mm);
        if (z * z + y * y + x * x > most) {
            result[item] = float(NOTHING);
            return;
        }
    }
    if (n_offsets == 0)
        best = least_anywhere(c, pz, py, px, d, per_dose, per_mm, best);
    for (i64 s = 0; s < n_offsets; ++s) {
        const double* o = offsets + 4 * s;
        if (o[3] >= best)
            break;
        if (!dose_at(c, pz + o[0] * mm, py + o[1] * mm, px + o[2] * mm, value))
            continue;
        const double e = (value - d) * per_dose;
        best = min(best, o[3] + e * e);
    }
    const double found = sqrt(best);
    const float fails = __int_as_float(0x3f800001); // the float after 1: rounding must not make a point pass
    result[item] = 1.0 + 1e-12 < found && found < fails ? fails : float(found);
}

// Least and greatest corner of each cell between neighbouring nodes, which bound the dose within it.
extern "C" __global__ void cell_bounds(const double* __restrict__ dose, i64 nz, i64 ny, i64 nx, double* low, double* high)
{
    const i64 mz = max(nz - 1, i64(1)), my = max(ny - 1, i64(1)), mx = max(nx - 1, i64(1));
    const i64 cell = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (cell >= mz * my * mx)
        return;
    const i64 i = cell % mx, j = cell / mx % my, k = cell / mx / my;
    double least = INFINITE, most = -INFINITE;
    for (i64 c = k; c < min(k + 2, nz); ++c)
        for (i64 b = j; b < min(j + 2, ny); ++b)
            for (i64 a = i; a < min(i + 2, nx); ++a) {
                const double value = dose[(c * ny + b) * nx + a];
                least = min(least, value);
                most = max(most, value);
            }
    low[cell] = least;
    high[cell] = most;
}
