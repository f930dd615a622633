"""Structure sets of real planning systems and of Nelms et al. 2015, against closed forms and against themselves."""

from __future__ import annotations

import os
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.dicom.study import load_study
from dosecalc.dicom.values import text
from dosecalc.geometry import Grid
from dosecalc.patient.build import build_patient
from dosecalc.patient.contour_planes import contour_planes, structure_volume_cm3
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.structures import Structure, StructureSet

_ROOT = os.environ.get("DOSECALC_REFERENCE", "")
pytestmark = pytest.mark.skipif(not _ROOT, reason="DOSECALC_REFERENCE is not set: no reference data")

R = 12.0  # mm, of the spheres, cylinders and cones; 24 mm long


def _archive(name: str) -> Path:
    path = Path(_ROOT) / "dicom" / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in the reference data")
    return path


@cache
def _structure_set(archive: str) -> StructureSet:
    with zipfile.ZipFile(_archive(archive)) as zipped:
        for entry in zipped.namelist():
            data = zipped.read(entry)
            if b"RTSTRUCT" in data[:4096]:
                ds = parse(data, entry)
                if text(ds, "Modality", entry, "") == "RTSTRUCT":
                    return read_rtstruct(ds, entry)
    pytest.skip(f"{archive}.zip holds no structure set")


def _analytic_objects() -> dict[str, Structure]:
    found = {}
    with zipfile.ZipFile(_archive("dvh-analytic")) as zipped:
        for entry in zipped.namelist():
            if "STRUCTURES/" in entry and entry.endswith(".dcm"):
                structures = read_rtstruct(parse(zipped.read(entry), entry), entry).structures
                found[Path(entry).stem] = next(s for s in structures if not s.empty)
    return found


def _closed_form_cm3(name: str, h: float) -> float:
    """Volume of the object, with the error of the trapezoidal rule over planes ``h`` apart in closed form.

    Sphere and cone have areas quadratic in z, for which the rule is off by h^2/12 times the difference of the area's
    slope at both ends. Cylinders along z are exact.
    """
    if name.startswith("Sphere"):
        volume = 4 / 3 * np.pi * R**3 - h**2 / 12 * 4 * np.pi * R
    elif name.startswith("Cylinder"):
        volume = np.pi * R**2 * 2 * R
    else:
        volume = np.pi * R**2 * 2 * R / 3 + h**2 / 12 * np.pi * R
    return float(volume) / 1000


def test_volumes_of_nelms_objects_are_their_closed_forms() -> None:
    objects = {n: s for n, s in _analytic_objects().items() if not n.startswith("Rt")}
    assert len(objects) >= 20
    for name, structure in objects.items():
        planes = contour_planes(structure, end_caps=False)
        h = planes[1].z_mm - planes[0].z_mm
        volume = sum(p.volume_cm3 for p in planes)
        # outlines are polygons whose corners were rounded to 0.01 mm: 0.05 % in area
        assert volume == pytest.approx(_closed_form_cm3(name, h), rel=5e-4), name


def test_masks_of_nelms_objects_hold_the_same_volume() -> None:
    for name, structure in _analytic_objects().items():
        points = np.concatenate([c.points_mm for c in structure.contours])
        grid = Grid.covering(tuple(points.min(0) - 4), tuple(points.max(0) + 4), (1.5, 1.3, 2.2))
        volume = float(fractional_mask(structure, grid).sum(dtype=np.float64)) * grid.voxel_volume_cm3
        assert volume == pytest.approx(structure_volume_cm3(structure), rel=5e-6), name  # float32


