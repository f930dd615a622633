"""Radiological depths in a fan of rays, and pencil-beam dose, on the CPU. Contract: `dosecalc_kernels.contract`."""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange

from dosecalc_kernels.cpu.lanes import shape_sum_4, shape_sum_8, trilinear_4

_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


@njit(inline="always")
def _entry(source, delta, origin, spacing, n):
    """Where the line source + t delta enters and leaves one axis of the box."""
    lower = origin - 0.5 * spacing - source
    upper = origin + (n - 0.5) * spacing - source
    if delta == 0.0:
        return (-np.inf, np.inf) if lower <= 0.0 <= upper else (np.inf, -np.inf)
    a, b = lower / delta, upper / delta
    return min(a, b), max(a, b)


@njit(inline="always")
def _log_terma(table, step, depth):
    """Logarithm of the attenuated energy, linear in the table."""
    place = min(depth / step, len(table) - 1.001)
    i = int(place)
    return table[i] + (place - i) * (table[i + 1] - table[i])


@njit(parallel=True, error_model="numpy", cache=True)
def trace_fan(
    fan, density, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm,
    first_mm, pitch_mm, first_depth_mm, step_mm, vacuum, lateral, reach_gcm2, widest, softening, log_terma, terma_step,
):  # fmt: skip
    """Fill the fan. See the contract for shapes and units."""
    ny, nx = fan.shape[:2]
    for ray in prange(ny * nx):
        jy = ray // nx
        jx = ray - jy * nx
        x = first_mm[0] + jx * pitch_mm
        y = first_mm[1] + jy * pitch_mm
        _trace_ray(
            fan[jy, jx], density, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm, x, y,
            first_depth_mm, step_mm, vacuum, lateral, reach_gcm2, widest, softening, log_terma, terma_step,
        )  # fmt: skip


