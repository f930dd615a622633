"""The SSD found in the density is the distance to where the closed form says the surface is."""

from __future__ import annotations

import numpy as np
import pytest

from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume
from dosecalc.geometry.frames import bld_from_patient, source_patient_mm
from dosecalc.patient.ssd import central_axis_ssd_mm

GRID = Grid((-99.0, -79.0, -60.0), (2.0, 2.0, 3.0), (41, 80, 100))


def box(half_x: float, half_y: float) -> Volume:
    """Water within |x| < half_x, |y| < half_y, air elsewhere; faces between voxels."""
    inside = (np.abs(GRID.y_mm)[:, None] < half_y) & (np.abs(GRID.x_mm)[None, :] < half_x)
    return Volume(GRID, np.broadcast_to(inside, GRID.shape).astype(np.float32))


@pytest.mark.parametrize(
    ("gantry", "couch", "expected"),
    [
        (0.0, 0.0, 1000.0 - 40.0),
        (180.0, 0.0, 1000.0 - 40.0),
        (90.0, 0.0, 1000.0 - 60.0),
        (270.0, 0.0, 1000.0 - 60.0),
        # oblique: the ray crosses the anterior face at 40 / cos; it stays within the box's width
        (30.0, 0.0, 1000.0 - 40.0 / np.cos(np.deg2rad(30.0))),
        (340.0, 0.0, 1000.0 - 40.0 / np.cos(np.deg2rad(20.0))),
        # with the couch turned the beam comes in obliquely along the body: the face is met no farther out
        (30.0, 60.0, 1000.0 - 40.0 / np.cos(np.deg2rad(30.0))),
    ],
)
def test_box(gantry: float, couch: float, expected: float) -> None:
    isocentre = (0.0, 0.0, 0.0)
    source = source_patient_mm(isocentre, bld_from_patient(gantry, 0.0, couch, "HFS"), 1000.0)
    ssd = central_axis_ssd_mm(box(60.0, 40.0), source, isocentre)
    # the face lies midway between voxel centres, where the interpolated density is exactly half
    assert ssd == pytest.approx(expected, abs=1e-3)


def test_isocentre_off_centre_and_extended_distance() -> None:
    ssd = central_axis_ssd_mm(box(60.0, 40.0), (20.0, -1200.0, 6.0), (20.0, 10.0, 6.0))
    assert ssd == pytest.approx(1200.0 - 40.0, abs=1e-3)


def test_density_that_reaches_the_edge_of_the_grid() -> None:
    # the outermost voxels reach to their outer faces, at y = -80
    assert central_axis_ssd_mm(box(200.0, 200.0), (0.0, -1000.0, 0.0), (0.0, 0.0, 0.0)) == pytest.approx(920.0)


def test_partial_voxels_at_the_surface() -> None:
    """A surface within a voxel, whose density is then a fraction, is found to a fraction of the voxel."""
    values = np.zeros(GRID.shape, dtype=np.float32)
    values[:, 40:, :] = 1.0  # whole voxels from y = 0
    values[:, 39, :] = 0.3  # the surface is at y = -0.6
    ssd = central_axis_ssd_mm(Volume(GRID, values), (0.0, -1000.0, 0.0), (0.0, 10.0, 0.0))
    # linear interpolation places it within a sixth of the 2 mm voxel
    assert ssd == pytest.approx(999.4, abs=0.35)


def test_no_surface() -> None:
    air = Volume(GRID, np.zeros(GRID.shape, dtype=np.float32))
    assert central_axis_ssd_mm(air, (0.0, -1000.0, 0.0), (0.0, 0.0, 0.0)) is None
    # a ray that misses the grid, and one that runs along it outside
    assert central_axis_ssd_mm(box(60.0, 40.0), (500.0, -1000.0, 0.0), (500.0, 0.0, 0.0)) is None
    assert central_axis_ssd_mm(box(60.0, 40.0), (0.0, -1000.0, 400.0), (10.0, 0.0, 400.0)) is None


def test_a_low_density_shell_is_passed_at_the_default_and_found_at_a_lower_threshold() -> None:
    values = np.zeros(GRID.shape, dtype=np.float32)
    values[:, 20:, :] = 0.26  # lung-like from y = -40
    values[:, 50:, :] = 1.0  # water from y = 20
    volume = Volume(GRID, values)
    source, isocentre = (0.0, -1000.0, 0.0), (0.0, 0.0, 0.0)
    near = central_axis_ssd_mm(volume, source, isocentre, threshold_g_cm3=0.13)
    far = central_axis_ssd_mm(volume, source, isocentre)
    assert near == pytest.approx(960.0, abs=1e-3)
    # half of water is reached a little before the midpoint of 0.26 and 1
    assert far == pytest.approx(1020.0 - 2.0 * (0.63 - 0.5) / 0.74, abs=1e-3)


def test_source_at_the_isocentre() -> None:
    with pytest.raises(GeometryError):
        central_axis_ssd_mm(box(60.0, 40.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