@pytest.mark.parametrize(
    ("archive", "count", "external"),
    [
        ("head-vmat", 4, "External"),
        ("brain-imrt", 28, "BODY"),
        ("breast-sliding-window", 10, "BODY"),
        ("lung-imrt", 15, "BODY_P6"),
    ],
)
def test_every_structure_of_a_clinic_has_a_mask_of_its_volume(archive: str, count: int, external: str) -> None:
    structures = _structure_set(archive)
    assert len(structures.structures) == count
    found = structures.external()
    assert found is not None and found.name == external
    for structure in structures.structures:
        if structure.empty:
            assert contour_planes(structure) == ()
            continue
        points = np.concatenate([c.points_mm for c in structure.contours])
        grid = Grid.covering(tuple(points.min(0) - 5), tuple(points.max(0) + 5), (3.0, 3.0, 3.0))
        mask = fractional_mask(structure, grid)
        volume = float(mask.sum(dtype=np.float64)) * grid.voxel_volume_cm3
        assert volume == pytest.approx(structure_volume_cm3(structure), rel=5e-6)  # float32
        assert 0 < mask.max() <= 1


def test_swedish_names_of_the_head() -> None:
    assert [s.name for s in _structure_set("head-vmat").structures] == ["External", "Hjärna", "PTV_60", "Skalle (ben)"]


def test_parts_lie_within_the_whole() -> None:
    """The union of the five targets was made by the planning system: no volume is lost or counted twice."""
    structures = _structure_set("brain-imrt")
    parts = [structures.find(f"GTV_{n}") for n in range(1, 6)]
    whole = structures.find("GTV_ALL")
    assert sum(map(structure_volume_cm3, parts)) == pytest.approx(structure_volume_cm3(whole), rel=0.01)  # redrawn


def test_the_head_of_a_ct() -> None:
    study = load_study(_archive("head-vmat"))
    (ct,), (structures,) = study.cts, study.structure_sets
    patient = build_patient(ct, structures)
    external = structures.external()
    assert external is not None
    body = fractional_mask(external, ct.hu.grid)
    density = patient.density.values
    assert np.all(density[body == 0] < 0.0013)
    mass = float(density.sum(dtype=np.float64)) * ct.hu.grid.voxel_volume_cm3
    # ICRP 89: a head is about 1.1 g/cm3; this one has sinuses and the airway within its outline
    assert mass / structure_volume_cm3(external) == pytest.approx(1.1, abs=0.05)
    brain = fractional_mask(structures.find("Hjärna"), ct.hu.grid) > 0.999
    assert float(np.median(density[brain])) == pytest.approx(1.04, abs=0.02)  # ICRU 46, brain
    bone = fractional_mask(structures.find("Skalle (ben)"), ct.hu.grid) > 0.999
    assert 1.3 < float(density[bone].mean()) < 1.9  # between spongiosa and cortical bone


@pytest.mark.parametrize("archive", ["proton-box-sobp", "proton-box-ramp"])
def test_boxes_with_densities_in_the_structure_set(archive: str) -> None:
    structures = _structure_set(archive)
    patient = build_patient(None, structures)
    body, slab = structures.find("External"), structures.find("PMMA")
    stated = 1.02 * structure_volume_cm3(body) + (1.19 - 1.02) * structure_volume_cm3(slab)
    grid = patient.density.grid
    inside = float(patient.density.values.sum(dtype=np.float64)) * grid.voxel_volume_cm3
    air = 0.0012 * (grid.size * grid.voxel_volume_cm3 - structure_volume_cm3(body))
    assert inside == pytest.approx(stated + air, rel=1e-5)  # float32; the slab lies within the box


@pytest.mark.parametrize(
    ("archive", "densities"),
    [
        ("brain-imrt", {"BODY": 1.0}),
        ("lung-imrt", {"BODY_P6": 1.0, "LUNGS-ITV's": 0.26}),
        ("breast-sliding-window", {"BODY": 1.0, "Lt Lung": 0.26}),
    ],
)
def test_clinical_sets_without_a_ct(archive: str, densities: dict[str, float]) -> None:
    structures = _structure_set(archive)
    patient = build_patient(None, structures, density_overrides=densities)
    for name, density in densities.items():
        mask = fractional_mask(structures.find(name), patient.density.grid) > 0.999
        assert float(np.median(patient.density.values[mask])) == pytest.approx(density)
    assert patient.density_source == "bulk"
