// Radiological depths in a fan of rays, and pencil-beam dose. Contract: "trace_fan", "add_pencil_dose". A thread for
// each ray, and for each voxel; every thread writes only what is its own.
#include "common.cuh"

// the numbers of `geometry`, both kernels
#define ORIGIN 0
#define SPACING 3
#define SOURCE 6
#define ROTATION 9
#define SAD 18
#define FAN_FIRST 19
#define FAN_PITCH 21
#define FAN_DEPTH 22
#define FAN_STEP 23
// trace_fan
#define VACUUM 24
#define REACH 25
#define WIDEST 27
#define SOFTENING 28
#define TERMA_STEP 31
// add_pencil_dose
#define NEAR_FIRST 24
#define NEAR_PITCH 26
#define FAR_FIRST 27
#define FAR_PITCH 29
#define INDEX_PER_ROOT 30
#define FIRST_SCALE 31
#define SCALE_STEP 32

// One axis of a walk from voxel to voxel along source + t direction.
struct Walk {
    double delta, next;
    int index, step, n;
};

__device__ __forceinline__ void bounds(
    double source, double direction, double origin, double spacing, int n, double& begin, double& end)
{
    const double infinite = __longlong_as_double(0x7ff0000000000000LL);
    const double lower = origin - 0.5 * spacing - source, upper = origin + (n - 0.5) * spacing - source;
    double a = -infinite, b = infinite;
    if (direction != 0.0) {
        a = min(lower / direction, upper / direction);
        b = max(lower / direction, upper / direction);
    } else if (!(lower <= 0.0 && upper >= 0.0)) {
        a = infinite;
        b = -infinite;
    }
    begin = max(begin, a);
    end = min(end, b);
}

__device__ __forceinline__ Walk walk(double t, double source, double direction, double origin, double spacing, int n)
{
    const double infinite = __longlong_as_double(0x7ff0000000000000LL);
    Walk w;
    w.n = n;
    w.step = direction > 0.0 ? 1 : -1;
    w.index = min(max(int(floor((source + t * direction - origin) / spacing + 0.5)), 0), n - 1);
    w.delta = direction != 0.0 ? fabs(spacing / direction) : infinite;
    w.next = direction != 0.0 ? (origin + (w.index + 0.5 * w.step) * spacing - source) / direction : infinite;
    return w;
}

// Into the next voxel along this axis if the walk has come to its face; false where the volume ends.
__device__ __forceinline__ bool advance(Walk& w, double t)
{
    if (w.next > t)
        return true;
    w.index += w.step;
    w.next += w.delta;
    return unsigned(w.index) < unsigned(w.n);
}

// Over one step: what was released before, its distance in length and in mass, all fading with exp(-mass/reach).
struct Lever {
    double mass, lever, arm;
};

__device__ __forceinline__ void carry(Lever& l, double length, double mass, double released, double reach)
{
    const double x = mass / reach;
    const double kept = 1.0 / (1.0 + x * (1.0 + 0.5 * x));
    const double moved = l.mass + 0.5 * released;
    l.lever = kept * (l.lever + length * moved);
    l.arm = kept * (l.arm + mass * moved);
    l.mass = kept * (l.mass + released * (1.0 + 0.5 * x));
}

__device__ __forceinline__ float width(const Lever& l, double widest)
{
    return l.arm > 0.0 ? float(min(l.lever / l.arm, widest)) : 1.0f;
}

__device__ __forceinline__ double log_terma_at(const double* table, int n, double step, double depth)
{
    const double place = min(depth / step, n - 1.001);
    const int i = int(place);
    return table[i] + (place - i) * (table[i + 1] - table[i]);
}

