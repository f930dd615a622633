"""Rotations between control points have the sign and the size that the plan's directions say."""

from __future__ import annotations

import numpy as np
import pytest

from dosecalc.errors import PlanError
from dosecalc.plan import Beam, ControlPoint, collimator_sweep_deg, couch_sweep_deg, gantry_sweep_deg, technique


def beam_of(
    angles: list[float],
    directions: list[str],
    *,
    of: str = "gantry",
    weights: list[float] | None = None,
    jaws: list[float] | None = None,
) -> Beam:
    f = weights if weights is not None else list(np.linspace(0.0, 1.0, len(angles)))
    widths = jaws if jaws is not None else [50.0] * len(angles)
    points = []
    for i, (angle, direction) in enumerate(zip(angles, directions, strict=True)):
        state = {"gantry": 0.0, "collimator": 0.0, "couch": 0.0, of: angle}
        sense = {"gantry": "NONE", "collimator": "NONE", "couch": "NONE", of: direction}
        points.append(
            ControlPoint(
                index=i,
                meterset_fraction=f[i],
                gantry_deg=state["gantry"],
                collimator_deg=state["collimator"],
                couch_deg=state["couch"],
                gantry_direction=sense["gantry"],
                isocentre_patient_mm=(0.0, 0.0, 0.0),
                jaw_x_mm=(-widths[i], widths[i]),
                jaw_y_mm=(-50.0, 50.0),
                collimator_direction=sense["collimator"],
                couch_direction=sense["couch"],
            )
        )
    return Beam(1, "arc", "", "PHOTON", 6.0, "STANDARD", 1000.0, "HFS", None, tuple(points))


@pytest.mark.parametrize(
    ("angles", "directions", "expected"),
    [
        ([180.1, 179.9], ["CW", "NONE"], [359.8]),
        ([179.9, 180.1], ["CC", "NONE"], [-359.8]),
        ([181.0, 0.0, 179.0], ["CW", "CW", "NONE"], [179.0, 179.0]),
        ([350.0, 10.0], ["CW", "NONE"], [20.0]),
        ([350.0, 10.0], ["CC", "NONE"], [-340.0]),
        ([10.0, 350.0], ["CC", "NONE"], [-20.0]),
        ([30.0, 30.0], ["NONE", "NONE"], [0.0]),
        # a full turn (DICOM PS3.3 C.8.8.14.8); within an arc the same angle is a pause: no gantry goes round twice
        ([5.0, 5.0], ["CW", "NONE"], [360.0]),
        ([5.0, 5.0], ["CC", "NONE"], [-360.0]),
        ([10.0, 20.0, 20.0, 30.0], ["CW", "CW", "CW", "NONE"], [10.0, 0.0, 10.0]),
        # out and back
        ([300.0, 60.0, 300.0], ["CW", "CC", "NONE"], [120.0, -120.0]),
        # 360 is 0
        ([0.0, 360.0], ["NONE", "NONE"], [0.0]),
        # a tenth of a degree of settling needs no direction
        ([30.0, 30.05], ["NONE", "NONE"], [0.05]),
    ],
)
def test_gantry(angles: list[float], directions: list[str], expected: list[float]) -> None:
    # angles are decimal numbers of degrees; their differences are exact to rounding
    np.testing.assert_allclose(gantry_sweep_deg(beam_of(angles, directions)), expected, atol=1e-9)


def test_collimator_and_couch_turn_the_other_way_for_the_same_word() -> None:
    # DICOM's own example: the table from 170 to 160, counter-clockwise, is 350 degrees towards larger angles
    couch = beam_of([170.0, 160.0], ["CC", "NONE"], of="couch")
    np.testing.assert_allclose(couch_sweep_deg(couch), [350.0])
    collimator = beam_of([10.0, 350.0], ["CW", "NONE"], of="collimator")
    np.testing.assert_allclose(collimator_sweep_deg(collimator), [-20.0])
    np.testing.assert_allclose(gantry_sweep_deg(couch), [0.0])


@pytest.mark.parametrize(
    ("angles", "directions", "reason"),
    [
        ([10.0, 40.0], ["NONE", "NONE"], "ROTATION_DIRECTION_MISSING"),
        ([5.0, 5.0, 5.0], ["CW", "CW", "NONE"], "ROTATION_AMBIGUOUS"),
        # 20 to 19.9 clockwise would be 359.9 degrees within an arc of 30
        ([10.0, 20.0, 19.9, 40.0], ["CW", "CW", "CW", "NONE"], "ROTATION_AMBIGUOUS"),
    ],
)
def test_what_may_mean_two_things_is_refused(angles: list[float], directions: list[str], reason: str) -> None:
    with pytest.raises(PlanError) as caught:
        gantry_sweep_deg(beam_of(angles, directions))
    assert caught.value.reason == reason
    assert caught.value.where["beam"] == "1 (arc)"


def test_moving_while_the_beam_is_off_needs_no_direction() -> None:
    beam = beam_of([10.0, 10.0, 90.0, 90.0], ["NONE"] * 4, weights=[0.0, 0.5, 0.5, 1.0])
    np.testing.assert_allclose(gantry_sweep_deg(beam), [0.0, 80.0, 0.0])
    assert technique(beam) == "STATIC"  # one aperture, given from two directions


def test_technique_of_a_collimator_that_turns() -> None:
    # the same jaws, turned with the beam on, are a moving aperture
    beam = beam_of([0.0, 30.0], ["CC", "NONE"], of="collimator")
    assert technique(beam) == "SLIDING_WINDOW"


def test_technique_of_moving_jaws() -> None:
    assert technique(beam_of([0.0, 0.0], ["NONE"] * 2, jaws=[50.0, 20.0])) == "SLIDING_WINDOW"
    on_and_off = beam_of([0.0] * 4, ["NONE"] * 4, jaws=[50.0, 50.0, 20.0, 20.0], weights=[0.0, 0.5, 0.5, 1.0])
    assert technique(on_and_off) == "STEP_AND_SHOOT"