@njit(error_model="numpy")
def _trace_ray(
    ray, density, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm, x, y,
    first_depth_mm, step_mm, vacuum, lateral, reach_gcm2, widest, softening, log_terma, terma_step,
):  # fmt: skip
    nz, ny, nx = density.shape
    ox, oy, oz = origin_mm
    dx, dy, dz = spacing_mm
    sx, sy, sz = source_mm
    # per mm of depth along the beam's axis; the rotation's transpose takes (x, y, -sad) to the grid's axes
    ex = (bld_from_grid[0, 0] * x + bld_from_grid[1, 0] * y) / sad_mm - bld_from_grid[2, 0]
    ey = (bld_from_grid[0, 1] * x + bld_from_grid[1, 1] * y) / sad_mm - bld_from_grid[2, 1]
    ez = (bld_from_grid[0, 2] * x + bld_from_grid[1, 2] * y) / sad_mm - bld_from_grid[2, 2]
    stretch_cm = math.sqrt(ex * ex + ey * ey + ez * ez) / 10.0
    tangent = math.sqrt(x * x + y * y) / sad_mm
    theta = math.degrees(math.atan(tangent))
    soft = 1.0 + theta * (softening[0] + theta * (softening[1] + theta * softening[2]))
    hardened = softening[0] != 0.0 or softening[1] != 0.0 or softening[2] != 0.0

    a0, a1 = _entry(sx, ex, ox, dx, nx)
    b0, b1 = _entry(sy, ey, oy, dy, ny)
    c0, c1 = _entry(sz, ez, oz, dz, nz)
    begin = max(0.0, a0, b0, c0)
    end = min(a1, b1, c1)
    t = begin
    # a hair inside, so that the first voxel is the one that the ray enters
    te = t + 1e-7
    step_x, step_y, step_z = (1 if ex > 0 else -1), (1 if ey > 0 else -1), (1 if ez > 0 else -1)
    ix = iy = iz = 0
    next_x = next_y = next_z = np.inf
    if end > begin:
        ix = min(max(math.floor((sx + te * ex - ox) / dx + 0.5), 0), nx - 1)
        iy = min(max(math.floor((sy + te * ey - oy) / dy + 0.5), 0), ny - 1)
        iz = min(max(math.floor((sz + te * ez - oz) / dz + 0.5), 0), nz - 1)
        next_x = (ox + (ix + 0.5 * step_x) * dx - sx) / ex if ex != 0.0 else np.inf
        next_y = (oy + (iy + 0.5 * step_y) * dy - sy) / ey if ey != 0.0 else np.inf
        next_z = (oz + (iz + 0.5 * step_z) * dz - sz) / ez if ez != 0.0 else np.inf
    delta_x = abs(dx / ex) if ex != 0.0 else np.inf
    delta_y = abs(dy / ey) if ey != 0.0 else np.inf
    delta_z = abs(dz / ez) if ez != 0.0 else np.inf

    depth = 0.0
    near_mass = near_lever = near_arm = 0.0
    far_mass = far_lever = far_arm = 0.0
    for node in range(len(ray)):
        stop = first_depth_mm + node * step_mm
        before, mass, released = t, 0.0, 0.0
        while t < min(stop, end):
            t_next = min(next_x, next_y, next_z, stop, end)
            rho = density[iz, iy, ix]
            part = rho * (t_next - t)
            mass += part
            released += part if rho > vacuum else 0.0
            t = t_next
            if next_x <= t:
                ix += step_x
                next_x += delta_x
                if ix < 0 or ix >= nx:
                    end = t
            if next_y <= t:
                iy += step_y
                next_y += delta_y
                if iy < 0 or iy >= ny:
                    end = t
            if next_z <= t:
                iz += step_z
                next_z += delta_z
                if iz < 0 or iz >= nz:
                    end = t
        mass *= stretch_cm
        depth += mass
        if lateral:
            released *= stretch_cm
            length = max(t - before, 0.0) * stretch_cm
            near_mass, near_lever, near_arm = _carry(
                near_mass, near_lever, near_arm, length, mass, released, reach_gcm2[0]
            )
            far_mass, far_lever, far_arm = _carry(far_mass, far_lever, far_arm, length, mass, released, reach_gcm2[1])
        ray[node, 0] = float32(depth)
        ray[node, 1] = float32(min(near_lever / near_arm, widest) if near_arm > 0.0 else 1.0)
        ray[node, 2] = float32(min(far_lever / far_arm, widest) if far_arm > 0.0 else 1.0)
        ray[node, 3] = float32(1.0)
        if hardened:
            ray[node, 3] = float32(
                math.exp(_log_terma(log_terma, terma_step, depth * soft) - _log_terma(log_terma, terma_step, depth))
            )


@njit(inline="always")
def _carry(mass_before, lever, arm, length, mass, released, reach):
    """Over one step: what was released before, its distance in length and in mass, all fading with exp(-mass/reach).

    1/(1 + m + m^2/2) stands for the exponential. Both distances are treated alike: in even matter lever is exactly arm
    divided by the density.
    """
    m = mass / reach
    kept = 1.0 / (1.0 + m * (1.0 + 0.5 * m))
    moved = mass_before + 0.5 * released
    return (
        kept * (mass_before + released * (1.0 + 0.5 * m)), kept * (lever + length * moved), kept * (arm + mass * moved)
    )  # fmt: skip


