"""The comparison with clinical doses, on doses whose difference is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clinical_comparison import (
    beam_weights,
    best_shift_mm,
    dose_at,
    gamma_pass_rates,
    high_dose_ratio,
    relative_misfit_percent,
)
from dosecalc.geometry import Grid, Volume

GRID = Grid((-38.0, -30.0, -33.0), (2.0, 2.0, 3.0), (23, 31, 39))


def blob(centre_mm=(0.0, 0.0, 0.0), width_mm=12.0, height=50.0) -> Volume:
    z, y, x = np.meshgrid(GRID.z_mm, GRID.y_mm, GRID.x_mm, indexing="ij")
    r2 = sum((a - c) ** 2 for a, c in zip((x, y, z), centre_mm, strict=True))
    return Volume(GRID, (height * np.exp(-r2 / (2 * width_mm**2))).astype(np.float32))


def test_a_scaled_dose_has_its_scale_and_no_misfit():
    assert high_dose_ratio(blob(), blob(height=54.0)) == pytest.approx(1.08)
    assert relative_misfit_percent(blob(), blob(height=54.0)) == pytest.approx(0.0, abs=1e-3)


def test_a_displaced_dose_is_found_to_a_hundredth_of_a_voxel():
    found = best_shift_mm(blob(), blob(centre_mm=(0.8, -0.5, 0.3), height=60.0))
    # moving it back undoes the displacement; cubic interpolation of a smooth dose is good to 1e-3 of a voxel
    assert found == pytest.approx((-0.8, 0.5, -0.3), abs=0.03)


def test_beam_factors_are_recovered():
    beams = [blob((-15, 0, 0)), blob((15, 0, 0)), blob((0, 10, 0))]
    total = Volume(GRID, 0.9 * beams[0].values + 1.0 * beams[1].values + 1.1 * beams[2].values)
    assert beam_weights(total, beams) == pytest.approx((0.9, 1.0, 1.1), abs=1e-4)


def test_gamma_passes_what_is_equal_and_fails_a_third_more():
    small = blob(width_mm=5.0)  # few voxels: the independent library takes its time
    assert gamma_pass_rates(small, small.values)["2%/2mm"] == (100.0, 100.0)
    all_over, high = gamma_pass_rates(small, 1.6 * small.values)["3%/2mm"]
    # near the maximum the gradient is flat: 60 % are far out, nothing within 2 mm helps
    assert all_over < 90 and high < 50


def test_dose_at_a_point_is_linear_between_voxels():
    volume = Volume(GRID, np.broadcast_to(GRID.x_mm[None, None, :], GRID.shape).astype(np.float32))
    assert dose_at(volume, (3.3, 0.0, 0.0)) == pytest.approx(3.3, abs=1e-5)
