"""Fitting finds the model that measurements were made with, and says how sure it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders_commissioning import depth_dose, edge_positions, measured, output_factors, profile
from scipy.stats import chi2

from dosecalc.commissioning.curves import Setup
from dosecalc.commissioning.fit import FitResult, FitSettings, fit_machine
from dosecalc.commissioning.forward import FINE, Resolution
from dosecalc.commissioning.parameters import Model, applied, choose
from dosecalc.commissioning.prepare import Uncertainty
from dosecalc.errors import Cancelled, InputError
from dosecalc.machine import load_machine
from dosecalc.machine.model import ContaminationElectrons

START = "generic-6mv-millennium120"
NOISE = Uncertainty(dose=0.003, floor=0.001, position_mm=0.2)
#: coarse voxels: the physics is the same on both sides, and the test must be quick
SETTINGS = FitSettings(NOISE, Resolution(3.0, 10.0, 5.0), threads=1)
#: what the fit does with doses is the same whoever computes them; the long tests do this with the collapsed cone
QUICK = replace(SETTINGS, resolution=Resolution(2.0, 5.0, 2.5), engine="pencil_beam")
NARROW, WIDE = Setup(900.0, (60.0, 60.0)), Setup(900.0, (100.0, 100.0))


def start_model() -> Model:
    return Model(load_machine(START), 0)


def distance(result: FitResult, truth: np.ndarray) -> float:
    """Squared Mahalanobis distance of the truth from the fit: chi-square distributed when the error bars are right."""
    error = np.array([f.standard_error for f in result.parameters])
    off = (np.array([f.value for f in result.parameters]) - truth) / error
    return float(off @ np.linalg.solve(result.correlation, off))


def assert_recovered(result: FitResult, truth: dict[str, float]) -> None:
    assert [f.parameter.key for f in result.parameters] == list(truth)
    # one fit in a thousand lies farther out when the error bars are right; the seed is fixed
    assert distance(result, np.array(list(truth.values()))) < chi2.ppf(0.999, len(truth)), [
        (f.parameter.key, f.value, f.standard_error, truth[f.parameter.key]) for f in result.parameters
    ]
    # noise was assumed as it was made: chi-square of this many points, once in a thousand farther from its mean
    freedom = result.points - len(truth)
    low, high = chi2.ppf([0.0005, 0.9995], freedom) / freedom
    assert low < result.reduced_chi_square[1] < high
    assert result.reduced_chi_square[1] < result.reduced_chi_square[0]


@pytest.mark.parametrize(("name", "mode"), [(START, "STANDARD"), ("generic-6fff-hd120", "FFF")])
def test_sources_and_off_axis_fluence_come_back(name: str, mode: str) -> None:
    start = Model(load_machine(name), 0)
    assert start.energy.fluence_mode == mode
    curves = [profile(WIDE, "x", edge_positions(50.0), 60.0, fluence_mode=mode)]
    if mode == "STANDARD":
        curves += [profile(NARROW, "x", edge_positions(30.0), 60.0), output_factors((NARROW, WIDE), 60.0)]
    truth = {
        "off_axis[30 mm]": 0.01,
        "off_axis[50 mm]": -0.03,
        "primary_source.sigma_mm": 1.1,
        "extra_focal.fraction": 0.11,
        "extra_focal.sigma_mm": 25.0,
    }
    parameters = choose(start, curves)
    assert [p.key for p in parameters] == list(truth)
    known = applied(start, parameters, list(truth.values()))
    result = fit_machine(
        start.machine, start.energy, measured(curves, known, QUICK.resolution, NOISE, 1, "pencil_beam"), QUICK
    )
    assert_recovered(result, truth)
    assert result.arrived
    sure = {f.parameter.key: f.from_data for f in result.parameters}
    assert min(sure[k] for k in ("off_axis[50 mm]", "primary_source.sigma_mm", "extra_focal.fraction")) > 0.8


def test_spectrum_and_electrons_come_back() -> None:
    bare = start_model()
    electrons = ContaminationElectrons(surface_dose=0.1, depth_gcm2=0.7, sigma_mm=40.0, source="test")
    start = bare.with_energy(electrons=electrons)
    depths = np.concatenate([np.arange(4.0, 30.0, 2.0), np.arange(30.0, 300.1, 10.0)])
    curves = [depth_dose(Setup(1000.0, (100.0, 100.0)), depths)]
    truth = {
        "spectrum.exponent": 0.15,
        "spectrum.curvature": -0.05,
        "electrons.surface_dose": 0.15,
        "electrons.depth_gcm2": 0.9,
        "electrons.sigma_mm": 50.0,
    }
    known = applied(start, choose(start, curves), list(truth.values()))
    result = fit_machine(
        start.machine, start.energy, measured(curves, known, QUICK.resolution, NOISE, 2, "pencil_beam"), QUICK
    )
    assert_recovered(result, truth)
    by_key = {f.parameter.key: f for f in result.parameters}
    assert by_key["spectrum.exponent"].from_data > 0.9
    # depth doses of one field hardly know a second number of the spectrum: it stays where it started, and is told so
    assert by_key["spectrum.curvature"].from_data < 0.3
    # what the model is calibrated to holds again for the fitted spectrum
    from dosecalc.commissioning.calibration import calibration_dose

    fitted = result.fitted
    dose = calibration_dose(fitted.machine, fitted.energy, QUICK.resolution, 1)
    assert dose == pytest.approx(fitted.energy.calibration.gy_per_mu, rel=1e-5)  # single precision of the engine


def test_leaf_tips_and_transmission_come_back_where_leaves_make_the_edge() -> None:
    start = Model(load_machine("generic-6mv-agility"), 0)
    curves = [profile(NARROW, "x", edge_positions(30.0), 60.0)]
    keys = {p.key for p in choose(start, curves)}
    assert {"mlc.tip_offset_mm", "mlc.transmission"} <= keys
    # along y the diaphragms make the edge: nothing is learnt of the leaves
    across = {p.key for p in choose(start, [replace(curves[0], axis="y")])}
    assert not {"mlc.tip_offset_mm", "mlc.transmission"} & across
    mlc = start.machine.mlc.model_copy(update={"tip_offset_mm": 0.9, "transmission": 0.012})
    known = Model(start.machine.model_copy(update={"mlc": mlc}), 0)
    result = fit_machine(start.machine, start.energy, measured(curves, known, SETTINGS.resolution, NOISE, 3), SETTINGS)
    found = {f.parameter.key: f for f in result.parameters}
    tip, transmission = found["mlc.tip_offset_mm"], found["mlc.transmission"]
    # fluence maps place leaf ends to an eighth of a millimetre
    assert abs(tip.value - 0.9) < 3 * tip.standard_error + 0.125 / 2
    assert tip.standard_error < 0.1
    assert abs(transmission.value - 0.012) < 3 * transmission.standard_error
    # one profile tells it from the tails of the extra-focal source not well, but does tell
    assert transmission.from_data > 0.5
    fitted = result.fitted.machine.mlc
    assert (fitted.tip_offset_mm, fitted.transmission) == (tip.value, transmission.value)


def test_transmission_shows_only_where_no_jaw_stands_behind_the_leaves() -> None:
    start = start_model()
    behind = {jaws: replace(NARROW, shaped_by="leaves", jaws_mm=jaws) for jaws in (None, (64.0, 64.0), (100.0, 100.0))}
    keys = {
        jaws: {p.key for p in choose(start, [profile(setup, "x", edge_positions(30.0), 100.0)])}
        for jaws, setup in behind.items()
    }
    assert [("mlc.tip_offset_mm" in k, "mlc.transmission" in k) for k in keys.values()] == [
        (True, False), (True, False), (True, True)
    ]  # fmt: skip


def test_what_is_fitted_of_transmission_stays_a_valid_model() -> None:
    start = start_model()
    setup = replace(NARROW, shaped_by="leaves", jaws_mm=(100.0, 100.0))
    (parameter,) = (
        p for p in choose(start, [profile(setup, "x", edge_positions(30.0), 100.0)]) if p.key == "mlc.transmission"
    )
    for value in parameter.bounds:
        machine = parameter.apply(start, value).machine
        again = type(machine).model_validate(machine.model_dump(mode="json"))
        assert again.mlc.transmission == value


def test_a_jaw_that_stands_off_is_told_and_not_fitted_as_a_source() -> None:
    start = start_model()
    wrong = Setup(900.0, (64.0, 64.0))
    truth = [profile(wrong, "x", edge_positions(32.0), 60.0)]
    # positions to 0.05 mm: a width is the distance of two places, each found between two points
    (curve,) = measured(truth, start, FINE, replace(NOISE, position_mm=0.05), 4)
    labelled = replace(curve, setups=(NARROW,))
    result = fit_machine(start.machine, start.energy, [labelled], FitSettings(NOISE, threads=1))
    width = result.curves[0].width_mm
    # four of those errors, and what voxels of 2 mm change of a penumbra (docs/commissioning.md: 0.1 mm)
    assert width[0] - width[1] == pytest.approx(4.0, abs=0.3)
    spot = next(f for f in result.parameters if f.parameter.key == "primary_source.sigma_mm")
    assert abs(spot.value - start.energy.primary_source.sigma_mm) < 3 * spot.standard_error


def test_stops_when_asked() -> None:
    start = start_model()
    curves = measured([profile(NARROW, "x", edge_positions(30.0), 60.0)], start, SETTINGS.resolution, NOISE, 5)
    with pytest.raises(Cancelled):
        fit_machine(start.machine, start.energy, curves, SETTINGS, cancelled=lambda: True)


def test_refuses_to_fit_nothing() -> None:
    start = Model(load_machine("generic-6mv-millennium120"), 0).with_energy(extra_focal=None)
    with pytest.raises(InputError) as caught:
        fit_machine(start.machine, start.energy, [output_factors((NARROW, WIDE), 100.0)], SETTINGS)
    assert caught.value.reason == "FIT_NOTHING"
