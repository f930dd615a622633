"""Dose of contamination electrons on the CPU. Contract: `dosecalc_kernels.contract`, "add_contamination"."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange


@njit(inline="always")
def _next_face(p, step, origin, spacing, i):
    """Distance, in units of ``step``, from a place in voxel i of an axis to the face towards which the step goes."""
    if step == 0.0:
        return np.inf
    face = origin + (i + (0.5 if step > 0 else -0.5)) * spacing
    return (face - p) / step


@njit
def _depth(density, index, point, origin, spacing, towards, limit):
    """Mass path (g/cm2) from a voxel's centre along a unit vector to the edge of the grid, or to beyond the limit."""
    nz, ny, nx = density.shape
    ix, iy, iz = index
    px, py, pz = point
    ux, uy, uz = towards
    to_x = _next_face(px, ux, origin[0], spacing[0], ix)
    to_y = _next_face(py, uy, origin[1], spacing[1], iy)
    to_z = _next_face(pz, uz, origin[2], spacing[2], iz)
    over_x = spacing[0] / abs(ux) if ux != 0.0 else np.inf
    over_y = spacing[1] / abs(uy) if uy != 0.0 else np.inf
    over_z = spacing[2] / abs(uz) if uz != 0.0 else np.inf
    t = path = 0.0
    while path <= limit:
        nearest = min(to_x, to_y, to_z)
        path += 0.1 * (nearest - t) * density[iz, iy, ix]
        t = nearest
        if to_x <= t:
            ix += 1 if ux > 0 else -1
            to_x += over_x
            if ix < 0 or ix >= nx:
                break
        if to_y <= t:
            iy += 1 if uy > 0 else -1
            to_y += over_y
            if iy < 0 or iy >= ny:
                break
        if to_z <= t:
            iz += 1 if uz > 0 else -1
            to_z += over_z
            if iz < 0 or iz >= nz:
                break
    return path


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
    nz, ny, nx = density.shape
    for row in prange(nz * ny):
        iz = row // ny
        iy = row - iz * ny
        pz, py = origin_mm[2] + iz * spacing_mm[2], origin_mm[1] + iy * spacing_mm[1]
        for ix in range(nx):
            if release_index[iz, iy, ix] < 0:
                continue
            px = origin_mm[0] + ix * spacing_mm[0]
            ex, ey, ez = px - source_mm[0], py - source_mm[1], pz - source_mm[2]
            below = -(bld_from_grid[2, 0] * ex + bld_from_grid[2, 1] * ey + bld_from_grid[2, 2] * ez)
            if below <= 0.0:
                continue
            scale = sad_mm / below
            x = (bld_from_grid[0, 0] * ex + bld_from_grid[0, 1] * ey + bld_from_grid[0, 2] * ez) * scale
            y = (bld_from_grid[1, 0] * ex + bld_from_grid[1, 1] * ey + bld_from_grid[1, 2] * ez) * scale
            electrons = _bilinear(values, (x - map_origin_mm[0]) / map_pitch_mm, (y - map_origin_mm[1]) / map_pitch_mm)
            if electrons <= 0.0:
                continue
            distance = math.sqrt(ex * ex + ey * ey + ez * ez)
            towards = (-ex / distance, -ey / distance, -ez / distance)
            path = _depth(density, (ix, iy, iz), (px, py, pz), origin_mm, spacing_mm, towards, limit_gcm2)
            if not path > limit_gcm2:  # a lost density shows in the dose
                inverse_square = (sad_mm / distance) ** 2
                dose[iz, iy, ix] += surface_dose * electrons * inverse_square * math.exp(-path / depth_gcm2)
