// Collapsed-cone transport. Contract: "cone_transport"; layout, lanes and order of launches: collapsed_cone.py.
//
// A thread follows one line of one cone through the planes of the volume. Lines of neighbouring threads lie in
// neighbouring voxels of a row in every plane, since all lines of a cone shift together, so that every access of a warp
// is to one run of memory. The state of a line stays in registers; per voxel and cone the thread reads density and its
// reciprocal, kerma and scerma, and adds to the dose of its lane. What the next plane needs is asked for before this
// plane is computed: nothing of it depends on this plane's result, since a line is in no voxel twice.
#include "lines.cuh"

// real numbers per cone: four rates times log2(e), their reciprocals, length of a step, its reciprocal
#define REAL 10

// Emission amplitudes along every row for each cone of a batch: parabolas through three nodes on the part of the row
// whose tilts the polynomials hold for. Sixteen numbers: per exponential its three coefficients, and beside them the
// index of the first node, the extent, and (as bits of integers) the first voxel of the row and the one past the last.
extern "C" __global__ void row_terms(
    const int* __restrict__ whole, const double* __restrict__ amplitudes, const double* __restrict__ projections,
    const int* __restrict__ row_ends, float4* __restrict__ terms, int rows, int cones, double max_tilt)
{
    const i64 item = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item >= i64(rows) * cones)
        return;
    const int cone = int(item / rows), row = int(item - i64(cone) * rows);
    const int* w = whole + cone * WHOLE;
    const int plane = w[ROWS_PER_PLANE] == 1 ? row % w[PLANES] : row / w[ROWS_PER_PLANE];
    const int sheet = w[ROWS_PER_SHEET] == 1 ? row % w[SHEETS] : row / w[ROWS_PER_SHEET];
    const int lo = row_ends[2 * row], hi = row_ends[2 * row + 1];
    float4* out = terms + 4 * item;
    if (lo >= hi) {
        for (int c = 0; c < 4; ++c)
            out[c] = make_float4(0.0f, 0.0f, 0.0f, 0.0f); // hi = lo = 0: nothing of this row is swept
        return;
    }
    const double* p = projections + cone * 12;
    const double px = p[2], py = p[6], pw = p[10];
    const double x = p[0] * plane + p[1] * sheet + p[3];
    const double y = p[4] * plane + p[5] * sheet + p[7];
    const double depth = p[8] * plane + p[9] * sheet + p[11];
    double begin = lo, end = hi - 1;
    within_tilt(x, px, depth, pw, max_tilt, begin, end);
    within_tilt(y, py, depth, pw, max_tilt, begin, end);
    const double half = max(0.5 * (end - begin), 1e-3);
    const double* a = amplitudes + cone * 40;
    double nodes[3][4];
    for (int j = 0; j < 3; ++j) {
        const double i = begin + half * j;
        const double inverse = 1.0 / (depth + pw * i);
        const double u = min(max((x + px * i) * inverse, -max_tilt), max_tilt);
        const double v = min(max((y + py * i) * inverse, -max_tilt), max_tilt);
        const double uu = u * u, uv = u * v, vv = v * v;
        for (int c = 0; c < 4; ++c)
            nodes[j][c] = a[c] + u * a[4 + c] + v * a[8 + c] + uu * a[12 + c] + uv * a[16 + c] + vv * a[20 + c] +
                          uu * u * a[24 + c] + uu * v * a[28 + c] + u * vv * a[32 + c] + vv * v * a[36 + c];
    }
    const double inverse = 0.5 / half;
    const float beside[4] = {float(begin), float(2.0 * half), __int_as_float(lo), __int_as_float(hi)};
    for (int c = 0; c < 4; ++c) {
        const double f0 = nodes[0][c], f1 = nodes[1][c], f2 = nodes[2][c];
        out[c] = make_float4(
            float(f0), float((-3.0 * f0 + 4.0 * f1 - f2) * inverse), float(2.0 * (f0 - 2.0 * f1 + f2) * inverse * inverse),
            beside[c]);
    }
}

// What a line meets in one plane.
struct Visit {
    int voxel; // negative: the line is beside the volume
    int place; // along the row
    int row;
    float2 matter;
    float2 released;
    float dose;
};

