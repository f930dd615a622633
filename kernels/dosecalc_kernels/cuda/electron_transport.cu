// Transport of electrons in groups. Contract: "electron_transport"; order of launches and layouts: electron_transport.py.
//
// Every direction has a flow of its own, [directions, voxels]. A thread follows one line of one direction through the
// planes, as in collapsed_cone.cu, and makes the outflow of a group from its inflow; every voxel is on one line of each
// direction. A line passes beside the middle of its voxels, and reads what flows in there from their neighbours, too: so
// outflows go to memory of their own.
//
// The mean flux of a voxel is theta times outflow and (1 - theta) times inflow, so the dose needs no sum of its own while
// lines are swept: `scatter` reads all outflows of a voxel anyway and has the sum of the inflows from the group before.
#include "lines.cuh"

// how many directions a thread of `scatter` mixes at a time, in registers; rows of the matrices are padded to a multiple
#define TOGETHER 16
// below this optical thickness of a cell the source is taken as even in it
#define EVEN_BELOW 0.1f

// matter [voxels] = optical thickness per cm, and electrons that start per source polynomial, in one group
extern "C" __global__ void prepare(
    const float* __restrict__ density, const float* __restrict__ kerma, const unsigned char* __restrict__ material,
    const float* __restrict__ stopping, float2* __restrict__ matter, i64 voxels, float width, float theta)
{
    const i64 v = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (v >= voxels)
        return;
    const float relative = stopping[material[v]];
    matter[v] = make_float2(density[v] * relative / width, kerma[v] * theta / relative);
}

__device__ __forceinline__ double at_tilt(const double* c, double x, double y, double w, double limit)
{
    const double u = min(max(x / w, -limit), limit), v = min(max(y / w, -limit), limit);
    return c[0] + u * (c[1] + u * (c[3] + u * c[6])) + v * (c[2] + v * (c[5] + v * c[9])) +
           u * v * (c[4] + u * c[7] + v * c[8]);
}

// The source along every row of each direction: a parabola on the part of the row whose tilts the polynomials hold for,
// its three coefficients and the index of its first node; the part's extent lies in `extents`.
extern "C" __global__ void row_sources(
    const int* __restrict__ whole, const double* __restrict__ source, const double* __restrict__ projections,
    float4* __restrict__ terms, float* __restrict__ extents, int rows, int row_length, int directions, double max_tilt)
{
    const i64 item = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (item >= i64(rows) * directions)
        return;
    const int direction = int(item / rows), row = int(item - i64(direction) * rows);
    const int* n = whole + direction * WHOLE;
    const int plane = n[ROWS_PER_PLANE] == 1 ? row % n[PLANES] : row / n[ROWS_PER_PLANE];
    const int sheet = n[ROWS_PER_SHEET] == 1 ? row % n[SHEETS] : row / n[ROWS_PER_SHEET];
    const double* p = projections + direction * 12;
    const double px = p[2], py = p[6], pw = p[10];
    const double x = p[0] * plane + p[1] * sheet + p[3];
    const double y = p[4] * plane + p[5] * sheet + p[7];
    const double w = p[8] * plane + p[9] * sheet + p[11];
    double begin = 0.0, end = row_length - 1.0;
    within_tilt(x, px, w, pw, max_tilt, begin, end);
    within_tilt(y, py, w, pw, max_tilt, begin, end);
    const double half = max(0.5 * (end - begin), 1e-3);
    const double middle = begin + half, last = middle + half;
    const double* c = source + direction * 10;
    const double f0 = at_tilt(c, x + px * begin, y + py * begin, w + pw * begin, max_tilt);
    const double f1 = at_tilt(c, x + px * middle, y + py * middle, w + pw * middle, max_tilt);
    const double f2 = at_tilt(c, x + px * last, y + py * last, w + pw * last, max_tilt);
    const double inverse = 0.5 / half;
    terms[item] = make_float4(
        float(f0), float((-3.0 * f0 + 4.0 * f1 - f2) * inverse), float(2.0 * (f0 - 2.0 * f1 + f2) * inverse * inverse),
        float(begin));
    extents[item] = float(2.0 * half);
}

// What a line meets in one plane.
struct Cell {
    int voxel; // negative: the line is beside the volume
    int place; // along the row
    int row;
    float thickness; // optical, per cm
    float start, inflow; // where the line passes
    float own; // inflow of the voxel itself
};

// What is to be added to a voxel's value beside its middle: half its slopes along sheets and rows, times twice the
// distances. `values` have a stride of S numbers.
template <int S>
__device__ __forceinline__ float beside(
    const float* __restrict__ values, i64 below, i64 above, i64 left, i64 right, float sheet, float row)
{
    return sheet * (values[S * above] - values[S * below]) + row * (values[S * right] - values[S * left]);
}

