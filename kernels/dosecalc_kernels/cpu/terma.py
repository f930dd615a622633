"""Collision kerma and scerma by exact ray tracing on the CPU. Contract: `dosecalc_kernels.contract`, "terma"."""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange

from dosecalc_kernels.cpu.fast_math import one_minus_exp2_minus

_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


@njit(inline="always")
def _map_sum(integral, x, y, parts, scale, half_x, half_y):
    """Sum of a map over rectangles, from its integral image [rows + 1, columns + 1] (bilinear in the integral).

    Everything in pixels from the image's first corner: the middle of all rectangles, and half widths; ``parts`` are
    theirs from that middle, in units of ``scale`` pixels.
    """
    total = 0.0
    for i in range(len(parts)):
        px, py = x + parts[i, 0] * scale, y + parts[i, 1] * scale
        xa, fa = _cell(px - half_x, integral.shape[1])
        xb, fb = _cell(px + half_x, integral.shape[1])
        ya, ga = _cell(py - half_y, integral.shape[0])
        yb, gb = _cell(py + half_y, integral.shape[0])
        total += (_in_cell(integral, xb, fb, yb, gb) - _in_cell(integral, xa, fa, yb, gb)) - (
            _in_cell(integral, xb, fb, ya, ga) - _in_cell(integral, xa, fa, ya, ga)
        )
    return total


@njit(inline="always")
def _beside(middle, reach, n):
    """Whether all that lies within a reach of a place is beside an axis of n corners."""
    return middle + reach <= 0.0 or middle - reach >= n - 1.0


@njit(inline="always")
def _cell(place, n):
    """The cell of an axis of n corners that holds a place, and the share of it that lies before the place."""
    place = min(max(place, 0.0), n - 1.0)
    i = min(int(place), n - 2)
    return i, place - i


@njit(inline="always")
def _in_cell(integral, ix, fx, iy, fy):
    lower = integral[iy, ix] + (integral[iy, ix + 1] - integral[iy, ix]) * fx
    upper = integral[iy + 1, ix] + (integral[iy + 1, ix + 1] - integral[iy + 1, ix]) * fx
    return lower + (upper - lower) * fy


@njit
def _footprint(bld_from_grid, spacing_mm):
    """A voxel's shadow as rectangles: their middles [n, 2] about that of the shadow, and their half widths, mm.

    One rectangle where the voxel stands along the map; else its halves along each axis that stands askew, so that what
    upright rectangles miss of a turned shadow is a quarter. Each rectangle is as wide (root mean square) as the shadow
    of its part.
    """
    size = spacing_mm.copy()
    n = 1
    parts = np.zeros((8, 2))
    for axis in range(3):
        u, v = bld_from_grid[0, axis], bld_from_grid[1, axis]
        longest = max(abs(u), abs(v), abs(bld_from_grid[2, axis]))
        if longest > 1.0 - 1e-6:
            continue
        for i in range(n):
            parts[n + i, 0] = parts[i, 0] + 0.25 * u * spacing_mm[axis]
            parts[n + i, 1] = parts[i, 1] + 0.25 * v * spacing_mm[axis]
            parts[i, 0] -= 0.25 * u * spacing_mm[axis]
            parts[i, 1] -= 0.25 * v * spacing_mm[axis]
        n *= 2
        size[axis] *= 0.5
    half_x = half_y = 0.0
    for axis in range(3):
        half_x += (0.5 * bld_from_grid[0, axis] * size[axis]) ** 2
        half_y += (0.5 * bld_from_grid[1, axis] * size[axis]) ** 2
    return parts[:n], math.sqrt(half_x), math.sqrt(half_y)


@njit(inline="always")
def _first_crossing(source, delta, origin, spacing, n):
    """Entry and exit parameters of the segment source + t delta, t in [0, 1], for one axis of the box."""
    lo = (origin - 0.5 * spacing - source) / delta if delta != 0 else -np.inf
    hi = (origin + (n - 0.5) * spacing - source) / delta if delta != 0 else np.inf
    if delta == 0 and not (origin - 0.5 * spacing <= source <= origin + (n - 0.5) * spacing):
        return 1.0, 0.0
    return min(lo, hi), max(lo, hi)


