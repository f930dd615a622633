"""Gamma against closed forms, against a search by brute force, and in what it refuses."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dosecalc.dose.gamma import Criterion, gamma, gamma_on_axes
from dosecalc.errors import InputError
from dosecalc.geometry import Grid, Volume
from dosecalc_kernels.cpu import threads

#: the exact search ends when a step gains less than 1e-7 of gamma squared; results are float32
EXACT = 2e-6


def sampled_above(truth: float, steepness: float, sampling: int = 10) -> float:
    """Largest gamma that shells ``1 / sampling`` apart may show on a ramp: they miss the best distance by half a step.

    ``steepness``: dose criteria that the dose rises per distance criterion.
    """
    return math.sqrt(truth**2 + (1 + steepness**2) * (0.5 / sampling) ** 2)


def ramp(axis: np.ndarray, slope: float, offset: float = 100.0) -> np.ndarray:
    return offset + slope * axis


# ---- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("shift_mm", [0.0, 0.7, 2.5])
def test_shifted_ramp_in_one_dimension(slope: float, shift_mm: float) -> None:
    """A ramp that is moved by s differs by slope s everywhere: gamma = slope s / sqrt(dose^2 + (slope distance)^2)."""
    x = np.linspace(-60, 60, 49)
    reference, evaluated = ramp(x, slope, 500.0), ramp(x - shift_mm, slope, 500.0)
    truth = slope * shift_mm / math.hypot(2.0, slope * 2.0)
    options = {"normalisation_gy": 100.0, "threshold_percent": 0.0, "max_gamma": 5.0}
    inside = abs(x) < 45
    exact = gamma_on_axes(x, reference, x, evaluated, "2%/2mm", sampling=None, **options).maps[0].values[inside]
    assert exact == pytest.approx(truth, abs=EXACT)
    sampled = gamma_on_axes(x, reference, x, evaluated, "2%/2mm", **options).maps[0].values[inside]
    assert np.all(sampled >= truth - EXACT)
    assert np.all(sampled <= sampled_above(truth, slope) + EXACT)


def test_scaled_ramp_in_one_dimension() -> None:
    """Scaling by f leaves D f about a dose d: the point's own difference over hypot(dose, f slope distance)."""
    x = np.linspace(0, 100, 41)
    reference = ramp(x, 1.0, 50.0)
    evaluated = 1.03 * reference
    found = gamma_on_axes(x, reference, x, evaluated, "2%/2mm", normalisation_gy=100.0, sampling=None).maps[0].values
    truth = 0.03 * reference / math.hypot(2.0, 1.03 * 2.0)
    inside = (x > 10) & (x < 90)
    assert found[inside] == pytest.approx(truth[inside], abs=EXACT)


@pytest.mark.parametrize("sampling", [None, 10])
def test_oblique_ramp_in_three_dimensions(sampling: int | None) -> None:
    """The nearest equal dose lies along the gradient, whatever its direction against the grid."""
    z, y, x = np.arange(0, 41, 3.0), np.arange(0, 41, 2.5), np.arange(0, 41, 2.0)
    g = np.array([0.6, -0.5, 0.9])
    dose = g[0] * z[:, None, None] + g[1] * y[:, None] + g[2] * x + 100.0
    found = (
        gamma_on_axes((z, y, x), dose, (z, y, x), dose + 2.4, "3%/3mm", normalisation_gy=100.0, sampling=sampling)
        .maps[0]
        .values
    )
    steepness = float(np.linalg.norm(g))
    truth = 2.4 / math.hypot(3.0, 3.0 * steepness)
    inside = found[2:-2, 3:-3, 3:-3]
    if sampling is None:
        assert inside == pytest.approx(truth, abs=EXACT)
    else:
        assert np.all(inside >= truth - EXACT)
        # besides the distance, samples miss the direction by up to 0.7 of a step
        assert np.all(inside <= sampled_above(truth, steepness, 7))


