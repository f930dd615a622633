"""SSDs that planning systems wrote, against those found in a body of water within their own outline."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.dicom.values import text
from dosecalc.geometry import Grid, Volume
from dosecalc.geometry.frames import bld_from_patient, source_patient_mm
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.ssd import central_axis_ssd_mm

_ROOT = os.environ.get("DOSECALC_REFERENCE", "")
pytestmark = pytest.mark.skipif(not _ROOT, reason="DOSECALC_REFERENCE is not set: no reference data")


@pytest.mark.parametrize(
    ("archive", "typical_mm", "worst_mm"),
    [
        # The surface is interpolated between voxels of 2 mm: right to a tenth or two of a voxel, more at grazing
        # incidence. What the systems did with the same contours is not known to better than that.
        ("brain-imrt", 0.3, 0.5),
        ("lung-imrt", 0.3, 0.5),
        # tangential beams; plan and outline were rounded by two systems
        ("breast-sliding-window", 0.5, 1.0),
    ],
)
def test_ssd_of_the_plan(archive: str, typical_mm: float, worst_mm: float) -> None:
    path = Path(_ROOT) / "dicom" / f"{archive}.zip"
    if not path.is_file():
        pytest.skip(f"{archive}.zip is not in the reference data")
    objects = {}
    with zipfile.ZipFile(path) as members:
        for name in members.namelist():
            if name.lower().endswith(".dcm"):
                ds = parse(members.read(name), "member")
                objects[text(ds, "Modality", "member", "")] = ds
    plan = read_rtplan(objects["RTPLAN"], "plan")
    external = read_rtstruct(objects["RTSTRUCT"]).external()
    assert external is not None
    points = np.concatenate([c.points_mm for c in external.contours])
    lower, upper = points.min(axis=0) - 10.0, points.max(axis=0) + 10.0
    grid = Grid.covering(tuple(lower), tuple(upper), (2.0, 2.0, 2.0))
    body = Volume(grid, fractional_mask(external, grid))
    differences = []
    for beam in plan.beams:
        first = beam.control_points[0]
        rotation = bld_from_patient(first.gantry_deg, first.collimator_deg, first.couch_deg, beam.patient_position)
        source = source_patient_mm(first.isocentre_patient_mm, rotation, beam.sad_mm)
        found = central_axis_ssd_mm(body, source, first.isocentre_patient_mm)
        assert found is not None and first.ssd_mm is not None
        differences.append(found - first.ssd_mm)
    assert np.median(np.abs(differences)) < typical_mm, differences
    assert np.max(np.abs(differences)) < worst_mm, differences
