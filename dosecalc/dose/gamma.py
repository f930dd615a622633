"""Gamma index: how far an evaluated dose is from a reference, in dose and distance together.

Low et al. 1998, Med Phys 25:656. Every reference point is compared with the interpolated evaluated distribution about
it, never with its voxels only. How the search works, and what it costs, is in ``docs/gamma.md``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosecalc.devices import offload
from dosecalc.dose.gamma_offsets import SearchOffsets, everywhere, refuse_too_many, search_offsets
from dosecalc.errors import InputError
from dosecalc.geometry import Volume
from dosecalc_kernels.cpu.gamma_nodes import gamma_at_nodes, put_unknown, unknown_points
from dosecalc_kernels.offload import Offload

FloatArray = NDArray[np.float64]

#: evaluated doses are looked at this many times per distance criterion unless said otherwise, as pymedphys does
SAMPLING = 10
MAX_GAMMA = 2.0
THRESHOLD_PERCENT = 10.0
#: two planes closer than this are the same plane: files round positions
_SAME_PLANE_MM = 1e-3
#: positions are regular when they are to this share of their distance
_REGULAR = 1e-6
_CRITERION = re.compile(r"\s*([0-9.]+)\s*%?\s*/\s*([0-9.]+)\s*(?:mm)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Criterion:
    """A dose difference and a distance that count as gamma 1.

    Parameters
    ----------
    dose_percent : float
        Percent of the normalisation dose, or of the local reference dose.
    distance_mm : float
    """

    dose_percent: float
    distance_mm: float

    def __post_init__(self) -> None:
        for value in (self.dose_percent, self.distance_mm):
            if not (math.isfinite(value) and value > 0):
                raise InputError(
                    "GAMMA_CRITERION", f"A gamma criterion needs a dose and a distance above zero, not {value}."
                )

    @classmethod
    @cache
    def parse(cls, text: str) -> Criterion:
        """From text like ``2%/2mm`` or ``3/3``.

        Raises
        ------
        InputError
            ``GAMMA_CRITERION``.
        """
        match = _CRITERION.fullmatch(text)
        try:
            if match is not None:
                return cls(float(match[1]), float(match[2]))
        except ValueError:
            pass
        raise InputError(
            "GAMMA_CRITERION", f"{text!r} is no gamma criterion: write percent and millimetres, like 2%/2mm."
        )

    def __str__(self) -> str:
        return f"{self.dose_percent:g}%/{self.distance_mm:g}mm"


@dataclass(frozen=True, eq=False)
class GammaMap:
    """Gamma for one criterion.

    Parameters
    ----------
    criterion : Criterion
    values : float32, shape of the reference
        NaN where it was not evaluated: below the threshold, or no evaluated dose within reach. Beyond the maximum
        gamma the maximum stands.
    """

    criterion: Criterion
    values: NDArray[np.float32]

    @cached_property
    def evaluated(self) -> NDArray[np.bool_]:
        """Where there is a gamma, shape of the reference."""
        return ~np.isnan(self.values)

    @property
    def count(self) -> int:
        """Number of evaluated points."""
        return int(np.count_nonzero(self.evaluated))

    @property
    def pass_rate_percent(self) -> float:
        """Percent of the evaluated points with a gamma of at most 1; NaN when none was evaluated."""
        return self.pass_rate_in(None)

    def pass_rate_in(self, mask: NDArray[np.bool_] | None) -> float:
        """Pass rate among the points of a mask (bool, shape of the reference), percent."""
        chosen = self._values_in(mask)
        return 100.0 * float(np.count_nonzero(chosen <= 1.0)) / len(chosen) if len(chosen) else float("nan")

    def statistics(self, mask: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Number of points, pass rate, and what the gammas are like; NaN when no point was evaluated."""
        chosen = self._values_in(mask)
        if not len(chosen):
            figures = dict.fromkeys(("mean", "median", "p95", "p99", "max"), float("nan"))
        else:
            median, p95, p99 = np.percentile(chosen, (50.0, 95.0, 99.0))
            figures = {
                "mean": float(np.mean(chosen, dtype=np.float64)),
                "median": float(median),
                "p95": float(p95),
                "p99": float(p99),
                "max": float(chosen.max()),
            }
        return {"points": len(chosen), "pass_rate_percent": self.pass_rate_in(mask), **figures}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the criterion and the statistics, ``None`` for what does not exist."""
        return {
            "criterion": str(self.criterion),
            "dose_percent": self.criterion.dose_percent,
            "distance_mm": self.criterion.distance_mm,
            **{k: None if math.isnan(v) else v for k, v in self.statistics().items()},
        }

    def _values_in(self, mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        return self.values[self.evaluated if mask is None else self.evaluated & mask]


@dataclass(frozen=True, eq=False)
class GammaResult:
    """Gamma for one or several criteria, and how it was computed.

    Parameters
    ----------
    maps : tuple of GammaMap
        In the order of the criteria.
    normalisation_gy, threshold_gy : float
        Dose that percentages are of (global), and reference dose below which nothing is evaluated.
    local : bool
        Whether dose differences are in percent of the reference point's own dose.
    max_gamma : float
    sampling : int or None
        Samples per distance criterion; None: the minimum over all points.
    above_threshold, unreached : int
        Reference points at or above the threshold; those of them for which some map has no gamma, because the evaluated
        distribution lies too far away.
    """

    maps: tuple[GammaMap, ...]
    normalisation_gy: float
    threshold_gy: float
    local: bool
    max_gamma: float
    sampling: int | None
    above_threshold: int
    unreached: int

    def __getitem__(self, criterion: Criterion | str) -> GammaMap:
        wanted = Criterion.parse(criterion) if isinstance(criterion, str) else criterion
        for found in self.maps:
            if found.criterion == wanted:
                return found
        raise InputError("GAMMA_CRITERION", f"Gamma was not computed for {wanted}.")


def gamma(
    reference: Volume,
    evaluated: Volume,
    criteria: Criterion | str | Iterable[Criterion | str] = "2%/2mm",
    *,
    local: bool = False,
    threshold_percent: float = THRESHOLD_PERCENT,
    normalisation_gy: float | None = None,
    max_gamma: float | None = MAX_GAMMA,
    sampling: int | None = SAMPLING,
    reference_sigma_gy: ArrayLike | None = None,
    device: str | Offload = "cpu",
) -> GammaResult:
    """Gamma of a reference dose against an evaluated one, each on its own grid in the same frame.

    Parameters
    ----------
    reference, evaluated : Volume
        Gy. The grids may differ and overlap partly; a grid with one plane is a plane.
    criteria, local, threshold_percent, normalisation_gy, max_gamma, sampling, reference_sigma_gy, device
        As in `gamma_on_axes`.

    Returns
    -------
    GammaResult
        Maps have the shape of the reference, ``[z, y, x]``.

    Raises
    ------
    InputError
        As `gamma_on_axes`.
    """
    return gamma_on_axes(
        (reference.grid.z_mm, reference.grid.y_mm, reference.grid.x_mm),
        reference.values,
        (evaluated.grid.z_mm, evaluated.grid.y_mm, evaluated.grid.x_mm),
        evaluated.values,
        criteria,
        local=local,
        threshold_percent=threshold_percent,
        normalisation_gy=normalisation_gy,
        max_gamma=max_gamma,
        sampling=sampling,
        reference_sigma_gy=reference_sigma_gy,
        device=device,
    )


def gamma_on_axes(
    reference_axes_mm: ArrayLike | Sequence[ArrayLike],
    reference: ArrayLike,
    evaluated_axes_mm: ArrayLike | Sequence[ArrayLike],
    evaluated: ArrayLike,
    criteria: Criterion | str | Iterable[Criterion | str] = "2%/2mm",
    *,
    local: bool = False,
    threshold_percent: float = THRESHOLD_PERCENT,
    normalisation_gy: float | None = None,
    max_gamma: float | None = MAX_GAMMA,
    sampling: int | None = SAMPLING,
    reference_sigma_gy: ArrayLike | None = None,
    device: str | Offload = "cpu",
) -> GammaResult:
    """Gamma in one, two or three dimensions, of arrays whose axes are given.

    Parameters
    ----------
    reference_axes_mm, evaluated_axes_mm : sequence of float [n]
        Positions along each axis of the array, mm, strictly rising or falling, regular or not. For one dimension the
        positions alone will do.
    reference, evaluated : float
        Doses; any unit, the same for both.
    criteria : Criterion, str or several of them
        Such as ``"2%/2mm"``.
    local : bool
        Dose differences in percent of the reference point's dose instead of the normalisation dose.
    threshold_percent : float
        Reference points below so many percent of the normalisation dose are not evaluated.
    normalisation_gy : float, optional
        What percentages are of; the maximum of the reference.
    max_gamma : float, optional
        The search ends there and larger values are cut to it; None: no limit.
    sampling : int, optional
        The evaluated dose is looked at on shells ``distance / sampling`` apart about the reference point, at points no
        further from each other than that: the convention of pymedphys' ``interp_fraction``, whose gammas come out.
        None: the minimum over all points, which sampling overestimates a little in steep gradients.
    reference_sigma_gy : float, shape of the reference, optional
        Statistical uncertainty of the reference (one standard deviation); the dose criterion of each point becomes the
        root of criterion^2 + (2 sigma)^2.
    device : str or Offload
        Where to search, as `dosecalc.devices.offload` takes it: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns
    -------
    GammaResult

    Raises
    ------
    InputError
        ``GAMMA_AXES``, ``GAMMA_CRITERION``, ``GAMMA_OPTION``, ``GAMMA_SEARCH_TOO_LARGE``, ``DOSE_NOT_FINITE``,
        ``DOSE_ZERO``.
    DeviceError
        ``DEVICE_UNKNOWN``, ``DEVICE_NOT_AVAILABLE``; never with ``auto``.
    """
    wanted = _criteria(criteria)
    ref = _Distribution.of(reference_axes_mm, reference, "reference")
    ev = _Distribution.of(evaluated_axes_mm, evaluated, "evaluated", like=ref)
    if ref.dimensions != ev.dimensions:
        raise InputError(
            "GAMMA_AXES", f"The reference has {ref.dimensions} dimensions, the evaluated dose has {ev.dimensions}."
        )
    limit = math.inf if max_gamma is None else _positive(float(max_gamma), "maximum gamma")
    if sampling is not None:
        refuse_too_many(ev.searched, sampling, limit)
    normalisation = _normalisation(ref.values, normalisation_gy)
    if not 0 <= threshold_percent <= 100:
        raise InputError("GAMMA_OPTION", f"A threshold of {threshold_percent} percent is not possible; use 0 to 100.")
    threshold = threshold_percent / 100.0 * normalisation
    sigma = None if reference_sigma_gy is None else _uncertainty(reference_sigma_gy, ref)
    maps, above, without = _at_nodes(ref, ev, wanted, normalisation, threshold, local, sigma is None)
    unreached = 0
    if without:
        points = unknown_points(maps)
        dose_criterion = _dose_criterion(ref.values.ravel(), points, wanted, normalisation, local)
        if sigma is not None:
            dose_criterion = np.hypot(dose_criterion, 2.0 * sigma[points])
        found = _search(ref.snapped_to(ev), ev, points, dose_criterion, wanted, limit, sampling, device)
        unreached = put_unknown(points, found, maps)
    return GammaResult(
        maps=tuple(GammaMap(c, ref.as_given(m)) for c, m in zip(wanted, maps, strict=True)),
        normalisation_gy=normalisation,
        threshold_gy=threshold,
        local=local,
        max_gamma=limit,
        sampling=sampling,
        above_threshold=above,
        unreached=unreached,
    )


def _at_nodes(
    ref: _Distribution,
    ev: _Distribution,
    criteria: Sequence[Criterion],
    normalisation: float,
    threshold: float,
    local: bool,
    comparable: bool,
) -> tuple[NDArray[np.float32], int, int]:
    """What one look at each reference point says.

    Float32 [criteria, n], NaN where gamma is not wanted, -1 where it is not known; how many points are wanted; and how
    many gammas are not known. ``comparable``: doses at the same node may settle a gamma.
    """
    share = np.array([c.dose_percent / 100.0 for c in criteria])
    none = np.zeros(len(share))
    of_all, of_own = (none, share) if local else (share * normalisation, none)
    maps = np.empty((len(share), ref.values.size), np.float32)
    together = comparable and ref.axes is ev.axes
    wanted, without, wrong = gamma_at_nodes(
        ref.values.ravel(), ev.values.ravel(), together, of_all, of_own, threshold, maps
    )
    if wrong:
        ref.refuse_not_finite("reference")
    if wrong or not together:
        ev.refuse_not_finite("evaluated")
    return maps, wanted // len(share), without


def _search(
    ref: _Distribution,
    ev: _Distribution,
    points: NDArray[np.int64],
    dose_criterion: FloatArray,
    criteria: Sequence[Criterion],
    limit: float,
    sampling: int | None,
    device: str | Offload,
) -> NDArray[np.float32]:
    """Gamma of the points, float32 [criteria, n]."""
    kernels = offload(device)
    distance = np.array([c.distance_mm for c in criteria], dtype=np.float64)

    def least(o: SearchOffsets) -> NDArray[np.float32]:
        (ev_z, ev_y, ev_x), (ref_z, ref_y, ref_x) = ev.axes, ref.axes
        gammas: NDArray[np.float32] = kernels.run(
            "gamma_of_points", dose_criterion.size,
            ref.values, points, ev.values, ev_z, ev_y, ev_x, ev.per_cell, ref_z, ref_y, ref_x, dose_criterion, distance,
            limit, o.near, o.offsets, o.block_start, o.blocks, o.block_at, o.edge,
        )  # fmt: skip
        return gammas

    if sampling is None:
        return least(everywhere())
    _refuse_apart(ref, ev)
    reach = limit
    if math.isinf(limit):
        # sampled gammas lie above the true minimum by less than this
        reach = 1.1 * float(np.nanmax(least(everywhere()), initial=0.0)) + 0.5
    return least(search_offsets(ev.searched, sampling, reach))


def _refuse_apart(ref: _Distribution, ev: _Distribution) -> None:
    for at, plane in zip(ref.axes, ev.axes, strict=True):
        if len(plane) == 1 and np.any(at != plane[0]):
            raise InputError(
                "GAMMA_PLANES_APART",
                "The evaluated dose is a single plane in which the reference points do not all lie, so no shells about "
                "them can be sampled; compare in the same plane, or without sampling.",
            )


def _criteria(criteria: Criterion | str | Iterable[Criterion | str]) -> tuple[Criterion, ...]:
    given = [criteria] if isinstance(criteria, (str, Criterion)) else list(criteria)
    if not given:
        raise InputError("GAMMA_CRITERION", "At least one gamma criterion is needed, like 2%/2mm.")
    return tuple(Criterion.parse(c) if isinstance(c, str) else c for c in given)


def _positive(value: float, what: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError("GAMMA_OPTION", f"The {what} must be positive, not {value}.")
    return value


def _normalisation(reference: FloatArray, given: float | None) -> float:
    if given is not None:
        return _positive(float(given), "normalisation dose")
    most = float(reference.max())
    if not math.isfinite(most):
        raise _not_finite("reference")
    if not most > 0:
        raise InputError("DOSE_ZERO", "The reference dose is zero everywhere, so percentages of it mean nothing.")
    return most


def _not_finite(name: str) -> InputError:
    return InputError("DOSE_NOT_FINITE", f"The {name} dose holds values that are not finite numbers.")


def _uncertainty(sigma_gy: ArrayLike, ref: _Distribution) -> FloatArray:
    """One standard deviation by reference point, float64 [n]."""
    sigma = np.asarray(sigma_gy, dtype=np.float64)
    if sigma.size != ref.values.size or not np.all(np.isfinite(sigma)):
        raise InputError("GAMMA_OPTION", "The uncertainty must be one finite number for each reference point.")
    return ref.rising(sigma.reshape(ref.values.shape)).ravel()


def _dose_criterion(
    doses: FloatArray, points: NDArray[np.int64], criteria: Sequence[Criterion], normalisation: float, local: bool
) -> FloatArray:
    """Dose criterion of each point, float64 [criteria, n], Gy."""
    criterion = np.empty((len(criteria), len(points)))
    for row, c in zip(criterion, criteria, strict=True):
        row[:] = c.dose_percent / 100.0 * (doses[points] if local else normalisation)
    return criterion


@dataclass(frozen=True, eq=False)
class _Distribution:
    """Doses on rising axes, filled up to three dimensions in front.

    Parameters
    ----------
    axes : three of float64 [n]
        mm, rising.
    values : float64 [nz, ny, nx]
    shape : tuple of int
        As it was given.
    falling : tuple of int
        Axes of ``values`` that fell as they were given.
    """

    axes: tuple[FloatArray, ...]
    values: FloatArray
    shape: tuple[int, ...]
    falling: tuple[int, ...]

    @classmethod
    def of(
        cls, axes_mm: ArrayLike | Sequence[ArrayLike], dose: ArrayLike, name: str, like: _Distribution | None = None
    ) -> _Distribution:
        """Check what was given; a distribution on the nodes of ``like`` shares its axes."""
        values = np.ascontiguousarray(dose, dtype=np.float64)
        axes = _axes(axes_mm, values.ndim)
        if values.ndim > 3 or tuple(map(len, axes)) != values.shape or not values.size:
            raise InputError(
                "GAMMA_AXES",
                f"The {name} dose of shape {values.shape} does not fit axes of {[len(a) for a in axes]} positions; "
                "one to three dimensions are possible.",
            )
        front = 3 - values.ndim
        padded = values.reshape((1,) * front + values.shape)
        falling = tuple(front + n for n, axis in enumerate(axes) if axis[0] > axis[-1])
        if falling:
            axes = tuple(axis[::-1].copy() if front + n in falling else axis for n, axis in enumerate(axes))
            padded = np.ascontiguousarray(np.flip(padded, falling))
        if like is not None and values.shape == like.shape and _same(axes, like.axes[front:]):
            return cls(like.axes, padded, values.shape, falling)
        if not all(_checked(axis.tobytes()).rises for axis in axes):
            raise InputError("GAMMA_AXES", f"Positions along each axis of the {name} dose must rise or fall.")
        return cls((np.zeros(1),) * front + axes, padded, values.shape, falling)

    @property
    def dimensions(self) -> int:
        return len(self.shape)

    @property
    def searched(self) -> tuple[bool, bool, bool]:
        """Along which axes (z, y, x) there is more than one position."""
        z, y, x = (len(a) > 1 for a in self.axes)
        return z, y, x

    @property
    def per_cell(self) -> FloatArray:
        """Nodes per mm where an axis is regular, 0 where it is not, float64 [3]."""
        return np.array([_checked(a.tobytes()).per_cell for a in self.axes])

    def refuse_not_finite(self, name: str) -> None:
        """Raise when some dose is not a finite number: the extremes tell, for they are NaN when any dose is."""
        if not (math.isfinite(self.values.max()) and math.isfinite(self.values.min())):
            raise _not_finite(name)

    def rising(self, values: FloatArray) -> FloatArray:
        """Values [z, y, x] by position as they were given, by rising position."""
        return np.ascontiguousarray(np.flip(values, self.falling)) if self.falling else values

    def as_given(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values [n] by rising position, as the dose was given."""
        if self.falling:
            values = np.ascontiguousarray(np.flip(values.reshape(self.values.shape), self.falling))
        return values.reshape(self.shape)

    def snapped_to(self, other: _Distribution) -> _Distribution:
        """The same, with a lone plane put into the other's lone plane when they differ by rounding."""
        axes = tuple(
            theirs.copy() if len(theirs) == len(mine) == 1 and abs(mine[0] - theirs[0]) <= _SAME_PLANE_MM else mine
            for mine, theirs in zip(self.axes, other.axes, strict=True)
        )
        return _Distribution(axes, self.values, self.shape, self.falling)


