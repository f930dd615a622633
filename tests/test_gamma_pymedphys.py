"""Gamma beside `pymedphys.gamma` on the same input: an implementation that others wrote."""

from __future__ import annotations

import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dosecalc.dicom.rtdose import read_rtdose
from dosecalc.dose.gamma import Criterion, gamma_on_axes

pymedphys = pytest.importorskip("pymedphys", reason="pymedphys is not installed")

#: what is asked for: 0.02 in gamma and 0.1 percentage points of pass rate; the same samples give the same figures but
#: for float32
GAMMA, GAMMA_MOSTLY, POINTS = 0.02, 1e-5, 0.1

ROOT = os.environ.get("DOSECALC_REFERENCE", "")

Axes = tuple[np.ndarray, ...]


def beside(
    axes: Axes,
    reference: np.ndarray,
    other: Axes,
    evaluated: np.ndarray,
    criterion: str,
    *,
    edges: bool = True,
    **options: object,
) -> tuple[np.ndarray, np.ndarray]:
    """Gammas of both, checked against each other.

    ``edges`` False: without the outermost layer, where pymedphys loses samples in it that rounding puts 1e-16 outside.
    """
    c = Criterion.parse(criterion)
    max_gamma = options.pop("max_gamma", 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pymedphys.gamma(
            axes,
            reference,
            other,
            evaluated,
            c.dose_percent,
            c.distance_mm,
            lower_percent_dose_cutoff=options.get("threshold_percent", 10.0),
            max_gamma=max_gamma,
            local_gamma=options.get("local", False),
            global_normalisation=options.get("normalisation_gy"),
        )
    result = gamma_on_axes(axes, reference, other, evaluated, c, max_gamma=max_gamma, **options)  # type: ignore[arg-type]
    ours = result.maps[0].values
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    there = ~np.isnan(ours)
    if not edges:
        there &= np.pad(np.ones([n - 2 for n in ours.shape], dtype=bool), 1)
    apart = np.abs(ours[there] - theirs[there])
    assert apart.max() <= GAMMA
    assert np.mean(apart <= GAMMA_MOSTLY) >= 0.99
    rates = [100 * np.mean(values[there] <= 1) for values in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1], abs=POINTS)
    return ours, theirs