extern "C" __global__ void trace_fan(
    float4* fan, int rows, int columns, int nodes, const float* density, int nz, int ny, int nx, const double* g,
    int lateral, const double* log_terma, int terma_nodes)
{
    const i64 ray = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (ray >= i64(rows) * columns)
        return;
    const double infinite = __longlong_as_double(0x7ff0000000000000LL);
    const double x = g[FAN_FIRST] + double(ray % columns) * g[FAN_PITCH];
    const double y = g[FAN_FIRST + 1] + double(ray / columns) * g[FAN_PITCH];
    const double* r = g + ROTATION;
    // per mm of depth along the beam's axis
    const double ex = (r[0] * x + r[3] * y) / g[SAD] - r[6];
    const double ey = (r[1] * x + r[4] * y) / g[SAD] - r[7];
    const double ez = (r[2] * x + r[5] * y) / g[SAD] - r[8];
    const double stretch_cm = sqrt(ex * ex + ey * ey + ez * ez) / 10.0;
    const double theta = atan(sqrt(x * x + y * y) / g[SAD]) * 57.29577951308232;
    const double* s = g + SOFTENING;
    const double soft = 1.0 + theta * (s[0] + theta * (s[1] + theta * s[2]));
    const bool hardened = s[0] != 0.0 || s[1] != 0.0 || s[2] != 0.0;

    double t = 0.0, end = infinite;
    bounds(g[SOURCE], ex, g[ORIGIN], g[SPACING], nx, t, end);
    bounds(g[SOURCE + 1], ey, g[ORIGIN + 1], g[SPACING + 1], ny, t, end);
    bounds(g[SOURCE + 2], ez, g[ORIGIN + 2], g[SPACING + 2], nz, t, end);
    // a hair inside, so that the first voxel is the one that the ray enters
    const double inside = end > t ? t + 1e-7 : 0.0;
    Walk wx = walk(inside, g[SOURCE], ex, g[ORIGIN], g[SPACING], nx);
    Walk wy = walk(inside, g[SOURCE + 1], ey, g[ORIGIN + 1], g[SPACING + 1], ny);
    Walk wz = walk(inside, g[SOURCE + 2], ez, g[ORIGIN + 2], g[SPACING + 2], nz);

    double depth = 0.0;
    Lever near = {0.0, 0.0, 0.0}, far = {0.0, 0.0, 0.0};
    float4* out = fan + ray * nodes;
    for (int node = 0; node < nodes; node++) {
        const double stop = g[FAN_DEPTH] + node * g[FAN_STEP];
        const double before = t;
        double mass = 0.0, released = 0.0;
        while (t < min(stop, end)) {
            const double to = min(min(min(wx.next, wy.next), wz.next), min(stop, end));
            const double rho = density[(i64(wz.index) * ny + wy.index) * nx + wx.index];
            const double part = rho * (to - t);
            mass += part;
            released += rho > g[VACUUM] ? part : 0.0;
            t = to;
            bool in = advance(wx, t);
            in = advance(wy, t) && in;
            in = advance(wz, t) && in;
            if (!in)
                end = t;
        }
        mass *= stretch_cm;
        depth += mass;
        if (lateral) {
            released *= stretch_cm;
            const double length = max(t - before, 0.0) * stretch_cm;
            carry(near, length, mass, released, g[REACH]);
            carry(far, length, mass, released, g[REACH + 1]);
        }
        float more = 1.0f;
        if (hardened)
            more = float(exp(log_terma_at(log_terma, terma_nodes, g[TERMA_STEP], depth * soft) -
                             log_terma_at(log_terma, terma_nodes, g[TERMA_STEP], depth)));
        out[node] = make_float4(float(depth), width(near, g[WIDEST]), width(far, g[WIDEST]), more);
    }
}

// Weights of the four corners of a cell (first axis first).
struct Corners {
    float w[4];
};

__device__ __forceinline__ Corners corners(float u, float v, float factor)
{
    return {{factor * (1.0f - v) * (1.0f - u), factor * (1.0f - v) * u, factor * v * (1.0f - u), factor * v * u}};
}

// Four values at a time: one access to memory instead of four.
__device__ __forceinline__ float4 interpolated(const float4* at, i64 first, i64 second, const Corners& c)
{
    const float4 p = at[0], q = at[first], r = at[second], s = at[first + second];
    return make_float4(
        c.w[0] * p.x + c.w[1] * q.x + c.w[2] * r.x + c.w[3] * s.x, c.w[0] * p.y + c.w[1] * q.y + c.w[2] * r.y + c.w[3] * s.y,
        c.w[0] * p.z + c.w[1] * q.z + c.w[2] * r.z + c.w[3] * s.z, c.w[0] * p.w + c.w[1] * q.w + c.w[2] * r.w + c.w[3] * s.w);
}

// Row of the weight table for a lateral scale s = 1 / product, with the part of the way to the next one.
__device__ __forceinline__ float scale_place(float product, const double* g, int scales)
{
    const float place = (product / (1.0f + product) - float(g[FIRST_SCALE])) / float(g[SCALE_STEP]);
    return place < 0.0f ? 0.0f : min(place, float(scales - 1.001));
}

