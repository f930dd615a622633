"""Comparing two doses: differences, structures, notes, and the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders_structures import box

from dosecalc.dose.arrays import read_array_dose
from dosecalc.dose.compare import compare, on_grid
from dosecalc.errors import DosecalcError, GeometryError, InputError
from dosecalc.geometry import Grid, Volume
from dosecalc.outputs.comparison_picture import draw_comparison

GRID = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (12, 14, 16))


def ramp(grid: Grid, offset: float = 0.0, factor: float = 1.0) -> Volume:
    """20 Gy at x = 0, rising by 0.5 Gy/mm."""
    values = factor * (20 + 0.5 * grid.x_mm) + offset
    return Volume(grid, np.broadcast_to(values, grid.shape).astype(np.float32))


def inner_box(number: int, name: str, x0: float, x1: float):  # type: ignore[no-untyped-def]
    """A box that lies well inside the grid along y and z."""
    return box((x0, 5.0, 5.0), (x1, 21.0, 17.0), number=number, name=name)


def test_a_constant_offset_is_what_every_figure_says() -> None:
    result = compare(ramp(GRID), ramp(GRID, 0.35), criteria=["1%/1mm", "2%/2mm"])
    assert result.gamma.normalisation_gy == pytest.approx(35.0)
    d = result.difference
    assert d.points == GRID.size
    for value in (d.mean_gy, d.rms_gy, d.mean_abs_gy, d.median_gy, d.p5_gy, d.p95_gy, d.min_gy, d.max_gy):
        assert value == pytest.approx(0.35, abs=1e-5)  # float32 doses of 35 Gy
    assert d.sd_gy == pytest.approx(0.0, abs=1e-5)
    assert d.mean_percent == pytest.approx(1.0, abs=1e-4)
    # sampled, gamma lies between the closed form and what half a step costs
    truth = 0.35 / np.hypot(0.35, 0.5)
    inside = result.gamma["1%/1mm"].values[:, :, 2:-2]
    steepness = 0.5 / 0.35
    assert np.all(inside >= truth - 1e-4)
    assert np.all(inside <= np.hypot(truth, 0.05 * np.hypot(1, steepness)) + 1e-4)
    assert result.notes == ()


def test_difference_is_evaluated_minus_reference_on_the_reference_grid() -> None:
    other = Grid((-3.0, -3.0, -3.0), (3.0, 2.5, 2.2), (14, 14, 14))
    result = compare(ramp(GRID), ramp(other, -0.2))
    assert result.difference_gy.grid == GRID
    assert result.difference.mean_gy == pytest.approx(-0.2, abs=1e-5)


def test_partly_overlapping_grids_are_counted_and_noted() -> None:
    other = Grid((16.0, 0.0, 0.0), (2.0, 2.0, 2.0), (12, 14, 16))
    result = compare(ramp(GRID), ramp(other), max_gamma=2.0)
    # beyond half a voxel there is no dose difference, beyond max_gamma distances no gamma
    assert result.difference.points == GRID.size * 8 // 16
    assert result.gamma.unreached == GRID.size * 6 // 16
    assert len(result.notes) == 2
    with pytest.raises(GeometryError) as error:
        compare(ramp(GRID), ramp(Grid((400.0, 0.0, 0.0), (2.0, 2.0, 2.0), (3, 3, 3))))
    assert error.value.reason == "GRIDS_APART"


def test_structures_get_their_own_figures() -> None:
    """The evaluated dose is right in one half and 2 Gy too high in the other."""
    values = ramp(GRID).values.copy()
    values[:, :, 8:] += 2.0
    low, high = inner_box(1, "low", 2.0, 10.0), inner_box(2, "high", 20.0, 28.0)
    outside = box((100.0, 5.0, 5.0), (110.0, 21.0, 17.0), number=3, name="outside")
    result = compare(ramp(GRID), Volume(GRID, values), structures=[low, high, outside])
    good, bad, away = result.structures
    assert good.gamma[0]["pass_rate_percent"] == 100.0
    assert bad.gamma[0]["pass_rate_percent"] == 0.0
    assert good.dvh_difference is not None
    assert bad.dvh_difference is not None
    assert good.dvh_difference.mean_gy == pytest.approx(0.0, abs=1e-4)
    for value in (bad.dvh_difference.mean_gy, bad.dvh_difference.d95_gy, bad.dvh_difference.d2_gy):
        assert value == pytest.approx(2.0, abs=0.01)  # DVH sampling, 0.03 % of the dose
    assert bad.difference.mean_gy == pytest.approx(2.0, abs=1e-4)
    assert away.dvh_difference is None
    assert away.gamma[0]["points"] == 0
    assert away.notes


def test_dvhs_of_different_parts_are_not_compared() -> None:
    wide = inner_box(1, "wide", 0.0, 30.0)
    small = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (12, 14, 8))
    (found,) = compare(ramp(GRID), ramp(small), structures=[wide]).structures
    assert found.dvh_difference is None
    assert "different parts" in found.notes[-1]


def test_everything_is_json() -> None:
    result = compare(ramp(GRID), ramp(GRID, 0.1), structures=[inner_box(1, "Målvolym", 4.0, 20.0)], max_gamma=2.0)
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["gamma"][0]["criterion"] == "2%/2mm"
    assert content["structures"][0]["name"] == "Målvolym"
    assert content["settings"]["sampling"] == 10


def test_worst_point_is_where_the_error_is() -> None:
    values = ramp(GRID).values.copy()
    values[5, 6, 7] += 8.0
    assert compare(ramp(GRID), Volume(GRID, values)).worst_mm == (14.0, 12.0, 10.0)


def test_on_grid_is_trilinear_and_ends_with_the_voxels() -> None:
    values = on_grid(ramp(GRID), Grid((-1.5, 3.3, 4.1), (1.7, 2.0, 2.0), (2, 2, 3))).values
    assert np.all(np.isnan(values[..., 0]))
    assert values[..., 1:] == pytest.approx(np.broadcast_to([20.1, 20.95], (2, 2, 2)), abs=1e-4)


@pytest.mark.parametrize("shape", [(12, 14, 16), (1, 14, 16), (1, 1, 16)])
def test_picture_of_volume_plane_and_profile(shape: tuple[int, int, int]) -> None:
    grid = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), shape)
    result = compare(ramp(grid), ramp(grid, 0.3))
    structures = [inner_box(1, "box", 4.0, 20.0)] if shape[0] > 1 else []
    assert draw_comparison(result, ramp(grid), structures=structures).startswith(b"\x89PNG")


# ---- array files -----------------------------------------------------------------------------------------------------


def test_npz_brings_its_geometry(tmp_path) -> None:  # type: ignore[no-untyped-def]
    volume = ramp(GRID)
    path = tmp_path / "dose.npz"
    np.savez_compressed(path, dose_gy=volume.values, spacing_mm=GRID.spacing_mm, origin_mm=(1.0, 2.0, 3.0))
    read = read_array_dose(path)
    assert read.grid == Grid((1.0, 2.0, 3.0), GRID.spacing_mm, GRID.shape)
    assert np.array_equal(read.values, volume.values)


def test_npy_needs_a_spacing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "plane.npy"
    np.save(path, np.ones((4, 5)))
    assert read_array_dose(path, (1.0, 1.0, 3.0)).grid.shape == (1, 4, 5)
    with pytest.raises(InputError) as error:
        read_array_dose(path)
    assert error.value.reason == "ARRAY_SPACING"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"dose": np.ones((2, 2, 2))}, "ARRAY_FILE"),
        ({"dose_gy": np.ones((2, 2, 2, 2)), "spacing_mm": (1, 1, 1)}, "ARRAY_FILE"),
        ({"dose_gy": np.array([["a"]]), "spacing_mm": (1, 1, 1)}, "ARRAY_FILE"),
        ({"dose_gy": np.ones((2, 2, 2)), "spacing_mm": (1, 1)}, "ARRAY_FILE"),
        ({"dose_gy": np.ones((2, 2, 2)), "spacing_mm": (1, 1, -1)}, "GRID_INVALID"),
        ({"dose_gy": np.full((2, 2, 2), np.nan), "spacing_mm": (1, 1, 1)}, "DOSE_NOT_FINITE"),
        ({"dose_gy": np.array([{"a": 1}], dtype=object), "spacing_mm": (1, 1, 1)}, "ARRAY_FILE"),
    ],
)
def test_bad_array_files_are_refused(content, reason, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "dose.npz"
    np.savez(path, **content)
    with pytest.raises(DosecalcError) as error:
        read_array_dose(path)
    assert error.value.reason == reason


def test_truncated_array_files_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = tmp_path / "whole.npz"
    np.savez(whole, dose_gy=np.ones((4, 4, 4)), spacing_mm=(1, 1, 1))
    data = whole.read_bytes()
    for n in (0, 3, 10, len(data) // 2, len(data) - 5):
        part = tmp_path / "part.npz"
        part.write_bytes(data[:n])
        with pytest.raises(InputError) as error:
            read_array_dose(part)
        assert error.value.reason == "ARRAY_FILE"
