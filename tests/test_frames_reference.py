"""Signs of gantry and collimator against a real plan and the targets that it treats.

A VMAT plan of several targets with structures in its frame, collimator at 5 and 355 degrees: its apertures follow the
targets, so the targets see more of the beam in the right geometry than in any mirrored one. Nothing of the dose engine
takes part.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dosecalc.dicom.study import load_study
from dosecalc.geometry.frames import bld_from_patient
from dosecalc.plan import Beam, ControlPoint, Plan

#: every so many control points and contour vertices are enough for a mean
EVERY_CONTROL_POINT, EVERY_VERTEX = 5, 25


def exposure(plan: Plan, points_mm: np.ndarray, gantry_sign: float = 1.0, collimator_sign: float = 1.0) -> float:
    """Share of meterset during which the points lie in the aperture, mean over points."""
    seen = total = 0.0
    for beam in plan.beams:
        mu = plan.total_mu(beam)
        for cp in beam.control_points[:-1:EVERY_CONTROL_POINT]:
            rotation = bld_from_patient(
                gantry_sign * cp.gantry_deg, collimator_sign * cp.collimator_deg, cp.couch_deg, beam.patient_position
            )
            seen += mu * open_share(beam, cp, (points_mm - np.array(cp.isocentre_patient_mm)) @ rotation.T)
            total += mu
    return seen / total


def open_share(beam: Beam, cp: ControlPoint, xyz_bld_mm: np.ndarray) -> float:
    scale = beam.sad_mm / (beam.sad_mm - xyz_bld_mm[:, 2])
    x, y = xyz_bld_mm[:, 0] * scale, xyz_bld_mm[:, 1] * scale
    is_open = np.ones(len(x), bool)
    for jaw, position in ((cp.jaw_x_mm, x), (cp.jaw_y_mm, y)):
        if jaw is not None:
            is_open &= (position > jaw[0]) & (position < jaw[1])
    assert beam.mlc is not None and cp.leaves_mm is not None
    along, across = (x, y) if beam.mlc.axis == "X" else (y, x)
    pair = np.clip(np.searchsorted(beam.mlc.boundaries_mm, across) - 1, 0, beam.mlc.n_pairs - 1)
    is_open &= (along > cp.leaves_mm[pair, 0]) & (along < cp.leaves_mm[pair, 1])
    return float(is_open.mean())


@pytest.fixture(scope="module")
def plan_and_targets():
    root = os.environ.get("DOSECALC_REFERENCE")
    archive = Path(root) / "dicom" / "plans-only.zip" if root else None
    if archive is None or not archive.is_file():
        pytest.skip("DOSECALC_REFERENCE names no folder with dicom/plans-only.zip")
    study = load_study(archive)
    in_frame = {s.frame_of_reference_uid: s for s in study.structure_sets if s.frame_of_reference_uid}
    plan = next(p for p in study.plans if p.frame_of_reference_uid in in_frame)
    structures = in_frame[plan.frame_of_reference_uid].structures
    targets = [s for s in structures if "PTV" in s.name.upper() and s.contours]
    vertices = [np.concatenate([c.points_mm for c in s.contours])[::EVERY_VERTEX] for s in targets]
    assert len(vertices) >= 3
    assert any(round(b.control_points[0].collimator_deg) % 90 for b in plan.beams)
    return plan, vertices


def test_every_target_sees_most_of_the_beam_as_implemented(plan_and_targets):
    plan, targets = plan_and_targets
    for points in targets:
        right = exposure(plan, points)
        assert right > exposure(plan, points, collimator_sign=-1.0)
        assert right > exposure(plan, points, gantry_sign=-1.0)


def test_the_difference_is_no_chance(plan_and_targets):
    plan, targets = plan_and_targets
    right = [exposure(plan, p) for p in targets]
    # with the collimator turned the other way the targets at the rim leave the field: half of the exposure is lost
    assert max(r / exposure(plan, p, collimator_sign=-1.0) for r, p in zip(right, targets, strict=True)) > 1.4
    assert max(r / exposure(plan, p, gantry_sign=-1.0) for r, p in zip(right, targets, strict=True)) > 1.4