@njit(error_model="numpy")
def _path(basis_a, basis_b, sx, sy, sz, px, py, pz, ox, oy, oz, dx, dy, dz):
    """Line integrals (g/cm2) of two densities from source to point, voxel by voxel (Amanatides and Woo 1987)."""
    nz, ny, nx = basis_a.shape
    ex, ey, ez = px - sx, py - sy, pz - sz
    length_cm = math.sqrt(ex * ex + ey * ey + ez * ez) / 10.0
    a0, a1 = _first_crossing(sx, ex, ox, dx, nx)
    b0, b1 = _first_crossing(sy, ey, oy, dy, ny)
    c0, c1 = _first_crossing(sz, ez, oz, dz, nz)
    t = max(0.0, a0, b0, c0)
    t_end = min(1.0, a1, b1, c1)
    if t_end <= t:
        return 0.0, 0.0
    # a hair inside, so that the first voxel is the one that the ray enters
    te = t + 1e-9
    ix = min(max(math.floor((sx + te * ex - ox) / dx + 0.5), 0), nx - 1)
    iy = min(max(math.floor((sy + te * ey - oy) / dy + 0.5), 0), ny - 1)
    iz = min(max(math.floor((sz + te * ez - oz) / dz + 0.5), 0), nz - 1)
    step_x, step_y, step_z = (1 if ex > 0 else -1), (1 if ey > 0 else -1), (1 if ez > 0 else -1)
    delta_x = abs(dx / ex) if ex != 0 else np.inf
    delta_y = abs(dy / ey) if ey != 0 else np.inf
    delta_z = abs(dz / ez) if ez != 0 else np.inf
    next_x = (ox + (ix + 0.5 * step_x) * dx - sx) / ex if ex != 0 else np.inf
    next_y = (oy + (iy + 0.5 * step_y) * dy - sy) / ey if ey != 0 else np.inf
    next_z = (oz + (iz + 0.5 * step_z) * dz - sz) / ez if ez != 0 else np.inf
    path_a = path_b = 0.0
    while t < t_end:
        t_next = min(next_x, next_y, next_z, t_end)
        path_a += (t_next - t) * basis_a[iz, iy, ix]
        path_b += (t_next - t) * basis_b[iz, iy, ix]
        t = t_next
        if next_x <= t:
            ix += step_x
            next_x += delta_x
            if ix < 0 or ix >= nx:
                break
        if next_y <= t:
            iy += step_y
            next_y += delta_y
            if iy < 0 or iy >= ny:
                break
        if next_z <= t:
            iz += step_z
            next_z += delta_z
            if iz < 0 or iz >= nz:
                break
    return path_a * length_cm, path_b * length_cm


@njit(fastmath=_FASTMATH, error_model="numpy")
def _spectral_sum(path_a, path_b, mu_a, mu_b, release_kerma, release_scerma):
    kerma = float32(0)
    scerma = float32(0)
    for e in range(len(mu_a)):
        survive = float32(1) - one_minus_exp2_minus(max(path_a * mu_a[e] + path_b * mu_b[e], float32(0)))
        kerma += survive * release_kerma[e]
        scerma += survive * release_scerma[e]
    return kerma, scerma


@njit(parallel=True, error_model="numpy", cache=True)
def add_terma(
    kerma, scerma, basis_a, basis_b, release_index, origin_mm, spacing_mm,
    source_mm, bld_from_grid, sad_mm, integral, map_origin_mm, map_pitch_mm, cutoff,
    mu_a, mu_b, release_kerma, release_scerma, softening,
):  # fmt: skip
    """Add what one fluence map releases. See the contract for shapes and units."""
    nz, ny, nx = basis_a.shape
    corners_y, corners_x = integral.shape
    ox, oy, oz = origin_mm
    dx, dy, dz = spacing_mm
    parts, half_x, half_y = _footprint(bld_from_grid, spacing_mm)
    reach_x, reach_y = np.abs(parts[:, 0]).max() + half_x, np.abs(parts[:, 1]).max() + half_y
    for row in prange(nz * ny):
        iz = row // ny
        iy = row - iz * ny
        pz = oz + iz * dz
        py = oy + iy * dy
        for ix in range(nx):
            r = release_index[iz, iy, ix]
            if r < 0:
                continue
            px = ox + ix * dx
            ex, ey, ez = px - source_mm[0], py - source_mm[1], pz - source_mm[2]
            depth = -(bld_from_grid[2, 0] * ex + bld_from_grid[2, 1] * ey + bld_from_grid[2, 2] * ez)
            if depth <= 0.0:
                continue
            scale = sad_mm / depth
            x = (bld_from_grid[0, 0] * ex + bld_from_grid[0, 1] * ey + bld_from_grid[0, 2] * ez) * scale
            y = (bld_from_grid[1, 0] * ex + bld_from_grid[1, 1] * ey + bld_from_grid[1, 2] * ez) * scale
            pixels = scale / map_pitch_mm
            column, line = (x - map_origin_mm[0]) / map_pitch_mm, (y - map_origin_mm[1]) / map_pitch_mm
            if _beside(column, reach_x * pixels, corners_x) or _beside(line, reach_y * pixels, corners_y):
                continue
            fluence = _map_sum(integral, column, line, parts, pixels, half_x * pixels, half_y * pixels)
            fluence /= 4.0 * half_x * half_y * pixels * pixels * len(parts)
            if fluence <= cutoff:
                continue
            a, b = _path(basis_a, basis_b, source_mm[0], source_mm[1], source_mm[2], px, py, pz, ox, oy, oz, dx, dy, dz)
            tangent = math.sqrt(x * x + y * y) / sad_mm
            theta = math.degrees(math.atan(tangent))
            soft = 1.0 + theta * (softening[0] + theta * (softening[1] + theta * softening[2]))
            k, s = _spectral_sum(float32(a * soft), float32(b * soft), mu_a, mu_b, release_kerma[r], release_scerma[r])
            # the map is relative to isotropic emission, so it falls with the square of the true distance
            inverse_square = sad_mm * sad_mm / (ex * ex + ey * ey + ez * ez)
            kerma[iz, iy, ix] += float32(fluence * inverse_square) * k
            scerma[iz, iy, ix] += float32(fluence * inverse_square) * s
