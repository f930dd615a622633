"""Measurements that cannot be what they say are refused by name; what is merely noisy or repeated is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from builders_commissioning import depth_dose, output_factors, profile
from scipy.special import erf

from dosecalc.commissioning.checks import MeasurementsRefused, check
from dosecalc.commissioning.curves import Curve, Setup
from dosecalc.commissioning.shape import depth_of_maximum_mm, field_edges
from dosecalc.errors import InputError
from dosecalc.machine import load_machine

MACHINE = load_machine("generic-6mv-millennium120")
SETUP = Setup(900.0, (100.0, 100.0))
DEPTHS = np.arange(0.0, 301.0, 5.0)
POSITIONS = np.arange(-90.0, 90.1, 2.0)


def bateman(depth_mm: np.ndarray) -> np.ndarray:
    """A depth dose of the right kind: build-up and exponential fall."""
    return 110.0 * (np.exp(-depth_mm / 220.0) - 0.5 * np.exp(-depth_mm / 5.0))


def blurred(position_mm: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """An open field blurred by 3 mm, on 2 % that leak."""
    return 2.0 + 49.0 * (erf((position_mm - lower) / 4.24) - erf((position_mm - upper) / 4.24))


def good_depth_dose() -> Curve:
    return replace(depth_dose(SETUP, DEPTHS, unit="percent"), value=bateman(DEPTHS))


def good_profile() -> Curve:
    return replace(profile(SETUP, "x", POSITIONS, 100.0, name="curve 2"), value=blurred(POSITIONS, -50.0, 50.0))


def good_output_factors() -> Curve:
    setups = tuple(Setup(900.0, (s, s)) for s in (30.0, 50.0, 100.0, 200.0))
    return replace(output_factors(setups, 100.0, name="curve 3"), value=np.array([0.84, 0.90, 1.0, 1.10]))


def good_tpr() -> Curve:
    depths = np.array([5.0, 15.0, 50.0, 100.0, 200.0, 300.0])
    setups = tuple(Setup(1000.0 - d, (100.0, 100.0)) for d in depths)
    return replace(depth_dose(SETUP, depths, kind="tpr", setups=setups, name="curve 4"), value=bateman(depths))


def test_good_curves_pass() -> None:
    curves = [good_depth_dose(), good_profile(), good_output_factors(), good_tpr()]
    kept, left_out = check(curves, MACHINE)
    assert list(kept) == curves
    assert left_out == ()


def test_noise_is_no_nonsense() -> None:
    random = np.random.default_rng(3)
    noisy = [
        replace(c, value=c.value * (1 + 0.01 * random.normal(size=len(c.value))))
        for c in (good_depth_dose(), good_profile())
    ]
    assert len(check(noisy, MACHINE)[0]) == 2


def values(make: Callable[[], Curve], change: Callable[[np.ndarray], np.ndarray]) -> Curve:
    curve = make()
    return replace(curve, value=change(curve.value))


def scaled(factor: float) -> Curve:
    """The depth dose as somebody would export it in cm."""
    curve = good_depth_dose()
    return replace(curve, points_mm=curve.points_mm * factor, abscissa=curve.abscissa * factor)


def of_setup(make: Callable[[], Curve], **changes: object) -> Curve:
    curve = make()
    return replace(curve, setups=tuple(replace(s, **changes) for s in curve.setups))


NONSENSE = {
    "too few points": (good_depth_dose().select(np.arange(6)), "MEASUREMENT_TOO_FEW_POINTS", "at least 10"),
    "one point many times": (
        replace(good_profile(), abscissa=np.zeros(len(POSITIONS))), "MEASUREMENT_TOO_FEW_POINTS", "1 different",
    ),
    "negative dose": (values(good_profile, lambda v: v - 5.0), "MEASUREMENT_NEGATIVE", "subtract the leakage"),
    "reversed sign": (values(good_profile, lambda v: -v), "MEASUREMENT_NEGATIVE", "sign of the signal"),
    "negative depth": (
        replace(good_depth_dose(), points_mm=good_depth_dose().points_mm - 10), "MEASUREMENT_DEPTH", "downwards",
    ),
    "not percent": (values(good_depth_dose, lambda v: v / 100), "MEASUREMENT_UNITS", "relative?"),
    "not relative": (replace(good_depth_dose(), unit="relative"), "MEASUREMENT_UNITS", "percent?"),
    "field in cm": (of_setup(good_profile, field_mm=(10.0 / 2.5, 10.0 / 2.5)), "MEASUREMENT_UNITS", "is this cm?"),
    "SSD in cm": (of_setup(good_profile, ssd_mm=90.0), "MEASUREMENT_UNITS", "SSD"),
    "depths in cm": (scaled(0.1), "MEASUREMENT_UNITS", "are the depths in cm?"),
    "Farmer chamber": (replace(good_profile(), detector_diameter_mm=24.0), "DETECTOR_SIZE", "smaller"),
    "field beyond the jaws": (of_setup(good_output_factors, field_mm=(420.0, 420.0)), "FIELD_TOO_LARGE", "beyond"),
    "depth dose that rises for ever": (
        values(good_depth_dose, lambda v: 10 + DEPTHS / 4), "DEPTH_DOSE_RISES", "still rises",
    ),
    "depth reversed": (values(good_depth_dose, lambda v: v[::-1]), "DEPTH_DOSE_MAXIMUM", "reversed"),
    "depth dose that rises again": (
        values(good_depth_dose, lambda v: v + 40 * np.exp(-(((DEPTHS - 200) / 20) ** 2))), "DEPTH_DOSE_RISES", "beyond",
    ),
    "maximum too deep": (
        values(good_depth_dose, lambda v: 100 - ((DEPTHS - 120) / 20) ** 2), "DEPTH_DOSE_MAXIMUM", "120.0 mm",
    ),
    "depth dose too short": (good_depth_dose().select(DEPTHS <= 60), "DEPTH_DOSE_SHORT", "scan deeper"),
    "profile without a field": (values(good_profile, lambda v: 50 + 0 * v), "PROFILE_WITHOUT_FIELD", "no field"),
    "profile that ends inside the field": (
        good_profile().select(np.abs(POSITIONS) < 40), "PROFILE_WITHOUT_FIELD", "too short",
    ),
    "half a profile": (good_profile().select(POSITIONS >= 0), "PROFILE_WITHOUT_FIELD", "two edges"),
    "off-centre field": (
        values(good_profile, lambda v: blurred(POSITIONS, -44.0, 56.0)), "PROFILE_OFF_CENTRE", "+6.0 mm",
    ),
    "field size that contradicts the width": (
        of_setup(good_profile, field_mm=(80.0, 80.0)), "FIELD_SIZE_CONTRADICTED", "80.0 mm",
    ),
    "depth that contradicts the width": (of_setup(good_profile, ssd_mm=1000.0), "FIELD_SIZE_CONTRADICTED", "110.0 mm"),
    "wedge": (values(good_profile, lambda v: v * (1 + POSITIONS / 300)), "PROFILE_ASYMMETRIC", "wedge"),
    "output that falls with the field": (
        values(good_output_factors, lambda v: v[::-1]), "OUTPUT_FACTORS_IMPLAUSIBLE", "rises with the field",
    ),
    "TPR with a constant SSD": (of_setup(good_tpr, ssd_mm=900.0), "TPR_DISTANCE", "isocentre"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_by_name(name: str) -> None:
    curve, reason, says = NONSENSE[name]
    with pytest.raises(InputError) as caught:
        check([curve], MACHINE)
    assert caught.value.reason == reason
    assert says in caught.value.message
    assert caught.value.where == {"file": curve.file, "curve": curve.name}


def test_leaves_need_a_machine_that_has_some() -> None:
    bare = MACHINE.model_copy(update={"mlc": None})
    with pytest.raises(InputError) as caught:
        check([of_setup(good_profile, shaped_by="leaves")], bare)
    assert caught.value.reason == "LEAVES_MISSING"


def test_every_bad_curve_is_told_at_once() -> None:
    bad = [replace(NONSENSE[n][0], name=n) for n in ("wedge", "off-centre field", "negative dose")]
    with pytest.raises(MeasurementsRefused) as caught:
        check([*bad, good_depth_dose()], MACHINE)
    assert [p.reason for p in caught.value.problems] == [
        NONSENSE[n][1] for n in ("wedge", "off-centre field", "negative dose")
    ]
    assert [p.where["curve"] for p in caught.value.problems] == ["wedge", "off-centre field", "negative dose"]


def test_a_repeated_scan_is_left_out_and_told() -> None:
    again = replace(good_profile(), value=3 * good_profile().value, name="again")  # another gain is no contradiction
    kept, left_out = check([good_profile(), again], MACHINE)
    assert [c.name for c in kept] == ["curve 2"]
    assert left_out[0].why == "it repeats curve 2 of synthetic.csv"


def test_contradicting_scans_are_refused() -> None:
    softer = replace(good_depth_dose(), value=bateman(DEPTHS) * np.exp(-DEPTHS / 1500), name="softer")
    with pytest.raises(InputError) as caught:
        check([good_depth_dose(), softer], MACHINE)
    assert caught.value.reason == "CURVES_CONTRADICT"
    assert "softer of synthetic.csv" in caught.value.message


def test_other_depth_or_axis_is_another_curve() -> None:
    at_100 = good_profile()
    along_y = replace(profile(SETUP, "y", POSITIONS, 100.0), value=at_100.value)
    at_101 = replace(profile(SETUP, "x", POSITIONS, 101.0), value=at_100.value)
    assert len(check([at_100, along_y, at_101], MACHINE)[0]) == 3


def test_edges_are_where_the_closed_form_has_them() -> None:
    edges = field_edges(replace(good_profile(), value=blurred(POSITIONS, -49.0, 51.0)))
    # half of the axis, 52 of 102, is not half of the field's own 98: 1/98 of the field off at a slope of 13 %/mm
    assert edges.centre_mm == pytest.approx(1.0, abs=0.02)
    assert edges.width_mm == pytest.approx(100.0, abs=0.25)


def test_edges_of_a_beam_without_filter_are_the_steepest_places() -> None:
    cone = 100.0 - 0.8 * np.abs(POSITIONS)  # half of the axis lies far inside the field's edge
    curve = replace(good_profile(), fluence_mode="FFF", value=cone * blurred(POSITIONS, -50.0, 50.0) / 100)
    assert field_edges(curve).width_mm == pytest.approx(100.0, abs=2.0)  # a point's distance
    flattened = field_edges(replace(curve, fluence_mode="STANDARD"))
    assert flattened.width_mm < 99.0


def test_maximum_between_points() -> None:
    curve = good_depth_dose()
    fine = np.linspace(0, 50, 5001)
    assert depth_of_maximum_mm(curve) == pytest.approx(fine[bateman(fine).argmax()], abs=1.5)