def test_uniform_doses_are_apart_by_their_difference() -> None:
    grid = Grid((0, 0, 0), (2, 2, 2), (6, 7, 8))
    reference, evaluated = Volume(grid, np.full(grid.shape, 2.0)), Volume(grid, np.full(grid.shape, 2.03))
    assert gamma(reference, evaluated, "3%/3mm").maps[0].values == pytest.approx(0.5, abs=1e-6)
    local = gamma(reference, evaluated, "1%/1mm", local=True, normalisation_gy=4.0).maps[0].values
    assert local == pytest.approx(1.5, abs=1e-5)  # 1.5 % of the local dose; float32 doses


def test_step_edge_that_moved() -> None:
    """Across a steep edge only the distance counts: gamma at the old edge is shift over distance criterion."""
    x = np.arange(-20, 20.01, 0.5)
    reference = np.where(x < 0, 100.0, 0.0)
    evaluated = np.where(x < 3, 100.0, 0.0)
    found = gamma_on_axes(x, reference, x, evaluated, "3%/3mm", threshold_percent=0.0, sampling=None).maps[0].values
    # from the first low point at 0 on, high dose stands until 2.5 mm, where it falls within one cell
    assert found[x == 0.0] == pytest.approx((3.0 - 0.5 * 0.03) / 3.0, abs=0.01)
    assert np.all(found[x < -0.5] == 0.0)


def test_local_normalisation_asks_more_of_low_doses() -> None:
    x = np.arange(0, 60, 2.0)
    reference = np.linspace(10, 100, len(x))
    globally, locally = (
        gamma_on_axes(x, reference, x, reference + 1.0, "2%/0.001mm", local=local).maps[0].values
        for local in (False, True)
    )
    # the distance criterion is closed, so dose alone counts
    assert globally == pytest.approx(0.5, abs=1e-3)
    assert locally == pytest.approx(np.minimum(50.0 / reference, 2.0), rel=1e-3)


# ---- against brute force ---------------------------------------------------------------------------------------------


def brute_force(
    x: np.ndarray, reference: np.ndarray, evaluated: np.ndarray, dose: float, distance: float
) -> np.ndarray:
    """Gamma in two dimensions by looking at 40 points per cell along each axis: obviously right, and slow."""
    fine = np.linspace(x[0], x[-1], (len(x) - 1) * 40 + 1)
    rows = np.array([np.interp(fine, x, row) for row in evaluated])
    dense = np.array([np.interp(fine, x, column) for column in rows.T]).T
    result = np.empty(reference.shape)
    for j, i in np.ndindex(*reference.shape):
        away2 = ((fine[:, None] - x[j]) ** 2 + (fine[None, :] - x[i]) ** 2) / distance**2
        result[j, i] = math.sqrt(np.min(away2 + ((dense - reference[j, i]) / dose) ** 2))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_noise_against_brute_force(seed: int) -> None:
    """Noise has a minimum in every cell, which a search that follows gradients could miss."""
    generator = np.random.default_rng(seed)
    x = np.arange(9) * 2.5
    reference, evaluated = 100 + 6 * generator.standard_normal((2, 9, 9))
    truth = brute_force(x, reference, evaluated, 3.0, 3.0)
    found = (
        gamma_on_axes(
            (x, x), reference, (x, x), evaluated, "3%/3mm", normalisation_gy=100.0, sampling=None, max_gamma=None
        )
        .maps[0]
        .values
    )
    # brute force is above by what half its step of 0.06 mm costs in the steepest cells, (1 + G^2) (0.03/3)^2 / 2 gamma
    assert np.all(found <= truth + 1e-5)
    assert np.all(found**2 >= truth**2 - (1 + 10**2) * 2 * (0.0625 / 2 / 3) ** 2)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)),
    other=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)),
    shift=st.floats(-6, 6),
    roughness=st.floats(0, 20),
)
@example(seed=972916, shape=(4, 3, 4), other=(2, 4, 3), shift=0.0, roughness=15.0)  # a narrow bent valley
def test_sampled_is_never_below_exact(
    seed: int, shape: tuple[int, int, int], other: tuple[int, int, int], shift: float, roughness: float
) -> None:
    """Whatever the grids: what samples find is there to be found, and both leave out the same points."""
    generator = np.random.default_rng(seed)
    a = Volume(Grid((0, 0, 0), (2.5, 2.5, 2.5), shape), 50 + roughness * generator.standard_normal(shape))
    # lone planes must be the same ones
    origin = tuple(0.0 if n == 1 else shift for n in other[::-1])
    b = Volume(Grid(origin, (2.0, 3.0, 2.5), other), 50 + roughness * generator.standard_normal(other))  # type: ignore[arg-type]
    options = {"normalisation_gy": 50.0, "threshold_percent": 0.0, "max_gamma": 3.0}
    exact = gamma(a, b, "3%/3mm", sampling=None, **options).maps[0].values  # type: ignore[arg-type]
    try:
        sampled = gamma(a, b, "3%/3mm", **options).maps[0].values  # type: ignore[arg-type]
    except InputError as error:
        assert error.reason == "GAMMA_PLANES_APART"
        return
    assert np.array_equal(np.isnan(exact), np.isnan(sampled))
    there = ~np.isnan(exact)
    assert np.all(sampled[there] >= exact[there] - 1e-5)


