"""Radiological depths of one view, on a fan of rays through everything that has matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid
from dosecalc.photon.pencil_basis import pencil_depth_limit
from dosecalc_kernels.cpu.collapsed_cone import VACUUM_G_CM3
from dosecalc_kernels.registry import Backend

FloatArray = NDArray[np.float64]

#: distance between rays at the isocentre plane, in voxels
_RAYS_PER_VOXEL = 1.5
#: lateral widths grow no further than in this density, g/cm3
_LEAST_WIDTH_DENSITY = 0.05
#: step of the table of attenuated energy for off-axis softening, g/cm2
_TERMA_STEP_GCM2 = 0.25
#: matter nearer to the source, or further off the axis, than any beam reaches is not looked at
_NEAREST_MM, _WIDEST_TANGENT = 200.0, 0.5


@dataclass(frozen=True, eq=False)
class Fan:
    """Values along rays from the source.

    Parameters
    ----------
    values : float32 [rays y, rays x, nodes, 4], on the device
        Radiological depth (g/cm2); relative lateral width of primary and scatter (1 in water, 4 in matter of a quarter
        of its density); attenuation off the axis beyond that on it.
    first_mm : float64 [2]
        First ray (x, y) at the isocentre plane, BLD frame.
    pitch_mm : float
    first_depth_mm, step_mm : float
        Nodes along the beam's axis from the source.
    """

    values: Any
    first_mm: FloatArray
    pitch_mm: float
    first_depth_mm: float
    step_mm: float


@dataclass(frozen=True, eq=False)
class FanPhysics:
    """What a beam quality contributes to a fan.

    Parameters
    ----------
    lateral : bool
        Whether lateral widths follow the density.
    reach_gcm2 : (primary, scatter)
        Over how much matter before a point the density counts.
    softening : (a, b, c)
        Of 1 + a t + b t2 + c t3, t the off-axis angle in degrees.
    depths_gcm2, terma : float64 [n]
        Energy released at depths in water.
    """

    lateral: bool
    reach_gcm2: tuple[float, float]
    softening: tuple[float, float, float]
    depths_gcm2: FloatArray
    terma: FloatArray


def corners_of(matter: NDArray[np.bool_], grid: Grid) -> FloatArray:
    """Corners of the box about the centres of all voxels with matter, patient frame: float64 [8, 3]."""
    bounds = []
    for axis in range(3):
        (where,) = np.nonzero(matter.any(tuple(a for a in range(3) if a != 2 - axis)))
        bounds.append([grid.origin_mm[axis] + grid.spacing_mm[axis] * int(i) for i in (where[0], where[-1])])
    return np.array([(x, y, z) for x in bounds[0] for y in bounds[1] for z in bounds[2]])


def extent(corners: FloatArray, source: FloatArray, rotation: FloatArray, sad_mm: float) -> FloatArray | None:
    """Ranges of x, y (isocentre plane, BLD frame) and depth from the source that a box fills, float64 [3, 2], mm.

    None when all of it lies behind the source.
    """
    seen = (corners - source) @ rotation.T
    depth = -seen[:, 2]
    if depth.max() <= 0:
        return None
    nearest = max(float(depth.min()), _NEAREST_MM)
    across = seen[:, :2] / np.maximum(depth, nearest)[:, None] * sad_mm
    limit = _WIDEST_TANGENT * sad_mm
    low, high = np.clip(across.min(0), -limit, limit), np.clip(across.max(0), -limit, limit)
    return np.array([(low[0], high[0]), (low[1], high[1]), (nearest, float(depth.max()))])


def trace(
    device: Backend,
    density: Any,
    grid: Grid,
    source: FloatArray,
    rotation: FloatArray,
    sad_mm: float,
    reach: FloatArray,
    physics: FanPhysics,
    label: str,
) -> Fan:
    """Radiological depths over the extent of the matter.

    Parameters
    ----------
    device : Backend
    density : float32 [z, y, x], on the device
        Of water that attenuates as the matter does, g/cm3.
    grid : Grid
    source : float64 [3]
    rotation : float64 [3, 3]
        From the patient to the BLD frame.
    reach : float64 [3, 2]
        As `extent` gives it.
    label : str
        Of the beam, for the message.

    Raises
    ------
    GeometryError
        ``PATIENT_TOO_DEEP`` when a ray passes more than the kernels cover.
    """
    spacing, origin = np.array(grid.spacing_mm), np.array(grid.origin_mm)
    pitch = _RAYS_PER_VOXEL * float(spacing.min())
    # planes through the voxel centres along the axis that the beam runs along: exact there for slabs across it
    steepest = int(np.argmax(np.abs(rotation[2])))
    step = abs(float(rotation[2, steepest])) * float(spacing[steepest])
    on_plane = float(-rotation[2] @ (origin - source))
    first_depth = on_plane + step * (np.floor((reach[2, 0] - on_plane) / step) - 1)
    nodes = int(np.ceil((reach[2, 1] - first_depth) / step)) + 2
    # symmetric about the axis, and not on it: there a ray of a straight beam runs along the faces of voxels
    first = (np.floor(reach[:2, 0] / pitch) - 0.5) * pitch
    counts = np.ceil((reach[:2, 1] - first) / pitch).astype(int) + 2
    values = device.zeros((int(counts[1]), int(counts[0]), nodes, 4), np.float32)
    table = np.arange(0.0, pencil_depth_limit(), _TERMA_STEP_GCM2)
    device.kernel("trace_fan")(
        values, density, origin, spacing, source, rotation, sad_mm, first, pitch, float(first_depth), step,
        VACUUM_G_CM3, physics.lateral, np.array(physics.reach_gcm2), 1 / _LEAST_WIDTH_DENSITY,
        np.array(physics.softening), np.interp(table, physics.depths_gcm2, np.log(physics.terma)), _TERMA_STEP_GCM2,
    )  # fmt: skip
    deepest = float(device.get(values[:, :, -1, 0]).max())
    if deepest > pencil_depth_limit():
        raise GeometryError(
            "PATIENT_TOO_DEEP",
            f"A ray of beam {label} passes {deepest:.0f} g/cm2; the pencil kernels cover {pencil_depth_limit():.0f} "
            "g/cm2. Compute this beam with the collapsed cone.",
            beam=label,
        )
    return Fan(values, first, pitch, float(first_depth), step)
