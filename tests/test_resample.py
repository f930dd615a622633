"""Averages between grids: mass is kept, constants stay, the dominant material is that of most mass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.materials import AIR, AIR_DENSITY_G_CM3
from dosecalc.patient.model import Patient
from dosecalc.patient.resample import patient_on_grid, sample, volume_average

SOURCE = Grid((-10.0, 3.0, 5.0), (1.1, 0.9, 2.0), (9, 11, 13))
FLOAT32 = 1e-6  # each pass rounds to float32 once


def _random(grid: Grid) -> Volume:
    return Volume(grid, np.random.default_rng(1).random(grid.shape, dtype=np.float32))


def _integral(volume: Volume) -> float:
    return float(volume.values.sum(dtype=np.float64)) * volume.grid.voxel_volume_cm3


def _brute_force(volume: Volume, grid: Grid, outside: float) -> np.ndarray:
    """Overlap lengths of every pair of voxels, multiplied out: slow, and plainly right."""
    shares = []
    for axis in (2, 1, 0):
        s, t = volume.grid.edges_mm(axis), grid.edges_mm(axis)
        length = np.minimum(t[1:, None], s[None, 1:]) - np.maximum(t[:-1, None], s[None, :-1])
        shares.append(np.clip(length, 0, None) / grid.spacing_mm[axis])
    inside = np.einsum("zc,yb,xa->zyx", *shares)
    return np.einsum("zc,yb,xa,cba->zyx", *shares, volume.values.astype(float)) + (1 - inside) * outside


@pytest.mark.parametrize("spacing", [(3.0, 2.5, 4.0), (0.4, 0.3, 0.7), (1.1, 0.9, 2.0), (30.0, 30.0, 30.0)])
def test_mass_is_kept(spacing: tuple[float, float, float]) -> None:
    volume = _random(SOURCE)
    target = Grid.covering(SOURCE.lower_mm, SOURCE.upper_mm, spacing)
    assert _integral(volume_average(volume, target)) == pytest.approx(_integral(volume), rel=FLOAT32)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.floats(-15, 15)] * 3),
    st.tuples(*[st.floats(0.2, 12)] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
)
def test_any_grid_equals_brute_force(
    origin: tuple[float, float, float], spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    volume, grid = _random(SOURCE), Grid(origin, spacing, shape)
    expected = _brute_force(volume, grid, 0.25)
    np.testing.assert_allclose(volume_average(volume, grid, outside=0.25).values, expected, atol=1e-6)  # float32


def test_the_same_grid_gives_the_same_values() -> None:
    volume = _random(SOURCE)
    np.testing.assert_array_equal(volume_average(volume, SOURCE).values, volume.values)


def test_a_constant_stays_constant_and_outside_has_its_own_value() -> None:
    volume = Volume(SOURCE, np.full(SOURCE.shape, 7.0))
    away = volume_average(volume, Grid((100, 100, 100), (2, 2, 2), (2, 2, 2)), outside=3.0)
    np.testing.assert_array_equal(away.values, 3.0)
    inside = volume_average(volume, Grid((-5, 6, 10), (1.3, 1.3, 1.3), (2, 2, 2)), outside=3.0)
    np.testing.assert_allclose(inside.values, 7.0, rtol=FLOAT32)


def _patient(density: np.ndarray, material: np.ndarray, grid: Grid, names: tuple[str, ...]) -> Patient:
    return Patient(Volume(grid, density), material.astype(np.uint8), names, "HFS")


def test_the_material_of_most_mass_wins_not_that_of_most_voxels() -> None:
    # five voxels of lung weigh 1.3, three of bone 5.5
    grid = Grid((0, 0, 0), (1, 1, 1), (2, 2, 2))
    bone = np.zeros((2, 2, 2), dtype=bool)
    bone.reshape(-1)[:3] = True
    patient = _patient(
        np.where(bone, 1.85, 0.26), np.where(bone, 2, 1), grid, (AIR, "lung_icru44", "bone_cortical_icrp")
    )
    coarse = patient_on_grid(patient, Grid((0.5, 0.5, 0.5), (2, 2, 2), (1, 1, 1)))
    assert coarse.materials[int(coarse.material[0, 0, 0])] == "bone_cortical_icrp"
    assert coarse.density.values[0, 0, 0] == pytest.approx((3 * 1.85 + 5 * 0.26) / 8, rel=FLOAT32)


def test_beyond_the_patient_is_air_also_where_its_list_has_none() -> None:
    grid = Grid((0, 0, 0), (1, 1, 1), (4, 4, 4))
    patient = _patient(np.ones(grid.shape), np.zeros(grid.shape), grid, ("water",))
    wide = patient_on_grid(patient, Grid.covering((-4, -4, -4), (8, 8, 8), (2, 2, 2)))
    assert wide.materials[int(wide.material[0, 0, 0])] == AIR
    assert wide.density.values[0, 0, 0] == pytest.approx(AIR_DENSITY_G_CM3)
    assert wide.materials[int(wide.material[3, 3, 3])] == "water"


def test_the_same_grid_returns_the_patient_itself() -> None:
    patient = _patient(np.ones(SOURCE.shape), np.zeros(SOURCE.shape), SOURCE, ("water",))
    assert patient_on_grid(patient, SOURCE) is patient


def test_trilinear_sampling_is_exact_for_a_linear_field() -> None:
    z, y, x = np.meshgrid(SOURCE.z_mm, SOURCE.y_mm, SOURCE.x_mm, indexing="ij")
    volume = Volume(SOURCE, 2 * x - 3 * y + 0.5 * z + 1)
    rng = np.random.default_rng(2)
    low, high = np.array(SOURCE.origin_mm), np.array([SOURCE.x_mm[-1], SOURCE.y_mm[-1], SOURCE.z_mm[-1]])
    points = low + rng.random((200, 3)) * (high - low)
    expected = points @ [2, -3, 0.5] + 1
    np.testing.assert_allclose(sample(volume, points), expected, atol=1e-4)  # float32 of values up to 60


def test_sampling_at_and_beyond_the_border() -> None:
    volume = _random(SOURCE)
    corner = np.array(SOURCE.lower_mm)
    points = np.array([corner + 1e-6, corner - 1e-3, [np.nan, 0, 0], [0, np.inf, 0]])
    found = sample(volume, points, outside=-1.0)
    np.testing.assert_array_equal(found, [volume.values[0, 0, 0], -1, -1, -1])
    assert len(sample(volume, np.empty((0, 3)))) == 0
    with pytest.raises(GeometryError):
        sample(volume, np.zeros(3))