# ---- grids -----------------------------------------------------------------------------------------------------------


def test_different_grids_of_one_ramp_agree() -> None:
    def volume(spacing: tuple[float, float, float], shape: tuple[int, int, int], origin: float) -> Volume:
        grid = Grid((origin, origin, origin), spacing, shape)
        z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
        return Volume(grid, 50 + 0.2 * z - 0.1 * y + 0.3 * x)

    reference, evaluated = volume((2, 2, 2), (12, 12, 12), 5.0), volume((3.3, 2.7, 4.1), (9, 14, 13), 0.0)
    # doses are float32: 60 Gy to 4e-6, over a criterion of about 1 Gy
    for sampling in (None, 10):
        found = gamma(reference, evaluated, "2%/2mm", sampling=sampling).maps[0]
        assert found.count == reference.grid.size
        assert found.values == pytest.approx(0.0, abs=2e-5)


def test_partly_overlapping_volumes() -> None:
    x = np.arange(0, 50, 2.0)
    uniform = np.full(len(x), 10.0)
    result = gamma_on_axes(x, uniform, x + 20.0, uniform, "3%/3mm", max_gamma=2.0, sampling=None)
    found = result.maps[0].values
    assert np.all(found[x >= 20] == 0)
    near = (x < 20) & (x >= 14)
    assert found[near] == pytest.approx((20 - x[near]) / 3.0, abs=1e-6)
    assert np.all(np.isnan(found[x < 14]))
    assert result.unreached == np.count_nonzero(x < 14)
    assert result.maps[0].count == len(x) - result.unreached


def test_plane_against_volume() -> None:
    """A measured plane is compared with the whole computed volume about it."""
    grid = Grid((0, 0, 0), (2, 2, 2), (11, 11, 11))
    z = np.broadcast_to(grid.z_mm[:, None, None], grid.shape)
    plane = Volume(Grid((0, 0, 9.0), (2, 2, 2), (1, 11, 11)), np.full((1, 11, 11), 51.0))
    found = gamma(plane, Volume(grid, 50 + z), "3%/3mm", normalisation_gy=100.0, sampling=None).maps[0].values
    # 59 Gy stand at 9 mm, 51 Gy at 1 mm; both criteria are alike: 8 / (3 sqrt 2)
    assert found == pytest.approx(8 / (3 * math.sqrt(2)), abs=EXACT)


def test_planes_apart_cannot_be_sampled() -> None:
    a, b = (Volume(Grid((0, 0, z), (2, 2, 2), (1, 4, 4)), np.ones((1, 4, 4))) for z in (0.0, 1.5))
    with pytest.raises(InputError, match="single plane") as error:
        gamma(a, b, "3%/3mm")
    assert error.value.reason == "GAMMA_PLANES_APART"
    assert gamma(a, b, "3%/3mm", sampling=None).maps[0].values == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("sampling", [None, 10])
