"""The DICOM objects of Nelms et al. 2015 (Med Phys 42:4435) against closed forms that are derived here.

Solids of 24 mm: spheres of 12 mm radius, cylinders and cones upright (axis along z) and lying (along y), contoured
every 0.2 to 3 mm; doses that fall or rise by 1 Gy/mm along y (anterior to posterior) or z (inferior to superior), with
16 Gy at the solids' centre. The contours of the upright cylinder and cone lie on their flat ends, so that by the usual
convention half a slice more belongs to them; that is part of the closed forms, as it is in the paper.
"""

from __future__ import annotations

import functools
import math
import os
import zipfile
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from dvh_shapes import quantile

from dosecalc.dicom.rtdose import read_rtdose
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.dose.dvh import compute_dvh
from dosecalc.geometry import Volume
from dosecalc.patient.structures import Structure

REFERENCE = Path(os.environ.get("DOSECALC_REFERENCE", "")) / "dicom" / "dvh-analytic.zip"
pytestmark = pytest.mark.skipif(
    not (os.environ.get("DOSECALC_REFERENCE") and REFERENCE.is_file()),
    reason="DOSECALC_REFERENCE has no dicom/dvh-analytic.zip",
)

R, H = 12.0, 24.0
CENTRE_GY = 16.0

# the targets: 0.5 % in volume, and in D95 0.1 % of the prescription, for which the dose at the centre is taken
VOLUME = 5e-3
D95_GY = 1e-3 * CENTRE_GY

SHIFTS = {"02": ["0"], "10": ["0", "X05", "X05Z05"], "20": ["0", "X10", "X10Z10"], "30": ["0", "X15", "X15Z15"]}
SOLIDS = ("Sphere", "Cylinder", "Cone", "RtCylinder", "RtCone")
DIRECTIONS = ("AntPost", "SupInf")


def _cases() -> list[tuple[str, str, str, str]]:
    """All 50 objects; those that are shifted sideways with one direction each, as in the paper."""
    cases = []
    for solid in SOLIDS:
        for slices, shifts in SHIFTS.items():
            for shift in shifts:
                directions = DIRECTIONS if shift == "0" else ("SupInf",) if "Z" in shift else ("AntPost",)
                cases += [(solid, slices, shift, d) for d in directions]
    return cases


@functools.cache
def _names() -> dict[str, str]:
    with zipfile.ZipFile(REFERENCE) as archive:
        return {Path(n).name: n for n in archive.namelist()}


def _dataset(name: str) -> pydicom.Dataset:
    with zipfile.ZipFile(REFERENCE) as archive:
        return pydicom.dcmread(BytesIO(archive.read(_names()[name])), force=True)


@functools.cache
def _dose(direction: str, grid_mm: int) -> Volume:
    return read_rtdose(_dataset(f"Linear_{direction}_{grid_mm}mm_Aligned.dcm")).volume


def _structure(solid: str, slices: str, shift: str) -> Structure:
    structures = read_rtstruct(_dataset(f"{solid}_{slices}_{shift}.dcm"), "RTSTRUCT").structures
    return next(s for s in structures if not s.empty)  # beside it is a point without a contour


@functools.cache
def _truth(solid: str, along: str, slice_mm: float, percent: float) -> tuple[float, float]:
    """Dose (Gy) and volume (cm3); ``along`` says whether the dose varies along the solid's axis or across it."""
    cap = slice_mm / 2.0 if solid in ("Cylinder", "Cone") else 0.0
    if solid == "Sphere":
        position, volume = quantile(lambda s: math.pi * (R * R - s * s), -R, R, percent)
    elif "Cylinder" in solid and along == "axis":
        position, volume = quantile(lambda s: math.pi * R * R, -R - cap, R + cap, percent)
    elif "Cylinder" in solid:
        position, volume = quantile(lambda s: 2 * _half_chord(s) * (H + 2 * cap), -R, R, percent)
    elif along == "axis":
        position, volume = quantile(lambda s: math.pi * min((s + R) / 2.0, R) ** 2, -R, R + cap, percent)
    else:
        position, volume = quantile(lambda s: _cone_section(abs(s)) + 2 * _half_chord(s) * cap, -R, R, percent)
    return CENTRE_GY + position, volume / 1000.0


def _half_chord(s: float) -> float:
    return math.sqrt(max(0.0, R * R - s * s))


def _cone_section(s: float) -> float:
    """Area of a section of the cone parallel to its axis, at distance s: the integral of 2 sqrt((u / 2)^2 - s^2)."""
    if s >= R:
        return 0.0
    if s < 1e-9:
        return R * H
    return 2.0 * (R * _half_chord(s) - s * s * math.acosh(R / s))


@pytest.mark.parametrize(("solid", "slices", "shift", "direction"), _cases())
def test_nelms_object(solid: str, slices: str, shift: str, direction: str) -> None:
    slice_mm = int(slices) / 10
    # dose grid as coarse as the slices
    dvh = compute_dvh(_structure(solid, slices, shift), _dose(direction, max(1, int(slice_mm))))
    lying = solid.startswith("Rt")
    along = "axis" if lying == (direction == "AntPost") else "across"
    d95, volume = _truth(solid, along, slice_mm, 95.0)
    assert dvh.status == "ok"
    assert dvh.volume_cm3 == pytest.approx(volume, rel=VOLUME)
    assert dvh.dose_at_volume(percent=95) == pytest.approx(d95, abs=D95_GY)


@pytest.mark.parametrize("grid_mm", [1, 2, 3])
def test_spacing_of_the_dose_grid_does_not_matter(grid_mm: int) -> None:
    # a linear dose is interpolated without error on any grid
    for solid, along in (("Sphere", "axis"), ("Cone", "across")):
        dvh = compute_dvh(_structure(solid, "20", "0"), _dose("AntPost", grid_mm))
        assert dvh.dose_at_volume(percent=95) == pytest.approx(_truth(solid, along, 2.0, 95.0)[0], abs=D95_GY)


@pytest.mark.parametrize("slices", ["02", "10", "20", "30"])
def test_surface_of_the_flat_ends_counts(slices: str) -> None:
    # 12 mm and half a slice above and below the centre
    reach = 12.0 + int(slices) / 20
    dvh = compute_dvh(_structure("Cylinder", slices, "0"), _dose("SupInf", 1))
    assert dvh.min_gy == pytest.approx(CENTRE_GY - reach, abs=2e-3)  # float32 dose, contours written to 1e-4 mm
    assert dvh.max_gy == pytest.approx(CENTRE_GY + reach, abs=2e-3)
    across = compute_dvh(_structure("Cylinder", slices, "0"), _dose("AntPost", 1))
    assert (across.min_gy, across.max_gy) == (pytest.approx(4.0, abs=2e-3), pytest.approx(28.0, abs=2e-3))
