"""Collision kerma and scerma by exact ray tracing on the CPU. Contract: `dosecalc_kernels.contract`, "terma"."""

from __future__ import annotations

import math

import numpy as np
from numba import float32, njit, prange

from dosecalc_kernels.cpu.fast_math import one_minus_exp2_minus
from dosecalc_kernels.cpu.rays import LANES, scratch, side_by_side, trace_pairs

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
    shape = basis_a.shape
    pairs = side_by_side(basis_a, basis_b)
    footprint = _footprint(bld_from_grid, spacing_mm)
    for row in prange(shape[0] * shape[1]):
        iz = row // shape[1]
        iy = row - iz * shape[1]
        place = np.empty((shape[2], 3))  # of the voxels with fluence
        which, fluence, theta = np.empty(shape[2], np.int64), np.empty(shape[2]), np.empty(shape[2])
        n = _fluence_of_row(
            which, place, fluence, theta, release_index[iz, iy], iy, iz, origin_mm, spacing_mm, source_mm,
            bld_from_grid, sad_mm, integral, map_origin_mm, map_pitch_mm, cutoff, footprint,
        )  # fmt: skip
        ways, cells, means = scratch()
        for first in range(0, n, LANES):
            stop = min(first + LANES, n)
            trace_pairs(pairs, shape, origin_mm, spacing_mm, source_mm, place[first:stop], ways, cells, means)
            for m in range(first, stop):
                ix, t = which[m], theta[m]
                ex, ey, ez = place[m, 0] - source_mm[0], place[m, 1] - source_mm[1], place[m, 2] - source_mm[2]
                square = ex * ex + ey * ey + ez * ez
                # softer off the axis; cm, as attenuation is
                path = 0.1 * math.sqrt(square) * (1.0 + t * (softening[0] + t * (softening[1] + t * softening[2])))
                r = release_index[iz, iy, ix]
                a, b = float32(means[0, m - first] * path), float32(means[1, m - first] * path)
                k, s = _spectral_sum(a, b, mu_a, mu_b, release_kerma[r], release_scerma[r])
                # the map is relative to isotropic emission, so it falls with the square of the true distance
                weight = float32(fluence[m] * sad_mm * sad_mm / square)
                kerma[iz, iy, ix] += weight * k
                scerma[iz, iy, ix] += weight * s


@njit(error_model="numpy")
def _fluence_of_row(
    which, place, fluence, theta, release_index, iy, iz, origin_mm, spacing_mm, source_mm,
    bld_from_grid, sad_mm, integral, map_origin_mm, map_pitch_mm, cutoff, footprint,
):  # fmt: skip
    """The voxels of a row that have fluence: index, place (mm), fluence, angle off the axis (degrees); their number."""
    parts, half_x, half_y = footprint
    corners_y, corners_x = integral.shape
    reach_x, reach_y = np.abs(parts[:, 0]).max() + half_x, np.abs(parts[:, 1]).max() + half_y
    py, pz = origin_mm[1] + iy * spacing_mm[1], origin_mm[2] + iz * spacing_mm[2]
    n = 0
    for ix in range(len(release_index)):
        if release_index[ix] < 0:
            continue
        px = origin_mm[0] + ix * spacing_mm[0]
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
        mean = _map_sum(integral, column, line, parts, pixels, half_x * pixels, half_y * pixels)
        mean /= 4.0 * half_x * half_y * pixels * pixels * len(parts)
        if mean <= cutoff:
            continue
        which[n], fluence[n] = ix, mean
        place[n, 0], place[n, 1], place[n, 2] = px, py, pz
        theta[n] = math.degrees(math.atan(math.sqrt(x * x + y * y) / sad_mm))
        n += 1
    return n