def _same(axes: Sequence[FloatArray], others: Sequence[FloatArray]) -> bool:
    return all(a is b or bool((a == b).all()) for a, b in zip(axes, others, strict=True))


@dataclass(frozen=True)
class _Checked:
    """What is known of an axis: whether it rises, and its nodes per mm where it is regular, 0 where it is not."""

    rises: bool
    per_cell: float


@lru_cache(maxsize=16)
def _checked(positions: bytes) -> _Checked:
    """Facts about an axis from the bytes of its float64 positions: the same axes come again and again.

    NaN does not rise, and infinity is at an end.
    """
    axis = np.frombuffer(positions)
    steps = axis[1:] - axis[:-1]
    rises = math.isfinite(axis[0]) and math.isfinite(axis[-1]) and (not len(steps) or bool(steps.min() > 0.0))
    if not (rises and len(steps)):
        return _Checked(rises, 0.0)
    step = float(axis[-1] - axis[0]) / len(steps)
    apart = axis - axis[0] - step * np.arange(len(axis))
    return _Checked(rises, 1.0 / step if max(apart.max(), -apart.min()) <= _REGULAR * step else 0.0)


def _axes(axes_mm: Any, dimensions: int) -> tuple[FloatArray, ...]:
    given = [axes_mm] if dimensions == 1 and not _nested(axes_mm) else axes_mm
    try:
        axes = [np.ascontiguousarray(a, dtype=np.float64) for a in given]
    except (TypeError, ValueError):
        axes = []
    if len(axes) != dimensions or any(a.ndim != 1 for a in axes):
        raise InputError("GAMMA_AXES", f"Give the positions along each of the {dimensions} axes of the dose, in mm.")
    return tuple(axes)


def _nested(axes_mm: Any) -> bool:
    """Whether a sequence of axes was given and not one axis."""
    return len(axes_mm) > 0 and np.ndim(axes_mm[0]) > 0
