"""Slow point-kernel superposition: rays traced exactly from each voxel, the tabulated kernels, the kernel's own tilt.

No cones, no exponentials, no lines shared between voxels: what the fast transport is held against. Everything is in
the gantry frame of a beam along -z whose grid axes are patient axes x, y, z with depth = depth0 - z.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange


def angular_tables(kernel, n_angles=361):
    """Primary and scatter per steradian on even angles from 0 to pi, cumulative in radius: [2, angles, radii]."""
    cosine = np.cos(np.linspace(0, np.pi, n_angles))
    return np.array([kernel.per_steradian(part, cosine) for part in ("primary", "scatter")])


def directions(n_theta, n_phi):
    """Unit vectors that fill the sphere, and their solid angles: dense about the beam's axis (0, 0, -1)."""
    edges = np.pi * np.linspace(0, 1, n_theta + 1) ** 1.5
    cosine = (np.cos(edges[1:]) + np.cos(edges[:-1])) / 2
    omega = -np.diff(np.cos(edges)) * 2 * np.pi / n_phi
    phi = (np.arange(n_phi) + 0.5) * 2 * np.pi / n_phi
    sine = np.sqrt(1 - cosine**2)
    vectors = np.stack(
        [sine[:, None] * np.cos(phi), sine[:, None] * np.sin(phi), np.repeat(-cosine[:, None], n_phi, 1)], -1
    )
    return vectors.reshape(-1, 3), np.repeat(omega, n_phi)


@njit(parallel=True, error_model="numpy")
def dose_at(points, released, density, spacing, origin, source, tables, radii, vectors, omega):
    """Dose at points (x, y, z), cm, of energy released per mass [2, z, y, x] (kerma, scerma) in a density [z, y, x].

    A ray from the point against each direction crosses voxel after voxel; each gives off its released energy as the
    kernel deposits between the mass depths at which the ray enters and leaves it, at the angle between the direction
    and the line from the source to the middle of the crossing.
    """
    nz, ny, nx = density.shape
    n_angles = tables.shape[1]
    out = np.zeros(len(points))
    for p in prange(len(points)):
        total = 0.0
        for d in range(len(vectors)):
            ux, uy, uz = -vectors[d, 0], -vectors[d, 1], -vectors[d, 2]
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            mass = 0.0
            while True:
                # a hair onwards, so that a point on a face belongs to the voxel that the ray goes on in
                ix = math.floor((x + 1e-9 * ux - origin[0]) / spacing[0] + 0.5)
                iy = math.floor((y + 1e-9 * uy - origin[1]) / spacing[1] + 0.5)
                iz = math.floor((z + 1e-9 * uz - origin[2]) / spacing[2] + 0.5)
                if ix < 0 or iy < 0 or iz < 0 or ix >= nx or iy >= ny or iz >= nz:
                    break
                step = 1e9
                for u, at, i, o, s in (
                    (ux, x, ix, origin[0], spacing[0]),
                    (uy, y, iy, origin[1], spacing[1]),
                    (uz, z, iz, origin[2], spacing[2]),
                ):
                    if abs(u) > 1e-12:
                        face = o + (i + (0.5 if u > 0 else -0.5)) * s
                        step = min(step, max((face - at) / u, 0.0) + 1e-9)
                rho = density[iz, iy, ix]
                near, far = mass, mass + rho * step
                if near >= radii[-1]:
                    break
                if released[0, iz, iy, ix] > 0.0 or released[1, iz, iy, ix] > 0.0:
                    mx, my, mz = x + 0.5 * step * ux, y + 0.5 * step * uy, z + 0.5 * step * uz
                    rx, ry, rz = mx - source[0], my - source[1], mz - source[2]
                    r = math.sqrt(rx * rx + ry * ry + rz * rz)
                    cosine = -(rx * ux + ry * uy + rz * uz) / r
                    angle = math.acos(min(1.0, max(-1.0, cosine))) / math.pi * (n_angles - 1)
                    low = min(int(angle), n_angles - 2)
                    f = angle - low
                    for part in range(2):
                        row, above = tables[part, low], tables[part, low + 1]
                        gain = (_at(row, radii, far) - _at(row, radii, near)) * (1 - f)
                        gain += (_at(above, radii, far) - _at(above, radii, near)) * f
                        total += released[part, iz, iy, ix] * gain * omega[d]
                mass = far
                x += step * ux
                y += step * uy
                z += step * uz
        out[p] = total
    return out


@njit
def _at(row, radii, l):  # noqa: E741
    """Linear interpolation of a cumulative row, constant beyond its end."""
    if l >= radii[-1]:
        return row[-1]
    i = np.searchsorted(radii, l, side="right") - 1
    return row[i] + (row[i + 1] - row[i]) * (l - radii[i]) / (radii[i + 1] - radii[i])