def test_irregular_and_falling_axes(sampling: int | None) -> None:
    """Scans stand where somebody moved the chamber to."""
    x = np.array([0.0, 1.0, 1.5, 4.0, 4.2, 9.0, 15.0, 22.0])
    regular = np.arange(0, 22.01, 0.5)
    dose = 100 - 2 * np.abs(x - 9)
    there = 100 - 2 * np.abs(regular - 9)
    rising = gamma_on_axes(regular, there, x, dose, "2%/2mm", sampling=sampling).maps[0].values
    falling = gamma_on_axes(regular[::-1], there[::-1], x[::-1], dose[::-1], "2%/2mm", sampling=sampling).maps[0].values
    assert rising == pytest.approx(0.0, abs=1e-6)
    assert np.array_equal(rising, falling[::-1])


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [None, 10])
def test_several_criteria_are_each_as_alone(sampling: int | None) -> None:
    generator = np.random.default_rng(5)
    grid = Grid((0, 0, 0), (2.5, 2.5, 2.5), (8, 8, 8))
    a, b = (Volume(grid, 10 + generator.standard_normal(grid.shape)) for _ in range(2))
    criteria = ["3%/3mm", Criterion(2, 2), "1%/1mm", "5/1"]
    together = gamma(a, b, criteria, sampling=sampling)
    for m, criterion in zip(together.maps, criteria, strict=True):
        alone = gamma(a, b, criterion, sampling=sampling).maps[0]
        assert np.array_equal(m.values, alone.values)
    assert together["5%/1mm"] is together.maps[3]


def test_threshold_normalisation_and_maximum() -> None:
    x = np.arange(0, 100, 1.0)
    reference = x.copy()
    result = gamma_on_axes(x, reference, x, reference + 30, "2%/0.5mm", threshold_percent=20, normalisation_gy=80.0)
    found = result.maps[0].values
    assert result.threshold_gy == 16.0
    assert np.array_equal(np.isnan(found), reference < 16.0)
    assert np.nanmax(found) == 2.0
    assert result.maps[0].pass_rate_percent == 0.0
    unlimited = (
        gamma_on_axes(
            x, reference, x, reference + 30, "2%/0.5mm", normalisation_gy=100.0, max_gamma=None, sampling=None
        )
        .maps[0]
        .values
    )
    assert unlimited[50] == pytest.approx(30 / math.hypot(2, 0.5), rel=1e-5)


def test_uncertainty_of_the_reference_widens_the_criterion() -> None:
    grid = Grid((0, 0, 0), (2, 2, 2), (3, 3, 3))
    reference, evaluated = Volume(grid, np.full(grid.shape, 100.0)), Volume(grid, np.full(grid.shape, 104.0))
    sigma = np.full(grid.shape, 1.5)
    found = gamma(reference, evaluated, "2%/2mm", reference_sigma_gy=sigma, max_gamma=5.0).maps[0].values
    assert found == pytest.approx(4.0 / math.hypot(2.0, 3.0), abs=1e-6)


def test_statistics_and_masks() -> None:
    x = np.arange(10.0)
    reference = np.full(10, 100.0)
    evaluated = reference + np.array([0, 0, 0, 0, 0, 6, 6, 6, 6, 6])
    m = gamma_on_axes(x * 100, reference, x * 100, evaluated, "3%/3mm").maps[0]
    assert m.pass_rate_percent == 50.0
    assert m.pass_rate_in(x < 4) == 100.0
    assert math.isnan(m.pass_rate_in(x > 20))
    statistics = m.statistics()
    assert (statistics["points"], statistics["max"], statistics["mean"]) == (10, 2.0, pytest.approx(1.0, abs=1e-3))
    assert m.to_dict()["criterion"] == "3%/3mm"


def test_bits_do_not_depend_on_threads() -> None:
    generator = np.random.default_rng(1)
    grid = Grid((0, 0, 0), (2.5, 2.5, 2.5), (20, 20, 20))
    a, b = (Volume(grid, 10 + generator.standard_normal(grid.shape)) for _ in range(2))
    with threads.limit(1):
        assert numba.get_num_threads() == 1
        one = gamma(a, b, ["3%/3mm", "1%/1mm"])
    many = gamma(a, b, ["3%/3mm", "1%/1mm"])
    assert all(np.array_equal(p.values, q.values, equal_nan=True) for p, q in zip(one.maps, many.maps, strict=True))