def bump(axes: Axes, centre: float, width: float, factor: float = 1.0) -> np.ndarray:
    """A dose with steep and flat parts in any number of dimensions."""
    r2 = np.zeros([len(a) for a in axes])
    for n, a in enumerate(axes):
        r2 = r2 + ((a - centre * (1 + 0.1 * n)) ** 2).reshape([-1 if m == n else 1 for m in range(len(axes))])
    return 60 * factor / (1 + np.exp((np.sqrt(r2) - width) / 2.5))


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(("shift", "factor"), [(0.4, 1.004), (3.0, 1.05)])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_smooth_doses(dimensions: int, shift: float, factor: float, local: bool) -> None:
    n = {1: 61, 2: 41, 3: 15}[dimensions]
    axes = tuple((np.arange(n) - n // 2) * 2.0 for _ in range(dimensions))
    width = n * 0.6
    beside(axes, bump(axes, 0.0, width), axes, bump(axes, shift, width, factor), "2%/2mm", local=local)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise(noise: float) -> None:
    generator = np.random.default_rng(3)
    axes = tuple(np.arange(11) * 2.5 for _ in range(3))
    reference = bump(axes, 12.0, 11.0)
    beside(
        axes,
        reference,
        axes,
        reference * (1 + noise * generator.standard_normal(reference.shape)),
        "2%/2mm",
        edges=False,
    )


def test_other_grid_that_overlaps_partly() -> None:
    axes = tuple(np.arange(12) * 2.0 for _ in range(3))
    other = (np.arange(7) * 3.0 + 1.3, np.arange(9) * 2.7 + 4.1, np.arange(13) * 1.9 - 2.2)
    beside(axes, bump(axes, 11.0, 10.0), other, bump(other, 11.5, 10.0, 1.01), "3%/2mm", threshold_percent=20.0)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("step", [1.25, 2.0, 3.0, 5.0])
def test_grids_whose_spacings_are_a_ratio_of_whole_numbers(step: float, noise: float) -> None:
    """Points share samples there as on one grid; planes are sampled in the plane, volumes in space."""
    generator = np.random.default_rng(9)
    for layers, nodes in (((), ()), ((np.arange(5) * 2.5,), (np.arange(5) * 2.5 + 0.3,))):
        axes = (*layers, np.arange(15) * 2.5, np.arange(21) * 2.5)
        other = (*nodes, *(np.arange(int(45 / step)) * step - shift for shift in (4.3, 1.1)))
        evaluated = bump(other, 16.4, 13.0, 1.02)
        evaluated = evaluated * (1 + noise * generator.standard_normal(evaluated.shape))
        beside(axes, bump(axes, 16.0, 13.0), other, evaluated, "2%/2mm", edges=False)


@pytest.mark.parametrize(("max_gamma", "noise"), [(0.5, 0.0), (2.0, 0.0), (2.0, 0.02)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_grids_that_share_no_samples(dimensions: int, max_gamma: float, noise: float) -> None:
    """Spacings of 2.5 and 1.9 mm, and reference points at irregular places on regular nodes."""
    generator = np.random.default_rng(11)
    other = tuple(np.arange(n) * 1.9 - 1.3 for n in (24, 28, 13)[:dimensions])
    even = tuple(np.arange(n) * 2.5 for n in (15, 19, 8)[:dimensions])
    uneven = tuple(np.sort(generator.uniform(0.0, a[-1], len(a))) for a in even)
    evaluated = bump(other, 12.4, 13.0, 1.01) * (1 + noise * generator.standard_normal([len(a) for a in other]))
    for axes in (even, uneven):
        beside(axes, bump(axes, 12.0, 13.0), other, evaluated, "2%/2mm", edges=False, max_gamma=max_gamma)


def test_irregular_axes_and_given_normalisation() -> None:
    x = np.sort(np.random.default_rng(4).uniform(-60, 60, 40))
    other = np.linspace(-50, 55, 71)
    beside((x,), bump((x,), 0, 30), (other,), bump((other,), 1.0, 30), "3%/3mm", normalisation_gy=40.0)


def test_without_a_maximum() -> None:
    axes = tuple((np.arange(21) - 10) * 2.0 for _ in range(2))
    ours, _ = beside(axes, bump(axes, 0, 14), axes, bump(axes, 2.0, 14, 1.1), "2%/2mm", max_gamma=None)
    assert np.nanmax(ours) > 2


@pytest.mark.skipif(not ROOT, reason="DOSECALC_REFERENCE is not set: no reference data")
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("criterion", ["3%/3mm", "2%/2mm"])
@pytest.mark.parametrize("test", ["DD", "DTA"])
def test_agnew_and_mcgarry(test: str, criterion: str, local: bool) -> None:
    """The geometric squares of Agnew and McGarry 2016 (dose difference, and distance)."""
    archive = Path(ROOT) / "dicom" / "gamma-2d.zip"
    if not archive.is_file():
        pytest.skip("gamma-2d.zip is not in the reference data")
    doses = []
    with zipfile.ZipFile(archive) as zipped:
        for wanted in ("Reference_1mmPx.dcm", f"Evaluated_1mmPx_{test}_Test.dcm"):
            entry = next(n for n in zipped.namelist() if n.endswith(wanted))
            doses.append(read_rtdose(zipped.read(entry), entry).volume)
    axes = [(d.grid.y_mm, d.grid.x_mm) for d in doses]
    values = [d.values[0].astype(np.float64) for d in doses]
    beside(axes[0], values[0], axes[1], values[1], criterion, local=local)
