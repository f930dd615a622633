"""Dose of contamination electrons on the CPU. Contract: `dosecalc_kernels.contract`, "add_contamination"."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from dosecalc_kernels.cpu.rays import LANES, scratch, trace_back


@njit(inline="always")
def _bilinear(values, column, row):
    """Between pixel centres; zero beyond the outermost ones."""
    ny, nx = values.shape
    if not (0.0 <= column <= nx - 1.0 and 0.0 <= row <= ny - 1.0):
        return 0.0
    i, j = min(int(column), nx - 2), min(int(row), ny - 2)
    fx, fy = column - i, row - j
    return (values[j, i] * (1 - fx) + values[j, i + 1] * fx) * (1 - fy) + (
        values[j + 1, i] * (1 - fx) + values[j + 1, i + 1] * fx
    ) * fy


@njit(parallel=True, error_model="numpy", cache=True)
def add_contamination(
    dose, density, release_index, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm,
    values, map_origin_mm, map_pitch_mm, surface_dose, depth_gcm2, limit_gcm2,
):  # fmt: skip
    """Add the electrons of one map. See the contract for shapes and units."""
    shape = density.shape
    flat = density.ravel()
    for row in prange(shape[0] * shape[1]):
        iz = row // shape[1]
        iy = row - iz * shape[1]
        which, place, electrons = np.empty(shape[2], np.int64), np.empty((shape[2], 3)), np.empty(shape[2])
        n = _electrons_of_row(
            which, place, electrons, release_index[iz, iy], iy, iz, origin_mm, spacing_mm, source_mm, bld_from_grid,
            sad_mm, values, map_origin_mm, map_pitch_mm,
        )  # fmt: skip
        ways, cells, means = scratch()
        for first in range(0, n, LANES):
            stop = min(first + LANES, n)
            places = place[first:stop]
            trace_back(flat, shape, origin_mm, spacing_mm, source_mm, places, limit_gcm2, ways, cells, means)
            for m in range(first, stop):
                ex, ey, ez = place[m, 0] - source_mm[0], place[m, 1] - source_mm[1], place[m, 2] - source_mm[2]
                distance = math.sqrt(ex * ex + ey * ey + ez * ez)
                path = 0.1 * distance * means[0, m - first]
                if not path > limit_gcm2:  # a lost density shows in the dose
                    weight = surface_dose * electrons[m] * (sad_mm / distance) ** 2
                    dose[iz, iy, which[m]] += weight * math.exp(-path / depth_gcm2)


@njit(error_model="numpy")
def _electrons_of_row(
    which, place, electrons, release_index, iy, iz, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm,
    values, map_origin_mm, map_pitch_mm,
):  # fmt: skip
    """The voxels of a row that electrons head for: index, place (mm), electrons; their number."""
    py, pz = origin_mm[1] + iy * spacing_mm[1], origin_mm[2] + iz * spacing_mm[2]
    n = 0
    for ix in range(len(release_index)):
        if release_index[ix] < 0:
            continue
        px = origin_mm[0] + ix * spacing_mm[0]
        ex, ey, ez = px - source_mm[0], py - source_mm[1], pz - source_mm[2]
        below = -(bld_from_grid[2, 0] * ex + bld_from_grid[2, 1] * ey + bld_from_grid[2, 2] * ez)
        if below <= 0.0:
            continue
        scale = sad_mm / below
        x = (bld_from_grid[0, 0] * ex + bld_from_grid[0, 1] * ey + bld_from_grid[0, 2] * ez) * scale
        y = (bld_from_grid[1, 0] * ex + bld_from_grid[1, 1] * ey + bld_from_grid[1, 2] * ez) * scale
        found = _bilinear(values, (x - map_origin_mm[0]) / map_pitch_mm, (y - map_origin_mm[1]) / map_pitch_mm)
        if found <= 0.0:
            continue
        which[n], electrons[n] = ix, found
        place[n, 0], place[n, 1], place[n, 2] = px, py, pz
        n += 1
    return n