// The lines of some directions; blocks of all directions are interleaved so that they share planes in the cache.
// inflow and outflow [.., voxels], item items[i] for direction i; matter [voxels, 2]; terms and extents [directions,
// rows]; shifts and distances [directions, max_planes, 2]
extern "C" __global__ void __launch_bounds__(256) sweep(
    const float* __restrict__ inflow, float* __restrict__ outflow, const int* __restrict__ items,
    const float* __restrict__ matter, const float4* __restrict__ terms, const float* __restrict__ extents,
    const int* __restrict__ shifts, const float* __restrict__ distances, const int* __restrict__ whole,
    const float* __restrict__ steps, int directions, int rows, int row_length, int max_planes, float theta)
{
    const int direction = blockIdx.x % directions;
    const int* w = whole + direction * WHOLE;
    const i64 line = i64(blockIdx.x / directions) * blockDim.x + threadIdx.x;
    const int lines = w[LINES];
    if (line >= i64(lines) * w[LINE_SHEETS])
        return;
    const int line_sheet = w[FIRST_LINE_SHEET] + int(line / lines);
    const int line_place = w[FIRST_LINE] + int(line % lines);
    const int planes = w[PLANES], sheets = w[SHEETS];
    const int rows_per_plane = w[ROWS_PER_PLANE], rows_per_sheet = w[ROWS_PER_SHEET];
    const bool backwards = w[BACKWARDS] != 0;
    const i64 voxels = i64(rows) * row_length, sheet_stride = i64(rows_per_sheet) * row_length;
    inflow += items[direction] * voxels;
    outflow += items[direction] * voxels;
    shifts += i64(direction) * max_planes * 2;
    distances += i64(direction) * max_planes * 2;
    terms += i64(direction) * rows;
    extents += i64(direction) * rows;
    const float step = steps[direction];
    const float gain = 1.0f / theta, keep = (1.0f - theta) * gain;

    auto visit = [&](int k) {
        Cell c;
        c.voxel = -1;
        if (k >= planes)
            return c;
        const int sheet = line_sheet + shifts[2 * k];
        c.place = line_place + shifts[2 * k + 1];
        if (unsigned(sheet) >= unsigned(sheets) || unsigned(c.place) >= unsigned(row_length))
            return c;
        const int plane = backwards ? planes - 1 - k : k;
        c.row = plane * rows_per_plane + sheet * rows_per_sheet;
        c.voxel = c.row * row_length + c.place;
        const i64 v = c.voxel, below = sheet > 0 ? v - sheet_stride : v, above = sheet + 1 < sheets ? v + sheet_stride : v;
        const i64 left = c.place > 0 ? v - 1 : v, right = c.place + 1 < row_length ? v + 1 : v;
        const float along_sheets = 0.5f * distances[2 * k], along_rows = 0.5f * distances[2 * k + 1];
        c.thickness = matter[2 * v];
        c.start = matter[2 * v + 1] + beside<2>(matter + 1, below, above, left, right, along_sheets, along_rows);
        c.own = inflow[v];
        c.inflow = c.own + beside<1>(inflow, below, above, left, right, along_sheets, along_rows);
        return c;
    };

    float entering = 0.0f, behind = 0.0f;
    bool entered = false;
    Cell next = visit(0);
    for (int k = 0; k < planes; ++k) {
        const Cell c = next;
        next = visit(k + 1);
        if (c.voxel < 0) {
            if (entered)
                return; // a line that has left the volume does not come back
            continue;
        }
        entered = true;
        const float4 q = terms[c.row];
        const float t = fminf(fmaxf(float(c.place) - q.w, 0.0f), extents[c.row]);
        const float x = c.thickness * step;
        const float inverse = 1.0f / x;
        const float ahead = next.voxel < 0 ? c.inflow : next.inflow;
        const float b = x > EVEN_BELOW ? 0.5f * (ahead - behind) : 0.0f;
        const float middle = fmaf(-b, inverse, fmaf(c.start, fmaf(t, fmaf(t, q.z, q.y), q.x), c.inflow));
        const float relaxed = (entering - middle + 0.5f * b) * one_minus_exp2_minus(x * 1.4426950408889634f);
        const float mean = fmaf(relaxed, inverse, middle);
        entering = entering - relaxed + b;
        behind = c.inflow;
        outflow[c.voxel] = fmaf(mean, gain, -c.own * keep);
    }
}

// Dose of a group, and its outflows mixed by the voxel's matrix into the inflows of the next one.
// flow [directions, voxels]; matrices [materials, directions from, padded directions to]; inflows [voxels], the sum over
// directions; weights [materials], dose per mean flux. Each thread has a column of the shared memory to itself.
extern "C" __global__ void __launch_bounds__(128) scatter(
    float* flow, const unsigned char* __restrict__ material, const float4* __restrict__ matrices, float* inflows,
    float* dose, const float* __restrict__ weights, i64 voxels, int directions, int padded, float theta, bool last)
{
    DYNAMIC_SHARED(float, columns);
    const i64 v = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (v >= voxels)
        return;
    float* column = columns + threadIdx.x;
    float out = 0.0f;
    bool some = false;
    for (int from = 0; from < directions; ++from) {
        const float f = flow[from * voxels + v];
        column[from * blockDim.x] = f;
        out += f;
        some = some || f != 0.0f; // so is NaN
    }
    const int m = material[v];
    const float mean = theta * out + (1.0f - theta) * inflows[v];
    dose[v] += mean * weights[m];
    if (last)
        return;
    float total = 0.0f;
    const float4* matrix = matrices + i64(m) * directions * (padded / 4);
    for (int first = 0; some && first < padded; first += TOGETHER) {
        float sums[TOGETHER];
#pragma unroll
        for (int c = 0; c < TOGETHER; ++c)
            sums[c] = 0.0f;
        for (int from = 0; from < directions; ++from) {
            const float f = column[from * blockDim.x];
            const float4* row = matrix + from * (padded / 4) + first / 4;
#pragma unroll
            for (int c = 0; c < TOGETHER; c += 4) {
                const float4 share = row[c / 4];
                sums[c] = fmaf(share.x, f, sums[c]);
                sums[c + 1] = fmaf(share.y, f, sums[c + 1]);
                sums[c + 2] = fmaf(share.z, f, sums[c + 2]);
                sums[c + 3] = fmaf(share.w, f, sums[c + 3]);
            }
        }
#pragma unroll
        for (int c = 0; c < TOGETHER; ++c) {
            total += sums[c]; // what is beyond the directions is nought
            if (first + c < directions)
                flow[(first + c) * voxels + v] = sums[c];
        }
    }
    inflows[v] = total;
}
