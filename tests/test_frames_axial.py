"""The frame of a beam whose axes across it depend on its direction alone."""

from __future__ import annotations

import numpy as np
import pytest

from dosecalc.geometry.frames import axial_from_patient, bld_from_patient


@pytest.mark.parametrize("position", ["HFS", "FFP", "HFDL"])
@pytest.mark.parametrize(("gantry", "couch"), [(0.0, 0.0), (37.0, 0.0), (250.0, 40.0), (88.0, 75.0), (90.0, 90.0)])
def test_a_rotation_about_the_beam(gantry, couch, position):
    bld = bld_from_patient(gantry, 20.0, couch, position)
    axial = axial_from_patient(bld)
    np.testing.assert_allclose(axial @ axial.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axial) == pytest.approx(1.0)
    np.testing.assert_allclose(axial[2], bld[2], atol=1e-12)


def test_couch_and_collimator_that_undo_each_other():
    for angle in (20.0, 90.0, 180.0, 300.0):
        turned = axial_from_patient(bld_from_patient(0.0, angle, 360.0 - angle, "HFS"))
        np.testing.assert_allclose(turned, axial_from_patient(bld_from_patient(0.0, 0.0, 0.0, "HFS")), atol=1e-12)


def test_without_a_couch_kick_it_is_the_gantry_frame():
    for gantry in (0.0, 45.0, 200.0):
        frame = bld_from_patient(gantry, 0.0, 0.0, "HFS")
        np.testing.assert_allclose(axial_from_patient(frame), frame, atol=1e-12)