@njit(parallel=True, fastmath=_FASTMATH, error_model="numpy", cache=True)
def add_pencil_dose(
    dose, release_index, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm,
    fan, fan_first_mm, fan_pitch_mm, fan_first_depth_mm, fan_step_mm,
    near, near_first_mm, near_pitch_mm, far, far_first_mm, far_pitch_mm,
    primary, scatter, depth_index_per_root, least_scale_index, scale_index_step, medium,
):  # fmt: skip
    """Add the dose of one view. See the contract for shapes and units."""
    nz, ny = dose.shape[:2]
    for row in prange(nz * ny):
        iz = row // ny
        iy = row - iz * ny
        _row(
            dose[iz, iy], release_index[iz, iy],
            origin_mm[0] - source_mm[0], origin_mm[1] + iy * spacing_mm[1] - source_mm[1],
            origin_mm[2] + iz * spacing_mm[2] - source_mm[2], spacing_mm[0], bld_from_grid, sad_mm,
            fan.ravel(), fan.shape, fan_first_mm, fan_pitch_mm, fan_first_depth_mm, fan_step_mm,
            near.ravel(), near.shape, near_first_mm, near_pitch_mm, far.ravel(), far.shape, far_first_mm, far_pitch_mm,
            primary.ravel(), scatter.ravel(), primary.shape, depth_index_per_root, least_scale_index, scale_index_step,
            medium,
        )  # fmt: skip


@njit(fastmath=_FASTMATH, error_model="numpy")
def _row(
    dose, release_index, x0, y0, z0, dx, bld_from_grid, sad_mm,
    fan, fan_shape, fan_first_mm, fan_pitch_mm, fan_first_depth_mm, fan_step_mm,
    near, near_shape, near_first_mm, near_pitch_mm, far, far_shape, far_first_mm, far_pitch_mm,
    primary, scatter, table_shape, depth_index_per_root, least_scale_index, scale_index_step, medium,
):  # fmt: skip
    """One row of voxels, in steps: what can be computed for several voxels at once goes through short arrays.

    Whole arrays with unsigned offsets, because a signed index costs a test for negative ones.
    """
    fan_ny, fan_nx, nodes, _ = fan_shape
    near_ny, near_nx, _ = near_shape
    far_ny, far_nx, _ = far_shape
    depths, scales, _ = table_shape
    table_steps = (np.uint64(8), np.uint64(8 * scales))
    fan_steps = (np.uint64(4 * nodes), np.uint64(4 * nodes * fan_nx))
    near_steps = (np.uint64(8), np.uint64(8 * near_nx))
    far_steps = (np.uint64(4), np.uint64(4 * far_nx))
    n = len(dose)
    x, y, w = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    enlarged, factor, depth = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    primary_place, scatter_place = np.empty(n, np.float32), np.empty(n, np.float32)
    _project(x, y, w, enlarged, factor, x0, y0, z0, dx, bld_from_grid, sad_mm, fan_first_depth_mm, fan_step_mm)
    for i in range(n):
        depth[i] = float32(-1)
        primary_place[i] = scatter_place[i] = float32(1)
        if release_index[i] < 0 or w[i] < float32(0):
            continue
        u = (x[i] - float32(fan_first_mm[0])) / float32(fan_pitch_mm)
        v = (y[i] - float32(fan_first_mm[1])) / float32(fan_pitch_mm)
        iu, iv, iw = int(u), int(v), int(w[i])
        if u < 0 or v < 0 or iu > fan_nx - 2 or iv > fan_ny - 2 or iw > nodes - 2:
            continue
        at = np.uint64(4 * ((iv * fan_nx + iu) * nodes + iw))
        fw = w[i] - float32(iw)
        depth[i], primary_place[i], scatter_place[i], soft = trilinear_4(
            fan, at, _corners(u - float32(iu), v - float32(iv), float32(1)), fan_steps, float32(1) - fw, fw
        )
        factor[i] *= soft
    # places in the weight tables: one depth, a scale each for primary and scatter
    for i in range(n):
        primary_place[i] = _scale_place(primary_place[i] * enlarged[i], least_scale_index, scale_index_step, scales)
        scatter_place[i] = _scale_place(scatter_place[i] * enlarged[i], least_scale_index, scale_index_step, scales)
        root = np.sqrt(max(depth[i], float32(0)))
        # a voxel that was left out keeps its negative depth
        depth[i] = min(root * float32(depth_index_per_root), float32(depths - 1.001)) if depth[i] >= 0 else depth[i]
    for i in range(n):
        if depth[i] < 0:
            continue
        kind = release_index[i]
        jd, jp, js = int(depth[i]), int(primary_place[i]), int(scatter_place[i])
        fd = depth[i] - float32(jd)
        in_primary, in_scatter = np.uint64(8 * (jd * scales + jp)), np.uint64(8 * (jd * scales + js))
        of_primary = _corners(primary_place[i] - float32(jp), fd, medium[kind, 0])
        of_scatter = _corners(scatter_place[i] - float32(js), fd, medium[kind, 1])
        u = (x[i] - float32(near_first_mm[0])) / float32(near_pitch_mm)
        v = (y[i] - float32(near_first_mm[1])) / float32(near_pitch_mm)
        iu, iv = int(u), int(v)
        if u >= 0 and v >= 0 and iu < near_nx - 1 and iv < near_ny - 1:
            at = np.uint64(8 * (iv * near_nx + iu))
            corners = _corners(u - float32(iu), v - float32(iv), float32(1))
            total = shape_sum_8(
                primary, in_primary, of_primary, scatter, in_scatter, of_scatter, table_steps,
                near, at, corners, near_steps,
            )  # fmt: skip
        else:
            u = (x[i] - float32(far_first_mm[0])) / float32(far_pitch_mm)
            v = (y[i] - float32(far_first_mm[1])) / float32(far_pitch_mm)
            iu, iv = int(u), int(v)
            if u < 0 or v < 0 or iu > far_nx - 2 or iv > far_ny - 2:
                continue
            at = np.uint64(4 * (iv * far_nx + iu))
            corners = _corners(u - float32(iu), v - float32(iv), float32(1))
            total = shape_sum_4(
                primary, in_primary, of_primary, scatter, in_scatter, of_scatter, table_steps,
                far, at, corners, far_steps,
            )  # fmt: skip
        dose[i] += factor[i] * total


