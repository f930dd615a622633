"""DVH sampling on every backend: against closed forms, against Numba, whatever the launch."""

import math

import numpy as np
import pytest
from backends import BACKENDS, host_backends, needs_compiler
from numpy.testing import assert_allclose, assert_array_equal

from dosecalc_kernels import registry

X0, Y0, STEP, NX, NY = -21.0, -19.0, 1.5, 31, 29
NEVER = np.full((NY, NX), -1e3)


def segments(rng):
    """A dented outline with a hole, corners on raster rows among them."""
    outlines = []
    for size, turn in ((15.0, 1), (6.0, -1)):
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        radius = size * rng.uniform(0.7, 1.0, 40)
        outline = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])[::turn]
        outline[::6] = np.round(outline[::6])
        outlines.append(np.column_stack([outline, np.roll(outline, -1, axis=0)]))
    return np.concatenate(outlines)


def piece(rng):
    """Level sets of a piece that grows, is cut by its hole and sticks out of the dose grid; the dose and its grid."""
    x, y = np.meshgrid(X0 + STEP * np.arange(NX), Y0 + STEP * np.arange(NY))
    constant = 12.0 - np.hypot(x, y) + rng.normal(0, 0.5, x.shape)
    dose = rng.uniform(10, 60, (6, 12, 11)).astype(np.float32)
    return (
        constant, rng.normal(2, 0.5, x.shape), rng.normal(-0.5, 0.2, x.shape), True, 3.0 - np.hypot(x - 2, y), NEVER,
        X0, Y0, STEP, 4.0, -3.0, 3, True, True, 0.8, 1.1,
        dose, np.array([-14.0, -13.0, -2.0]), np.array([2.5, 2.5, 2.0]), 0.0, 0.05,
    )  # fmt: skip


def empty_histogram():
    return np.zeros(1400), np.zeros(1401), np.array([np.inf, -np.inf, 0.0, 0.0, 0.0])


def results(backend, rng):
    """Every kernel's result on one random input."""
    contours = segments(rng)
    within = backend.kernel("inside")(X0, Y0, STEP, NX, NY, contours)
    wanted = np.ones((NY, NX), bool)
    distance, ux, uy = backend.kernel("signed_distance")(X0, Y0, STEP, contours, within, wanted, 2.0)
    points = rng.uniform(-20, 20, (300, 2))
    angle = rng.uniform(0, 2 * np.pi, 300)
    power = backend.kernel("chord_power")(*points.T.copy(), np.cos(angle), np.sin(angle), contours, 9.0)
    arguments = piece(rng)
    mass, step, totals = empty_histogram()
    backend.kernel("accumulate")(*arguments, mass, step, totals)
    area = backend.kernel("raster_area")(arguments[0], STEP)
    seen = np.array([np.inf, -np.inf, 0.0, 0.0, 0.0])
    backend.kernel("extremes")(rng.uniform(-16, 16, (200, 3)), *arguments[16:19], seen)
    histogram = mass + np.cumsum(step)[:-1]
    return [within, distance, ux, uy, *power, histogram, totals, np.array(area), seen[:2]]


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_backends_agree(backend, seed):
    found, known = (results(b, np.random.default_rng(seed)) for b in (backend, registry.backend("cpu")))
    assert_array_equal(found[0], known[0])
    for a, b in zip(found[1:7], known[1:7], strict=True):
        # the same operations; a millimetre to rounding
        assert_allclose(a, b, atol=1e-9, rtol=1e-9)
    # volumes are added in another order, as whole numbers of 2^-33 mm3, some thousand to a bin
    assert_allclose(found[7], known[7], atol=1e-6)
    for a, b in zip(found[8:], known[8:], strict=True):
        # Numba takes differences of neighbouring doses in single precision, CUDA in double
        assert_allclose(a, b, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_disc_in_a_ramp(backend):
    """A cylinder in a dose that rises along x: volume, mean dose and the power of points in closed form."""
    angle = np.linspace(0, 2 * np.pi, 721)
    circle = 10.0 * np.column_stack([np.cos(angle), np.sin(angle)])
    contours = np.column_stack([circle[:-1], circle[1:]])
    within = backend.kernel("inside")(X0, Y0, STEP, NX, NY, contours)
    x, y = np.meshgrid(X0 + STEP * np.arange(NX), Y0 + STEP * np.arange(NY))
    rho = np.hypot(x, y)
    clear = np.abs(rho - 10) > 1e-3
    assert_array_equal(within[clear], (rho < 10)[clear])
    distance, _, _ = backend.kernel("signed_distance")(X0, Y0, STEP, contours, within, np.ones_like(within), 1.0)
    # a polygon of 720 sides lies within 1e-4 mm of its circle
    assert_allclose(distance, 10 - rho, atol=2e-4)
    power, _, _ = backend.kernel("chord_power")(
        np.array([3.0, 14.0]), np.array([1.0, 0.5]), np.array([0.6, 1.0]), np.array([0.8, 0.0]), contours, 10.0
    )
    assert_allclose(power, [100 - 10.0, 100 - 196.25], rtol=1e-4)
    dose = np.broadcast_to(np.arange(20.0, dtype=np.float32), (5, 20, 20)).copy()
    zero, level = np.zeros((NY, NX)), 10.0 - rho
    mass, step, totals = empty_histogram()
    backend.kernel("accumulate")(
        level, zero, zero, False, NEVER, NEVER, X0, Y0, STEP, 0.0, 6.0, 4, False, False, 1.0, 1.0, dose,
        np.array([-19.0, -19.0, -2.0]), np.array([2.0, 2.0, 3.0]), 0.0, 0.05, mass, step, totals,
    )  # fmt: skip
    # a circle that is cut along chords of a 1.5 mm raster loses about step^2 / (12 R) of its radius
    assert totals[2] == pytest.approx(math.pi * 100 * 6, rel=6e-3)
    assert (mass + np.cumsum(step)[:-1]).sum() == pytest.approx(totals[3], rel=1e-9)
    # dose 9.5 in the middle, 0.5 per mm
    assert totals[4] / totals[3] == pytest.approx(9.5, abs=1e-2)
    assert backend.kernel("raster_area")(level, STEP) * 6 == pytest.approx(totals[2], rel=1e-12)


@needs_compiler
def test_bits_do_not_depend_on_the_launch():
    every = [results(b, np.random.default_rng(9)) for b in host_backends()]
    for other in every[1:]:
        for a, b in zip(every[0], other, strict=True):
            assert_array_equal(a, b)
