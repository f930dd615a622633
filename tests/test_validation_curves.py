"""Measures of the validation on curves whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from dosecalc.validation.curves import (
    CurvePair,
    build_up,
    depth_of_maximum_cm,
    differences,
    half_width_mm,
    penumbra_mm,
)
from dosecalc.validation.gamma import gamma_pass_rate
from dosecalc.validation.rebin import overlap, rebin


def pair(position, reference, evaluated, sigma=0.0) -> CurvePair:
    position = np.asarray(position, float)
    full = [np.broadcast_to(np.asarray(v, float), position.shape) for v in (reference, evaluated, sigma)]
    return CurvePair(position, *full)


def test_local_differences_of_a_scaled_curve():
    depth = np.linspace(2, 30, 57)
    reference = np.exp(-0.05 * depth)
    found = differences(pair(depth, reference, 1.01 * reference), reference)
    assert found.worst == pytest.approx(1.0)
    assert found.mean_absolute == pytest.approx(1.0)
    assert found.bias == pytest.approx(1.0)


def test_noise_counts_only_beyond_two_sigma():
    # 1 % off at 0.3 % noise: 0.4 % are more than noise
    found = differences(pair(np.arange(10.0), 1.0, 1.01, 0.003), 1.0)
    assert found.worst == pytest.approx(1.0)
    assert found.worst_counted == pytest.approx(0.4)
    inside_noise = differences(pair(np.arange(10.0), 1.0, 1.005, 0.003), 1.0)
    assert inside_noise.worst_counted == 0.0


def test_worst_place_is_that_of_the_largest_counted_difference():
    evaluated = np.ones(10)
    evaluated[3], evaluated[7] = 1.03, 1.02
    sigma = np.full(10, 0.001)
    sigma[3] = 0.014  # what sticks out here is nearly all noise
    assert differences(pair(np.arange(10.0), 1.0, evaluated, sigma), 1.0).worst_at_cm == 7.0


def test_build_up_passes_by_distance_where_it_is_steep():
    depth = np.arange(0.05, 4, 0.1)
    rise = lambda d: np.where(d < 1.5, d / 1.5, np.exp(-0.05 * (d - 1.5)))  # noqa: E731
    # 0.5 mm too deep: 3.3 % of the maximum everywhere on the slope, but half the distance criterion
    found = build_up(pair(depth, rise(depth), rise(depth - 0.05)))
    assert depth_of_maximum_cm(pair(depth, 1, rise(depth))) == pytest.approx(1.5, abs=0.06)
    assert found.worst_percent_of_maximum == pytest.approx(100 * 0.05 / 1.5, rel=0.02)
    # at the surface the evaluated curve starts above zero only 0.5 mm further in, where 2 % counts alone
    assert found.worst_of_either < 1.7
    same = build_up(pair(depth, rise(depth), rise(depth)))
    assert same.worst_percent_of_maximum == 0.0 and same.worst_of_either == 0.0


def test_build_up_fails_when_neither_holds():
    depth = np.arange(0.05, 4, 0.1)
    rise = np.minimum(depth / 1.5, 1.0)
    # 3 mm too deep on a slope of 6.7 % per mm: 20 % off and 3 mm off; the mildest points lie near the maximum
    found = build_up(pair(depth, rise, np.clip((depth - 0.3) / 1.5, 0, 1)))
    assert found.worst_of_either > 2.5


def test_penumbra_and_edge_of_a_linear_flank():
    x = np.arange(-80, 81) / 10
    # falls from 1 to 0 between 4.5 and 5.5 cm: 20 to 80 % are 6 mm apart, the half is at 50 mm
    flank = np.clip((5.5 - np.abs(x)) / 1.0, 0, 1)
    assert penumbra_mm(x, flank) == pytest.approx(6.0)
    assert half_width_mm(x, flank) == pytest.approx(50.0)
    assert penumbra_mm(x, 7 * flank) == pytest.approx(6.0)
    # moved sideways: the width stays, and so does the mean of both edges
    moved = np.clip((5.5 - np.abs(x - 0.2)) / 1.0, 0, 1)
    assert penumbra_mm(x, moved) == pytest.approx(6.0)
    assert half_width_mm(x, moved) == pytest.approx(50.0)


def test_penumbra_of_a_curve_that_never_falls_is_not_a_number():
    assert np.isnan(penumbra_mm(np.arange(-5.0, 6.0), np.ones(11)))


def test_rebinning_keeps_the_integral_and_constants():
    fine = np.arange(0, 31) * 1.0
    coarse = np.array([0, 2.5, 7, 13, 30])
    shares = overlap(fine, coarse)
    np.testing.assert_allclose(shares.sum(1), 1.0)
    values = np.random.default_rng(1).random((30, 30, 30))
    out = rebin(values, (fine, fine, fine), (coarse, coarse, coarse))
    volumes = np.einsum("i,j,k->ijk", *[np.diff(coarse)] * 3)
    assert (out * volumes).sum() == pytest.approx(values.sum())
    np.testing.assert_allclose(rebin(np.full((30, 30, 30), 3.0), (fine,) * 3, (coarse,) * 3), 3.0)


def test_overlap_beyond_the_source_counts_as_nothing():
    np.testing.assert_allclose(overlap(np.array([0.0, 1, 2]), np.array([1.0, 3.0])), [[0.0, 0.5]])


def gamma(reference, evaluated, sigma=0.0, percent=2.0, mm=2.0):
    axes = tuple(2.0 * np.arange(n) for n in reference.shape)
    full = np.broadcast_to(sigma, reference.shape)
    return gamma_pass_rate(axes, reference, evaluated, full, np.ones(reference.shape, bool), percent, mm)


def test_gamma_of_a_scaled_flat_dose_is_a_threshold():
    flat = np.ones((8, 8, 8))
    assert gamma(flat, 1.019 * flat) == 100.0
    assert gamma(flat, 1.021 * flat) == 0.0
    # 0.5 % noise widens 2 % to sqrt(2^2 + 1^2) = 2.24 %
    assert gamma(flat, 1.022 * flat, sigma=0.005) == 100.0
    assert gamma(flat, 1.023 * flat, sigma=0.005) == 0.0


def test_gamma_of_a_shifted_ramp_has_the_closed_form():
    # slope 5 %/mm along one axis; a shift s gives gamma = s / sqrt(mm^2 + (percent/slope)^2) in the middle of the ramp,
    # 2 % / 2 mm: 2.04 mm pass; the maximum of the ramp is the normalisation
    z = 2.0 * np.arange(41)
    ramp = np.broadcast_to((z / z.max())[:, None, None], (41, 5, 5))
    slope = 100 / z.max()
    limit = np.hypot(2.0, 2.0 / slope)
    inside = np.zeros((41, 5, 5), bool)
    inside[12:30, 2, 2] = True
    axes = (z, 2.0 * np.arange(5), 2.0 * np.arange(5))
    for shift, passes in ((0.97 * limit, True), (1.03 * limit, False)):
        evaluated = ramp + shift / z.max()
        scale = ramp[inside].max()  # of the judged voxels
        rate = gamma_pass_rate(axes, ramp / scale, evaluated / scale, np.zeros(ramp.shape), inside, 2.0 / scale, 2.0)
        assert rate == (100.0 if passes else 0.0)
