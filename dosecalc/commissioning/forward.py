"""What the dose engine itself says of measured curves: `compute_dose` in water, sampled as a detector would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from dosecalc.commissioning.aperture import field_plan
from dosecalc.commissioning.curves import Curve, FloatArray, Setup
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine.model import Energy, Machine
from dosecalc.patient.model import Patient

#: water beside the widest part of the field and below the deepest point, as in a tank that scans are made in, mm: with
#: 50 mm the dose at 295 mm was 0.4 (40 x 40 mm) to 0.9 % (200 x 200 mm) lower than with twice that
MARGIN_MM = 100.0
_LEAST_HALF_WIDTH_MM = 80.0
#: voxels around a sampled region that its splines need
_PAD = 4
#: how far a curve's points may be moved along it, when a profile is brought to the model's width, mm
_SLACK_MM = 10.0

#: doses at points (BLD x, BLD y, depth; mm), float64 [n, 3] -> float64 [n]
Sampler = Callable[[FloatArray], FloatArray]
#: of curves by their index and the setups of their points
Samplers = dict[tuple[int, Setup], Sampler]


@dataclass(frozen=True)
class Resolution:
    """Voxels of the phantom, mm.

    Parameters
    ----------
    along_mm : float
        Along a profile.
    across_mm : float
        Across the beam where no profile runs; never more than a fifth of the field.
    depth_mm : float
    """

    along_mm: float
    across_mm: float
    depth_mm: float


#: of a fit unless it is told otherwise
FINE = Resolution(2.0, 5.0, 2.5)


@dataclass(frozen=True)
class _Phantom:
    """One engine run: a setup, with the axis along which it is resolved finely.

    Parameters
    ----------
    setup : Setup
    axis : 'x', 'y' or None
    half_width_mm : (float, float)
        Of the water along x and y.
    reach_mm : (float, float)
        How far beside the axis dose is asked for.
    depth_mm : float
    """

    setup: Setup
    axis: str | None
    half_width_mm: tuple[float, float]
    reach_mm: tuple[float, float]
    depth_mm: float


class WaterTank:
    """An engine's dose at the points of some curves.

    Parameters
    ----------
    curves : sequence of Curve
    resolution : Resolution
    threads : int
        CPU threads, 0 for all.
    engine : 'collapsed_cone' or 'pencil_beam'
        A pencil beam needs water only between the source and the points, not where photons scatter: its phantoms are
        as thin as the curves, and its dose there costs a fraction.
    """

    def __init__(
        self, curves: Sequence[Curve], resolution: Resolution, threads: int = 0, engine: str = "collapsed_cone"
    ) -> None:
        self.curves = tuple(curves)
        self._resolution = resolution
        self._threads = threads
        self._engine = engine
        self._phantom_of = _phantoms(self.curves)

    @property
    def n_runs(self) -> int:
        """Engine runs of one full evaluation."""
        return len({p for per_curve in self._phantom_of for p in per_curve})

    def samplers(
        self,
        machine: Machine,
        energy: Energy,
        wanted: Callable[[Setup], bool] = lambda _: True,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Samplers:
        """Dose in each phantom, for curves by their index and the setups of their points.

        Parameters
        ----------
        machine, energy
        wanted : callable
            Which setups to compute; the others are left out.
        progress : callable
            Told the finished share.
        """
        phantoms = [p for p in dict.fromkeys(q for c in self._phantom_of for q in c) if wanted(p.setup)]
        volumes = {}
        for n, phantom in enumerate(phantoms):
            volumes[phantom] = self._dose(phantom, machine, energy)
            progress((n + 1) / len(phantoms))
        found = {}
        for i, (curve, per_setup) in enumerate(zip(self.curves, self._phantom_of, strict=True)):
            for phantom in per_setup:
                if phantom in volumes:
                    found[(i, phantom.setup)] = _sampler(volumes[phantom], curve)
        return found

    def _dose(self, phantom: _Phantom, machine: Machine, energy: Energy) -> Volume:
        """Dose around the points of a phantom's curves."""
        whole, thin = (_grid(phantom, self._resolution, half) for half in (phantom.half_width_mm, None))
        grid = thin if self._engine == "pencil_beam" else whole
        water = Patient(
            Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS"
        )
        plan = field_plan(machine, energy, phantom.setup)
        settings = DoseSettings(engine=self._engine, grid=grid, threads=self._threads)
        dose = compute_dose(water, plan, machine, settings).total_gy
        rim = [(n - m) // 2 for n, m in zip(grid.shape, thin.shape, strict=True)]
        return Volume(thin, dose[tuple(slice(r, r + m) for r, m in zip(rim, thin.shape, strict=True))].copy())


def sample(curve: Curve, index: int, samplers: Samplers, points_mm: FloatArray) -> FloatArray:
    """Dose at points of a curve, which may have been shifted: float64 [n], each from the phantom of its setup."""
    if len(curve.setups) == 1:
        return samplers[(index, curve.setups[0])](points_mm)
    return np.array([samplers[(index, s)](p[None])[0] for s, p in zip(curve.setups, points_mm, strict=True)])


def _phantoms(curves: Sequence[Curve]) -> list[tuple[_Phantom, ...]]:
    """The phantoms of each curve: as few as serve all curves, each as large as the largest of them needs."""
    axes: dict[Setup, list[str]] = {}
    extent: dict[Setup, FloatArray] = {}
    for curve in curves:
        for n, setup in enumerate(curve.setups):
            found = axes.setdefault(setup, [])
            if curve.axis is not None and curve.axis not in found:
                found.append(curve.axis)
            points = curve.points_mm if len(curve.setups) == 1 else curve.points_mm[n : n + 1]
            extent[setup] = np.maximum(extent.get(setup, np.zeros(3)), np.abs(points).max(0))
    out = []
    for curve in curves:
        per_curve = []
        for setup in curve.setups:
            axis = curve.axis or (axes[setup][0] if axes[setup] else None)
            x, y, depth = map(float, extent[setup])
            per_curve.append(_Phantom(setup, axis, _half_widths(setup, depth), (x, y), depth + MARGIN_MM))
        out.append(tuple(per_curve))
    return out


def _half_widths(setup: Setup, depth_mm: float) -> tuple[float, float]:
    spread = (setup.ssd_mm + depth_mm) / 1000.0
    x, y = (max(side / 2 * spread + MARGIN_MM, _LEAST_HALF_WIDTH_MM) for side in setup.field_mm)
    return x, y


def _grid(phantom: _Phantom, resolution: Resolution, half_width_mm: tuple[float, float] | None) -> Grid:
    """Voxels with one centred on the axis, the first layer beginning at the surface.

    ``half_width_mm`` None makes the water just wide enough to sample the points in it.
    """
    spacing, count = [], []
    for n, (axis, side, reach) in enumerate(zip("xy", phantom.setup.field_mm, phantom.reach_mm, strict=True)):
        fine = axis == phantom.axis
        step = min(resolution.along_mm if fine else resolution.across_mm, side / 5)
        spacing.append(step)
        thin = int(np.ceil((reach + (_SLACK_MM if fine else 0.0)) / step)) + _PAD
        count.append(2 * (thin if half_width_mm is None else max(thin, int(np.ceil(half_width_mm[n] / step)))) + 1)
    deep = int(np.ceil(phantom.depth_mm / resolution.depth_mm))
    origin = (-(count[0] - 1) / 2 * spacing[0], resolution.depth_mm / 2, -(count[1] - 1) / 2 * spacing[1])
    return Grid(origin, (spacing[0], resolution.depth_mm, spacing[1]), (count[1], deep, count[0]))


def _sampler(dose: Volume, curve: Curve) -> Sampler:
    """Dose as the curve's detector sees it.

    A voxel's dose is a mean over the voxel and a reading is a mean over the detector. To second order the mean over a
    symmetric region of variance s^2 is D + s^2 D'' / 2, so that a voxel's mean becomes the detector's by adding
    (s_detector^2 - s_voxel^2) D'' / 2 along each axis; s^2 is v^2 / 12 for a voxel of side v, and d^2 / 16 for a
    cylinder of diameter d that lies across the scan.
    """
    grid = dose.grid
    detector = (curve.detector_diameter_mm or 0.0) ** 2 / 16
    variance = {a: -(s**2) / 12 for a, s in zip((2, 1, 0), grid.spacing_mm, strict=True)}
    if curve.axis is not None:
        variance[2 if curve.axis == "x" else 0] += detector

    def at(points_mm: FloatArray) -> FloatArray:
        # BLD (x, y, depth) is patient (x, z, y): gantry 0, head first supine
        index = (points_mm[:, [1, 2, 0]] - np.array(grid.origin_mm)[::-1]) / np.array(grid.spacing_mm)[::-1]
        low = np.maximum(np.floor(index.min(0)).astype(int) - _PAD, 0)
        high = np.minimum(np.ceil(index.max(0)).astype(int) + _PAD + 1, grid.shape)
        block = dose.values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float64)
        seen = block.copy()
        for axis, v in variance.items():
            seen += v / 2 * _second_derivative(block, axis, grid.spacing_mm[2 - axis])
        return np.asarray(map_coordinates(seen, (index - low).T, order=3, mode="nearest"))

    return at


def _second_derivative(values: FloatArray, axis: int, step: float) -> FloatArray:
    """Central differences; the outermost value holds at the ends."""
    if values.shape[axis] < 3:
        return np.zeros_like(values)
    inner = np.diff(values, 2, axis=axis) / step**2
    pad = [(1, 1) if a == axis else (0, 0) for a in range(values.ndim)]
    return np.pad(inner, pad, mode="edge")