// The cones of a batch, one per lane; blocks of all lanes are interleaved so that lanes share planes in the cache.
// whole [lanes, WHOLE], real [lanes, REAL], shifts [lanes, max_planes, 2], terms [lanes, rows, 4], dose [lanes, voxels]
extern "C" __global__ void __launch_bounds__(256) march(
    const float2* __restrict__ matter, const float2* __restrict__ released, const float4* __restrict__ terms,
    const int* __restrict__ shifts, const int* __restrict__ whole, const float* __restrict__ real, float* dose,
    int lanes, int rows, int row_length, int max_planes)
{
    const int lane = blockIdx.x % lanes;
    const int* w = whole + lane * WHOLE;
    const i64 line = i64(blockIdx.x / lanes) * blockDim.x + threadIdx.x;
    const int lines = w[LINES];
    if (line >= i64(lines) * w[LINE_SHEETS])
        return;
    const int line_sheet = w[FIRST_LINE_SHEET] + int(line / lines);
    const int line_place = w[FIRST_LINE] + int(line % lines);
    const int planes = w[PLANES], sheets = w[SHEETS];
    const int rows_per_plane = w[ROWS_PER_PLANE], rows_per_sheet = w[ROWS_PER_SHEET];
    const bool backwards = w[BACKWARDS] != 0;
    shifts += i64(lane) * max_planes * 2;
    terms += i64(lane) * rows * 4;
    dose += i64(lane) * rows * row_length;
    const float* c = real + lane * REAL;
    const float b0 = c[0], b1 = c[1], b2 = c[2], b3 = c[3];
    const float m0 = c[4], m1 = c[5], m2 = c[6], m3 = c[7];
    const float step = c[8], inverse_step = c[9];

    auto visit = [&](int k) {
        Visit v;
        v.voxel = -1;
        if (k >= planes)
            return v;
        const int sheet = line_sheet + shifts[2 * k];
        v.place = line_place + shifts[2 * k + 1];
        if (unsigned(sheet) >= unsigned(sheets) || unsigned(v.place) >= unsigned(row_length))
            return v;
        const int plane = backwards ? planes - 1 - k : k;
        v.row = plane * rows_per_plane + sheet * rows_per_sheet;
        v.voxel = v.row * row_length + v.place;
        v.matter = matter[v.voxel];
        v.released = released[v.voxel];
        v.dose = dose[v.voxel];
        return v;
    };

    float r0 = 0.0f, r1 = 0.0f, r2 = 0.0f, r3 = 0.0f;
    bool entered = false;
    Visit next = visit(w[FIRST_STEP]);
    for (int k = w[FIRST_STEP]; k < planes; ++k) {
        const Visit v = next;
        next = visit(k + 1);
        if (v.voxel < 0) {
            if (entered)
                return; // a line that has left the volume does not come back
            continue;
        }
        entered = true;
        const float4* q = terms + i64(v.row) * 4;
        const float4 q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];
        if (v.place < __float_as_int(q2.w) || v.place >= __float_as_int(q3.w))
            continue;
        const float t = fminf(fmaxf(float(v.place) - q0.w, 0.0f), q1.w);
        const float ell = v.matter.x * step;
        const float e0 = v.released.x * fmaf(t, fmaf(t, q0.z, q0.y), q0.x);
        const float e1 = v.released.x * fmaf(t, fmaf(t, q1.z, q1.y), q1.x);
        const float e2 = v.released.y * fmaf(t, fmaf(t, q2.z, q2.y), q2.x);
        const float e3 = v.released.y * fmaf(t, fmaf(t, q3.z, q3.y), q3.x);
        const float g0 = fmaf(-e0, m0, r0) * one_minus_exp2_minus(ell * b0);
        const float g1 = fmaf(-e1, m1, r1) * one_minus_exp2_minus(ell * b1);
        const float g2 = fmaf(-e2, m2, r2) * one_minus_exp2_minus(ell * b2);
        const float g3 = fmaf(-e3, m3, r3) * one_minus_exp2_minus(ell * b3);
        r0 -= g0;
        r1 -= g1;
        r2 -= g2;
        r3 -= g3;
        const float left = ((g0 + g1) + (g2 + g3)) * (v.matter.y * inverse_step);
        dose[v.voxel] = v.dose + (((e0 + e1) + (e2 + e3)) + left);
    }
}

// sum [voxels] += the lanes' doses, one after the other
extern "C" __global__ void add_lanes(const float* __restrict__ dose, float* __restrict__ sum, i64 voxels, int lanes)
{
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= voxels)
        return;
    float total = sum[i];
    for (int lane = 0; lane < lanes; ++lane)
        total += dose[lane * voxels + i];
    sum[i] = total;
}