extern "C" __global__ void add_pencil_dose(
    float* dose, const short* release_index, int nz, int ny, int nx, const double* g, const float4* fan, int fan_rows,
    int fan_columns, int nodes, const float4* near, int near_rows, int near_columns, const float4* far, int far_rows,
    int far_columns, const float4* primary, const float4* scatter, int depths, int scales, const float* medium)
{
    const i64 voxel = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (voxel >= i64(nz) * ny * nx)
        return;
    const int kind = release_index[voxel];
    if (kind < 0)
        return;
    const double ex = g[ORIGIN] + double(voxel % nx) * g[SPACING] - g[SOURCE];
    const double ey = g[ORIGIN + 1] + double(voxel / nx % ny) * g[SPACING + 1] - g[SOURCE + 1];
    const double ez = g[ORIGIN + 2] + double(voxel / nx / ny) * g[SPACING + 2] - g[SOURCE + 2];
    const double* r = g + ROTATION;
    const double along = -(r[6] * ex + r[7] * ey + r[8] * ez);
    const double magnification = g[SAD] / max(along, 1.0);
    const float x = float((r[0] * ex + r[1] * ey + r[2] * ez) * magnification);
    const float y = float((r[3] * ex + r[4] * ey + r[5] * ez) * magnification);

    // radiological depth, widths and softening, trilinear
    const float w = float((along - g[FAN_DEPTH]) / g[FAN_STEP]);
    float u = (x - float(g[FAN_FIRST])) / float(g[FAN_PITCH]);
    float v = (y - float(g[FAN_FIRST + 1])) / float(g[FAN_PITCH]);
    if (!(w >= 0.0f && u >= 0.0f && v >= 0.0f))
        return;
    int iu = int(u), iv = int(v);
    const int iw = int(w);
    if (iu > fan_columns - 2 || iv > fan_rows - 2 || iw > nodes - 2)
        return;
    const Corners ray = corners(u - iu, v - iv, 1.0f);
    const float fw = w - iw;
    const float4* at = fan + (i64(iv) * fan_columns + iu) * nodes + iw;
    const i64 next_ray = nodes, next_row = i64(fan_columns) * nodes;
    const float4 here = interpolated(at, next_ray, next_row, ray), further = interpolated(at + 1, next_ray, next_row, ray);
    const float value[4] = {
        (1.0f - fw) * here.x + fw * further.x, (1.0f - fw) * here.y + fw * further.y,
        (1.0f - fw) * here.z + fw * further.z, (1.0f - fw) * here.w + fw * further.w};
    if (!(value[0] >= 0.0f)) {
        dose[voxel] += value[0]; // a lost density shows
        return;
    }

    // weights of the shapes: one depth, a scale each for primary and scatter
    const float d = min(sqrtf(value[0]) * float(g[INDEX_PER_ROOT]), float(depths - 1.001));
    const float p = scale_place(value[1] * float(magnification), g, scales);
    const float q = scale_place(value[2] * float(magnification), g, scales);
    const int jd = int(d), jp = int(p), js = int(q);
    const Corners of_primary = corners(p - jp, d - jd, medium[2 * kind]);
    const Corners of_scatter = corners(q - js, d - jd, medium[2 * kind + 1]);
    const float4* in_primary = primary + (i64(jd) * scales + jp) * 2;
    const float4* in_scatter = scatter + (i64(jd) * scales + js) * 2;

    const float4* map = near;
    int fours = 2, columns = near_columns;
    u = (x - float(g[NEAR_FIRST])) / float(g[NEAR_PITCH]);
    v = (y - float(g[NEAR_FIRST + 1])) / float(g[NEAR_PITCH]);
    iu = int(u);
    iv = int(v);
    if (!(u >= 0.0f && v >= 0.0f && iu < near_columns - 1 && iv < near_rows - 1)) {
        map = far;
        fours = 1;
        columns = far_columns;
        u = (x - float(g[FAR_FIRST])) / float(g[FAR_PITCH]);
        v = (y - float(g[FAR_FIRST + 1])) / float(g[FAR_PITCH]);
        iu = int(u);
        iv = int(v);
        if (!(u >= 0.0f && v >= 0.0f && iu <= far_columns - 2 && iv <= far_rows - 2))
            return;
    }
    const Corners pixel = corners(u - iu, v - iv, 1.0f);
    const float4* cell = map + (i64(iv) * columns + iu) * fours;
    const i64 next_depth = i64(scales) * 2;
    float total = 0.0f;
    for (int k = 0; k < fours; k++) {
        const float4 in_map = interpolated(cell + k, fours, i64(columns) * fours, pixel);
        const float4 by_primary = interpolated(in_primary + k, 2, next_depth, of_primary);
        const float4 by_scatter = interpolated(in_scatter + k, 2, next_depth, of_scatter);
        total += (by_primary.x + by_scatter.x) * in_map.x;
        total += (by_primary.y + by_scatter.y) * in_map.y;
        total += (by_primary.z + by_scatter.z) * in_map.z;
        total += (by_primary.w + by_scatter.w) * in_map.w;
    }
    // inverse square, and photons per area of the plane, which the maps hold: (sad/r)^2 / cos^3
    const double distance = sqrt(ex * ex + ey * ey + ez * ez);
    dose[voxel] += value[3] * float(magnification * magnification * distance / max(along, 1.0)) * total;
}