@pytest.mark.parametrize("local", [False, True])
def test_gamma_where_only_some_doses_are_equal_is_as_without_looking_at_the_nodes(local: bool) -> None:
    """An uncertainty of zero makes no difference to gamma, but doses with one are not compared node by node first."""
    generator = np.random.default_rng(11)
    axes = tuple(np.arange(n) * 2.5 for n in (9, 10, 12))
    reference = 10 + generator.standard_normal((9, 10, 12))
    reference[2, 3] = 0.0
    evaluated = np.where(generator.random(reference.shape) < 0.7, reference, reference + 0.4)
    options = {"local": local, "threshold_percent": 0.0}
    criteria = ["3%/3mm", "2%/1mm"]
    found = gamma_on_axes(axes, reference, axes, evaluated, criteria, **options)  # type: ignore[arg-type]
    sure = np.zeros(reference.shape)
    searched = gamma_on_axes(axes, reference, axes, evaluated, criteria, reference_sigma_gy=sure, **options)  # type: ignore[arg-type]
    assert (found.above_threshold, found.unreached) == (searched.above_threshold, searched.unreached)
    for a, b in zip(found.maps, searched.maps, strict=True):
        assert np.array_equal(np.isnan(a.values), np.isnan(b.values))
        assert np.nanmax(np.abs(a.values - b.values)) <= 3e-7  # float32 of the same, computed in another order


def test_a_dose_that_is_not_finite_is_refused_wherever_it_lies() -> None:
    """Below the threshold too, where no gamma would show it; at the same nodes and at others."""
    axis, dose = np.arange(5.0), np.array([0.0, 1, 2, 2, 1])
    broken = dose.copy()
    for value in (np.nan, np.inf, -np.inf):
        broken[0] = value
        for shift in (0.0, 0.5):
            for a, b in ((broken, dose), (dose, broken)):
                with pytest.raises(InputError, match="finite") as error:
                    gamma_on_axes(axis, a, axis + shift, b)
                assert error.value.reason == "DOSE_NOT_FINITE"


def test_equal_doses_of_many_voxels_in_several_threads() -> None:
    axes = tuple(np.arange(n) * 1.0 for n in (60, 90, 100))  # more than are marked by one thread
    dose = np.random.default_rng(12).random((60, 90, 100))
    with threads.limit(1):
        one = gamma_on_axes(axes, dose, axes, dose, "1%/1mm").maps[0].values
    many = gamma_on_axes(axes, dose, axes, dose, "1%/1mm").maps[0].values
    assert np.array_equal(one, many, equal_nan=True)
    assert np.array_equal(many == 0.0, dose >= 0.1 * dose.max())


@pytest.mark.parametrize(
    ("text", "dose", "distance"), [("2%/2mm", 2, 2), ("3 % / 1.5 mm", 3, 1.5), ("1/1", 1, 1), ("2%/2MM", 2, 2)]
)
def test_criteria_as_people_write_them(text: str, dose: float, distance: float) -> None:
    assert Criterion.parse(text) == Criterion(dose, distance)


ONE = np.linspace(1, 2, 5)


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ((ONE, ONE, ONE, ONE, "2%"), {}, "GAMMA_CRITERION"),
        ((ONE, ONE, ONE, ONE, "0%/2mm"), {}, "GAMMA_CRITERION"),
        ((ONE, ONE, ONE, ONE, "1..2%/2mm"), {}, "GAMMA_CRITERION"),
        ((ONE, ONE, ONE, ONE, []), {}, "GAMMA_CRITERION"),
        ((ONE, ONE[:4], ONE, ONE, "2%/2mm"), {}, "GAMMA_AXES"),
        (((ONE, ONE), ONE, ONE, ONE, "2%/2mm"), {}, "GAMMA_AXES"),
        ((ONE, ONE, (ONE, ONE), np.ones((5, 5)), "2%/2mm"), {}, "GAMMA_AXES"),
        ((ONE * 0, ONE, ONE, ONE, "2%/2mm"), {}, "GAMMA_AXES"),
        ((ONE, ONE * np.nan, ONE, ONE, "2%/2mm"), {}, "DOSE_NOT_FINITE"),
        ((ONE, ONE * 0, ONE, ONE, "2%/2mm"), {}, "DOSE_ZERO"),
        ((ONE, ONE, ONE, ONE, "2%/2mm"), {"max_gamma": 0.0}, "GAMMA_OPTION"),
        ((ONE, ONE, ONE, ONE, "2%/2mm"), {"threshold_percent": 120}, "GAMMA_OPTION"),
        ((ONE, ONE, ONE, ONE, "2%/2mm"), {"sampling": 0}, "GAMMA_OPTION"),
        ((ONE, ONE, ONE, ONE, "2%/2mm"), {"normalisation_gy": -1}, "GAMMA_OPTION"),
        ((ONE, ONE, ONE, ONE, "2%/2mm"), {"reference_sigma_gy": [1.0]}, "GAMMA_OPTION"),
        ((ONE, ONE, ONE, ONE, "2%/2mm"), {"max_gamma": 1e9}, "GAMMA_SEARCH_TOO_LARGE"),
    ],
)
def test_nonsense_is_refused(arguments: tuple[object, ...], options: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError) as error:
        gamma_on_axes(*arguments, **options)  # type: ignore[arg-type]
    assert error.value.reason == reason