@njit(fastmath=_FASTMATH, error_model="numpy")
def _project(x, y, w, enlarged, factor, x0, y0, z0, dx, bld_from_grid, sad_mm, first_depth_mm, step_mm):
    """Where the voxels of a row are seen from the source; a negative ``w`` lies before the fan's first node."""
    ax, ay, az = bld_from_grid[0, 0], bld_from_grid[1, 0], bld_from_grid[2, 0]
    bx = bld_from_grid[0, 1] * y0 + bld_from_grid[0, 2] * z0
    by = bld_from_grid[1, 1] * y0 + bld_from_grid[1, 2] * z0
    bz = bld_from_grid[2, 1] * y0 + bld_from_grid[2, 2] * z0
    across2 = y0 * y0 + z0 * z0
    for i in range(len(x)):
        ex = x0 + i * dx
        along = -(az * ex + bz)
        magnification = sad_mm / max(along, 1.0)
        x[i] = (ax * ex + bx) * magnification
        y[i] = (ay * ex + by) * magnification
        w[i] = (along - first_depth_mm) / step_mm
        enlarged[i] = magnification
        # inverse square, and photons per area of the plane, which the maps hold: (sad/r)^2 / cos^3
        factor[i] = magnification * magnification * math.sqrt(ex * ex + across2) / max(along, 1.0)


@njit(inline="always")
def _corners(u, v, factor):
    """Weights of the four corners of a cell (first axis first), times a factor."""
    one = float32(1)
    return (
        factor * (one - v) * (one - u), factor * (one - v) * u, factor * v * (one - u), factor * v * u
    )  # fmt: skip


@njit(inline="always")
def _scale_place(product, first, step, scales):
    """Row of the weight table for a lateral scale s = 1 / product, with the part of the way to the next one."""
    place = (product / (float32(1) + product) - float32(first)) / float32(step)
    return min(max(place, float32(0)), float32(scales - 1.001))
