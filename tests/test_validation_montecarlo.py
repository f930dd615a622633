"""Monte Carlo cases: reading, how a case becomes patient, plan and machine, and the engine beside the reference."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dosecalc.errors import InputError
from dosecalc.validation import compute_case, list_cases, load_case, measure
from dosecalc.validation.compute import case_machine, case_patient, case_plan
from dosecalc.validation.tables import axis_table, profile_table

WATER_10X10 = "c01_water_6MV_10x10"


def reference_folder() -> Path:
    root = os.environ.get("DOSECALC_REFERENCE")
    if not root or not (Path(root) / "montecarlo").is_dir():
        pytest.skip("DOSECALC_REFERENCE names no folder with Monte Carlo cases")
    return Path(root) / "montecarlo"


def write_case(folder: Path, **changes) -> Path:
    """A small phantom: water, with a block of bone on the side of positive x and y at 2 to 4 cm depth."""
    edges = np.linspace(-6, 6, 13)
    z = np.linspace(0, 10, 11)
    density = np.ones((10, 12, 12), np.float32)
    density[2:4, 8:, 7:] = 1.85
    arrays = {
        "dose": np.ones((10, 12, 12), np.float32),
        "rel_unc": np.full((10, 12, 12), 0.01, np.float16),
        "density": density,
        "medium": (density > 1).astype(np.uint8),
        "x_edges": edges,
        "y_edges": edges,
        "z_edges": z,
    }
    header = {
        "schema": "monte-carlo-case/1",
        "case": "small",
        "description": "water with bone",
        "materials": ["water", "bone_cortical_icrp"],
        "source": {"source_to_front_plane_cm": 100.0, "field_at_front_plane_cm": [4, 6]},
        "spectrum": {
            "name": "two",
            "reference": "made for this test",
            "energy_low_MeV": [1.0, 2.0],
            "energy_high_MeV": [2.0, 6.0],
            "probability_per_bin": [0.6, 0.4],
        },
        "history": "more than is read",
    }
    arrays |= {k: v for k, v in changes.items() if k in arrays}
    header |= {k: v for k, v in changes.items() if k in header}
    path = folder / "small.json"
    path.write_text(json.dumps(header), encoding="utf-8")
    np.savez(path.with_suffix(".npz"), **arrays)
    return path


def test_reading_a_case(tmp_path):
    case = load_case(write_case(tmp_path))
    assert list_cases(tmp_path) == (tmp_path / "small.json",)
    assert case.field_cm == (4, 6) and case.ssd_cm == 100 and not case.layered
    np.testing.assert_allclose(case.sigma, 0.01, rtol=1e-3)  # float16 keeps three digits


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "something/1"}, "CASE_INVALID"),
        ({"source": {"source_to_front_plane_cm": -1, "field_at_front_plane_cm": [4, 6]}}, "CASE_INVALID"),
        ({"dose": np.ones((3, 3, 3))}, "CASE_INVALID"),
        ({"z_edges": np.zeros(11)}, "CASE_INVALID"),
        ({"medium": np.full((10, 12, 12), 7, np.uint8)}, "CASE_INVALID"),
        ({"dose": np.full((10, 12, 12), np.nan)}, "CASE_INVALID"),
        ({"dose": np.zeros((10, 12, 12))}, "CASE_INVALID"),
        ({"density": np.full((10, 12, 12), -1.0)}, "CASE_INVALID"),
        ({"x_edges": np.linspace(1, 13, 13)}, "CASE_INVALID"),
        ({"medium": np.full((10, 12, 12), "water")}, "CASE_UNREADABLE"),
    ],
)
def test_wrong_cases_are_refused(tmp_path, changes, reason):
    with pytest.raises(InputError) as caught:
        load_case(write_case(tmp_path, **changes))
    assert caught.value.reason == reason
    assert caught.value.where["file"] == "small.json"


def test_missing_and_damaged_arrays_are_refused(tmp_path):
    path = write_case(tmp_path)
    whole = path.with_suffix(".npz").read_bytes()
    path.with_suffix(".npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_case(path)
    path.with_suffix(".npz").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_case(path)
    # half a case is not passed over: reading it says what is missing
    assert list_cases(tmp_path) == (path,)


def test_patient_keeps_mass_and_orientation(tmp_path):
    case = load_case(write_case(tmp_path))
    patient = case_patient(case, 2.0, 2.0)
    grid = patient.density.grid
    mass = float(patient.density.values.sum(dtype=np.float64)) * grid.voxel_volume_cm3
    assert mass == pytest.approx(float(case.density.sum(dtype=np.float64)), rel=1e-6)  # case voxels are 1 cm3
    iz, iy, ix = np.nonzero(patient.density.values > 1.5)
    # the beam runs along patient +y; case y is patient -z
    assert grid.y_mm[iy].min() == pytest.approx(21) and grid.y_mm[iy].max() == pytest.approx(39)
    assert grid.x_mm[ix].min() == pytest.approx(11)
    assert grid.z_mm[iz].max() == pytest.approx(-21)
    np.testing.assert_array_equal(patient.material == 1, patient.density.values > 1.5)


def test_plan_and_machine_are_those_of_the_case(tmp_path):
    case = load_case(write_case(tmp_path))
    beam, machine = case_plan(case).beams[0], case_machine(case)
    assert beam.control_points[0].jaw_x_mm == (-20, 20) and beam.control_points[0].jaw_y_mm == (-30, 30)
    energy = machine.energy(beam.energy_mv, beam.fluence_mode)
    assert energy is not None and energy.spectrum.edges_mev == (1.0, 2.0, 6.0)
    assert energy.extra_focal is None and energy.calibration.photons_per_mu_cm2 == 1


def test_measures_of_a_dose_that_is_a_tenth_too_high(tmp_path):
    case = load_case(write_case(tmp_path, density=np.ones((10, 12, 12)), medium=np.zeros((10, 12, 12), np.uint8)))
    found = measure(case, 1.1 * case.dose)
    assert found.depth_dose.bias == pytest.approx(10.0)
    assert found.output_percent == pytest.approx(10.0)
    assert found.profiles[0].inside.bias == pytest.approx(10.0)
    assert all(rate == 0.0 for rate in found.gamma.values())
    assert found.output_counted_percent == pytest.approx(10.0 - 2 * found.output_sigma_percent)
    assert "small" in axis_table([found]) and "small" in profile_table([found])


def test_water_10x10_beside_monte_carlo():
    """The engine today, with a margin of half of what it is off; the targets are tighter and reported in the docs."""
    case = load_case(reference_folder() / f"{WATER_10X10}.json")
    dose, _ = compute_case(case)
    found = measure(case, dose)
    # absolute dose at 10 cm: +0.3 % today, the reference's own noise is 0.4 %
    assert abs(found.output_percent) < 1.5
    # beyond the maximum: mean 0.9 %, bias +0.9 % today
    assert found.depth_dose.mean_absolute < 1.5
    assert found.depth_dose.worst_counted < 2.0
    assert found.build_up.worst_of_either <= 1.0
    assert found.gamma["2%/2mm"] > 99.0
    for p in found.profiles:
        assert p.penumbra_mm == pytest.approx(p.penumbra_reference_mm, abs=0.5)
        # a shifted field would be a bug of geometry: a tenth of the engine's voxel
        assert abs(p.edge_shift_mm) < 0.25
        assert p.outside.worst_counted < 1.0