@pytest.mark.parametrize("layers", [1, 7], ids=["plane", "volume"])
@pytest.mark.parametrize(
    "spacing", [(2.5, 2.5, 2.5), (2.5, 2.0, 2.0), (2.5, 5.0, 3.0), (1.25, 1.5, 2.2)], ids=["1:1", "5:4", "5:6", "25:22"]
)
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.4, -0.7, 0.9), (-6.0, 4.1, 11.3)])
def test_points_taken_together_are_as_each_alone(
    spacing: tuple[float, float, float], shift: tuple[float, float, float], layers: int
) -> None:
    """Points whose places in a cell repeat share the weights of samples; those on an uneven axis do not."""
    generator = np.random.default_rng(6)
    lone = layers == 1
    axes = tuple(np.arange(n) * 2.5 for n in (layers, 11, 27))
    other = tuple(
        np.arange(1 if lone and axis == 0 else 2 + int(extent[-1] / step)) * step + (0.0 if lone and axis == 0 else s)
        for axis, (extent, step, s) in enumerate(zip(axes, spacing, shift, strict=True))
    )
    reference = 50 + generator.standard_normal((layers, 11, 27))
    evaluated = 50 + 1.5 * generator.standard_normal([len(a) for a in other])
    found = gamma_on_axes(axes, reference, other, evaluated, "2%/2mm").maps[0].values
    uneven = (axes[0], axes[1], axes[2] + 1e-5 * generator.standard_normal(27))  # more than counts as even
    alone = gamma_on_axes(uneven, reference, other, evaluated, "2%/2mm").maps[0].values
    # a sample, 0.2 mm from the next, that lies on the outermost node may be moved beyond it
    gaps = np.abs(axes[2] - other[2][[0, -1], None])
    clear = np.all((gaps > 4.1) | (np.abs(gaps - 0.2 * np.rint(gaps / 0.2)) > 1e-3), axis=0)
    found, alone = found[..., clear], alone[..., clear]
    assert np.array_equal(np.isnan(found), np.isnan(alone))
    # positions differ by some 1e-5 mm, doses by as much of 3 criteria per mm
    assert np.nanmax(np.abs(found - alone)) <= 1e-4


@pytest.mark.parametrize("which", [(1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("edge", [1.0, 0.9])
def test_falling_axes_give_the_map_of_rising_ones(which: tuple[int, ...], edge: float) -> None:
    """The order in which positions are listed is no physics: the same bits, in the order of the reference given."""
    generator = np.random.default_rng(12)
    axes = [np.arange(n) * 2.5 for n in (5, 6, 7)]
    other = [a * edge for a in axes]
    reference, evaluated = (50.0 + generator.standard_normal((5, 6, 7)) for _ in range(2))
    sigma = np.abs(generator.standard_normal(reference.shape))
    down, down_other = ([a[::-1] if n in which else a for n, a in enumerate(given)] for given in (axes, other))
    known = gamma_on_axes(axes, reference, other, evaluated, reference_sigma_gy=sigma).maps[0].values
    for theirs, dose in ((other, evaluated), (down_other, np.flip(evaluated, which))):
        found = gamma_on_axes(down, np.flip(reference, which), theirs, dose, reference_sigma_gy=np.flip(sigma, which))
        assert np.array_equal(found.maps[0].values, np.flip(known, which), equal_nan=True)
