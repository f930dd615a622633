// Averages over overlapping boxes, dominant materials and trilinear samples: a thread for each result, summed in the
// order of the CPU's kernels. Contract: "average_axis", "dominant_material", "trilinear".
#include "common.cuh"

extern "C" __global__ void average_axis(
    const float* __restrict__ values, i64 outer, i64 n, i64 inner, const i64* __restrict__ first,
    const double* __restrict__ weights, i64 m, i64 width, float* result)
{
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= outer * m * inner)
        return;
    const i64 b = at % inner, k = at / inner % m, a = at / inner / m;
    double total = 0.0;
    for (i64 w = 0; w < width; ++w) {
        const i64 s = first[k] + w;
        const double weight = weights[k * width + w];
        if (weight == 0.0 || s < 0 || s >= n)
            continue;
        total += weight * values[(a * n + s) * inner + b];
    }
    result[at] = float(total);
}

extern "C" __global__ void dominant_material(
    const unsigned char* __restrict__ material, const float* __restrict__ density, i64 sz, i64 sy, i64 sx,
    int n_materials, const i64* __restrict__ first_z, const double* __restrict__ weights_z, i64 nz, i64 width_z,
    const i64* __restrict__ first_y, const double* __restrict__ weights_y, i64 ny, i64 width_y,
    const i64* __restrict__ first_x, const double* __restrict__ weights_x, i64 nx, i64 width_x, int outside_material,
    double outside_density, unsigned char* result)
{
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= nz * ny * nx)
        return;
    const i64 i = at % nx, j = at / nx % ny, k = at / nx / ny;
    double most = 0.0;
    int best = 0;
    // material by material: there are few, and a table of masses for each thread would lie in slow memory
    for (int wanted = 0; wanted < n_materials; ++wanted) {
        double mass = 0.0, inside = 0.0;
        for (i64 c = 0; c < width_z; ++c) {
            const i64 z = first_z[k] + c;
            const double wz = weights_z[k * width_z + c];
            if (wz == 0.0 || z < 0 || z >= sz)
                continue;
            for (i64 b = 0; b < width_y; ++b) {
                const i64 y = first_y[j] + b;
                const double wzy = wz * weights_y[j * width_y + b];
                if (wzy == 0.0 || y < 0 || y >= sy)
                    continue;
                for (i64 a = 0; a < width_x; ++a) {
                    const i64 x = first_x[i] + a;
                    const double weight = wzy * weights_x[i * width_x + a];
                    if (weight == 0.0 || x < 0 || x >= sx)
                        continue;
                    const i64 voxel = (z * sy + y) * sx + x;
                    if (material[voxel] == wanted)
                        mass += weight * density[voxel];
                    inside += weight;
                }
            }
        }
        if (wanted == outside_material)
            mass += max(0.0, 1.0 - inside) * outside_density;
        if (wanted == 0 || mass > most) {
            most = mass;
            best = wanted;
        }
    }
    result[at] = (unsigned char)(best);
}

extern "C" __global__ void trilinear(
    const float* __restrict__ values, i64 nz, i64 ny, i64 nx, const double* __restrict__ index_zyx, i64 n,
    double outside, float* result)
{
    const i64 p = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (p >= n)
        return;
    double z = index_zyx[3 * p], y = index_zyx[3 * p + 1], x = index_zyx[3 * p + 2];
    // written so that a NaN is outside
    if (!(-0.5 <= z && z <= nz - 0.5 && -0.5 <= y && y <= ny - 0.5 && -0.5 <= x && x <= nx - 0.5)) {
        result[p] = float(outside);
        return;
    }
    z = min(max(z, 0.0), nz - 1.0);
    y = min(max(y, 0.0), ny - 1.0);
    x = min(max(x, 0.0), nx - 1.0);
    const i64 k = i64(floor(z)), j = i64(floor(y)), i = i64(floor(x));
    const i64 k1 = min(k + 1, nz - 1), j1 = min(j + 1, ny - 1), i1 = min(i + 1, nx - 1);
    const double c = z - k, b = y - j, a = x - i;
    const float* l0 = values + (k * ny + j) * nx;
    const float* l1 = values + (k * ny + j1) * nx;
    const float* h0 = values + (k1 * ny + j) * nx;
    const float* h1 = values + (k1 * ny + j1) * nx;
    const double low = (l0[i] * (1 - a) + l0[i1] * a) * (1 - b) + (l1[i] * (1 - a) + l1[i1] * a) * b;
    const double high = (h0[i] * (1 - a) + h0[i1] * a) * (1 - b) + (h1[i] * (1 - a) + h1[i1] * a) * b;
    result[p] = float(low * (1 - c) + high * c);
}
