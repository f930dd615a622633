"""Fitting a machine model to measurements by weighted least squares with the dose engine as the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dosecalc.commissioning.aperture import leaves_make_edges
from dosecalc.commissioning.calibration import photons_per_mu
from dosecalc.commissioning.curves import Curve, FloatArray, Setup
from dosecalc.commissioning.forward import FINE, Resolution, Samplers, WaterTank, sample
from dosecalc.commissioning.parameters import Model, Parameter, applied, choose
from dosecalc.commissioning.prepare import Prepared, Uncertainty, prepare
from dosecalc.commissioning.shape import field_edges
from dosecalc.commissioning.solve import minimise
from dosecalc.errors import Cancelled, InputError
from dosecalc.machine.model import Energy, Machine

_MOST_STEPS = 10
#: profiles are moved along themselves in so many steps, by no more than the water around them allows
_ALIGNMENTS, _FARTHEST_MM = 2, 8.0
#: their slopes are differences over this distance on each side, less than a voxel
_DIFFERENCE_MM = 0.5


@dataclass(frozen=True)
class FitSettings:
    """How a fit is made.

    Parameters
    ----------
    uncertainty : Uncertainty
        Of the measurements.
    resolution : Resolution
        Voxels of the engines.
    most_steps : int
    threads : int
        CPU threads, 0 for all.
    engine : 'collapsed_cone' or 'pencil_beam'
        Whose doses are brought to the measurements. The calibration is the collapsed cone's in either case.
    """

    uncertainty: Uncertainty = field(default_factory=Uncertainty)
    resolution: Resolution = FINE
    most_steps: int = _MOST_STEPS
    threads: int = 0
    engine: str = "collapsed_cone"


@dataclass(frozen=True, eq=False)
class FittedParameter:
    """What a parameter came to.

    Parameters
    ----------
    parameter : Parameter
    value, standard_error : float
    from_data : float
        Share of the knowledge that the measurements gave: 1 - variance / prior variance. Near 0 the value is the
        starting model's.
    at_bound : bool
        The fit ended at the edge of what is allowed.
    """

    parameter: Parameter
    value: float
    standard_error: float
    from_data: float
    at_bound: bool


@dataclass(frozen=True, eq=False)
class CurveResult:
    """A curve beside the model before and after.

    Parameters
    ----------
    prepared : Prepared
    before, after : float64 [n]
        Engine's dose at the curve's points in the curve's unit: each scaled once for the whole curve, by the least
        squares over the fitted points.
    width_mm : (float, float) or None
        Of a profile: measured, and of the fitted model.
    """

    prepared: Prepared
    before: FloatArray
    after: FloatArray
    width_mm: tuple[float, float] | None

    @property
    def curve(self) -> Curve:
        """The measurement, profiles centred."""
        return self.prepared.curve


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted model, and how well it fits.

    Parameters
    ----------
    start, fitted : Model
    parameters : tuple of FittedParameter
    correlation : float64 [p, p]
    curves : tuple of CurveResult
    reduced_chi_square : (float, float)
        Of the fitted points, before and after.
    points : int
        Fitted points.
    steps : int
        Evaluations of all curves.
    arrived : bool
        Whether the fit ended because nothing changed any more.
    """

    start: Model
    fitted: Model
    parameters: tuple[FittedParameter, ...]
    correlation: FloatArray
    curves: tuple[CurveResult, ...]
    reduced_chi_square: tuple[float, float]
    points: int
    steps: int
    arrived: bool


def fit_machine(
    machine: Machine,
    energy: Energy,
    curves: Sequence[Curve],
    settings: FitSettings = FitSettings(),
    progress: Callable[[float, str], None] = lambda _fraction, _step: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Fit one beam quality of a machine to curves that `checks.check` let pass.

    Minimises the sum over curves and points of ((k m_i(p) - d_i) / sigma_i)^2 plus the sum of ((p_j - start_j) /
    prior_j)^2, where m_i is the dose of the collapsed cone and k, one for each curve, is the scale that makes its own
    sum least (measurements are relative). Derivatives are differences of the pencil beam's doses, which has the same
    beam model and is many times as fast.

    Raises
    ------
    InputError
        ``FIT_NOTHING`` when the measurements inform no parameter.
    Cancelled
    """
    fit = _Fit(Model(machine, machine.energies.index(energy)), curves, settings, progress, cancelled)
    if not fit.parameters:
        raise InputError(
            "FIT_NOTHING", "The measurements inform no parameter of the model; give a depth dose or a profile."
        )
    return fit.run()


class _Fit:
    def __init__(
        self,
        model: Model,
        curves: Sequence[Curve],
        settings: FitSettings,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self.start = model
        self.settings = settings
        self.prepared = tuple(prepare(c, settings.uncertainty) for c in curves)
        self.parameters = choose(model, curves)
        modelled = [p.curve.select(_reachable(p)) for p in self.prepared]
        self._tank = WaterTank(modelled, settings.resolution, settings.threads, settings.engine)
        self._thin_tank = WaterTank(
            [p.curve.select(p.chosen) for p in self.prepared], settings.resolution, settings.threads, "pencil_beam"
        )
        self._progress, self._cancelled = progress, cancelled
        self._evaluations = 0
        self._known: dict[bytes, Samplers] = {}

    def run(self) -> FitResult:
        before = self._at_start()
        first = self._residuals(before)
        n = len(self.parameters)
        solution = minimise(self._fun, self._jac, np.zeros(n), self._scaled_bounds(), self.settings.most_steps)
        fitted = self._model(solution.x)
        after = self._evaluated(solution.x)
        last = self._residuals(after)
        covariance, points = self._covariance(solution.jacobian[: len(last)], last), len(last)
        machine = self._calibrated(fitted)
        freedom = max(points - n, 1)
        return FitResult(
            start=self.start,
            fitted=machine,
            parameters=self._fitted(solution.x, covariance),
            correlation=covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))),
            curves=tuple(self._curve_result(i, before, after) for i in range(len(self.prepared))),
            reduced_chi_square=(float(first @ first) / freedom, float(last @ last) / freedom),
            points=points,
            steps=self._evaluations,
            arrived=solution.arrived,
        )

    def _scaled_bounds(self) -> tuple[FloatArray, FloatArray]:
        scaled = np.array([[(b - p.start) / p.prior for b in p.bounds] for p in self.parameters])
        return scaled[:, 0], scaled[:, 1]

    def _model(self, x: FloatArray) -> Model:
        values = [p.start + p.prior * float(v) for p, v in zip(self.parameters, x, strict=True)]
        return applied(self.start, self.parameters, values)

    def _samplers(
        self, tank: WaterTank, model: Model, step: str, wanted: Callable[[Setup], bool] = lambda _: True
    ) -> Samplers:
        def told(share: float) -> None:
            if self._cancelled():
                raise Cancelled()
            self._progress(share, step)

        told(0.0)
        return tank.samplers(model.machine, model.energy, wanted, told)

    def _at_start(self) -> Samplers:
        """Doses of the starting model, which is mostly where the fit begins."""
        if all(p.before == p.start for p in self.parameters):
            return self._evaluated(np.zeros(len(self.parameters)))
        return self._samplers(self._tank, self.start, "the starting model")

    def _evaluated(self, x: FloatArray) -> Samplers:
        """Doses at a place, remembered: the solver and the report come back to some."""
        key = x.tobytes()
        if key not in self._known:
            self._evaluations += 1
            self._known[key] = self._samplers(self._tank, self._model(x), f"step {self._evaluations}")
        return self._known[key]

    def _fun(self, x: FloatArray) -> FloatArray:
        return np.concatenate([self._residuals(self._evaluated(x)), x])

    def _jac(self, x: FloatArray) -> FloatArray:
        """Differences of the residuals of the pencil beam, parameter by parameter; the prior's below."""
        base = self._samplers(self._thin_tank, self._model(x), "derivatives")
        reference = self._residuals(base)
        columns = []
        _, upper = self._scaled_bounds()
        for j, parameter in enumerate(self.parameters):
            step = -parameter.step if x[j] + parameter.step > upper[j] else parameter.step
            moved = x.copy()
            moved[j] += step
            words = f"derivatives, {parameter.meaning}"
            changed = self._samplers(self._thin_tank, self._model(moved), words, parameter.touches)
            columns.append((self._residuals({**base, **changed}) - reference) / step)
        return np.vstack([np.column_stack(columns), np.eye(len(x))])

    def _residuals(self, samplers: Samplers) -> FloatArray:
        """(k m - d) / sigma of the fitted points of all curves."""
        out = []
        for i, prepared in enumerate(self.prepared):
            curve = prepared.curve.select(prepared.chosen)
            sigma = prepared.sigma[prepared.chosen]
            model = _aligned(self.start.machine, curve, sigma, i, samplers)
            out.append((_scale(model, curve.value, sigma) * model - curve.value) / sigma)
        return np.concatenate(out)

    def _covariance(self, jacobian: FloatArray, residuals: FloatArray) -> FloatArray:
        """Of the scaled parameters: (J^T J / s^2 + 1)^-1, s^2 the reduced chi-square where it is above 1."""
        n = len(self.parameters)
        inflation = max(1.0, float(residuals @ residuals) / max(len(residuals) - n, 1))
        return np.asarray(np.linalg.inv(jacobian.T @ jacobian / inflation + np.eye(n)))

    def _fitted(self, x: FloatArray, covariance: FloatArray) -> tuple[FittedParameter, ...]:
        lower, upper = self._scaled_bounds()
        return tuple(
            FittedParameter(
                p,
                p.start + p.prior * float(x[j]),
                p.prior * float(np.sqrt(covariance[j, j])),
                float(1 - covariance[j, j]),
                bool(min(x[j] - lower[j], upper[j] - x[j]) < 1e-3),
            )
            for j, p in enumerate(self.parameters)
        )

    def _calibrated(self, model: Model) -> Model:
        fluence = photons_per_mu(model.machine, model.energy, self.settings.resolution, self.settings.threads)
        return model.with_energy(
            calibration=model.energy.calibration.model_copy(update={"photons_per_mu_cm2": fluence})
        )

    def _curve_result(self, i: int, before: Samplers, after: Samplers) -> CurveResult:
        prepared = self.prepared[i]
        reachable = _reachable(prepared)
        shown = replace(
            prepared,
            curve=prepared.curve.select(reachable),
            chosen=prepared.chosen[reachable],
            sigma=prepared.sigma[reachable],
        )
        curve, chosen = shown.curve, shown.chosen
        doses = []
        for samplers in (before, after):
            model = sample(curve, i, samplers, curve.points_mm)
            doses.append(model * _scale(model[chosen], curve.value[chosen], shown.sigma[chosen]))
        width = None
        if curve.kind == "profile":
            edges = [field_edges(c) for c in (prepared.curve, replace(curve, value=doses[1]))]
            if edges[0] is not None and edges[1] is not None:
                width = (edges[0].width_mm, edges[1].width_mm)
        return CurveResult(shown, doses[0], doses[1], width)


def _reachable(prepared: Prepared) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Points inside the phantoms that are computed: those that may be fitted, thinned or not, and the build-up."""
    curve = prepared.curve
    inside = curve.points_mm[:, 2] <= float(curve.points_mm[prepared.chosen, 2].max())
    if curve.kind == "profile":
        reach = np.abs(curve.abscissa[prepared.chosen])
        inside &= np.abs(curve.abscissa) <= reach.max()
    if len(curve.setups) > 1:
        inside &= prepared.chosen  # every further point would be a phantom of its own
    return np.asarray(inside)


def _aligned(machine: Machine, curve: Curve, sigma: FloatArray, i: int, samplers: Samplers) -> FloatArray:
    """The model at a curve's points; of a profile where it fits best along the scan.

    A tank is centred by hand, and jaws have no offset in the model: a jaw that stands a millimetre off would otherwise
    be fitted as a focal spot or as off-axis fluence. Profiles are therefore moved, and stretched where jaws make the
    field, by least squares together with their scale. The difference of the widths is reported by itself.
    """
    model = sample(curve, i, samplers, curve.points_mm)
    if curve.kind != "profile":
        return model
    along = 0 if curve.axis == "x" else 1
    x, points = curve.abscissa, curve.points_mm.copy()
    stretches = not leaves_make_edges(machine, curve.setups[0], curve.axis or "")
    half = float(np.abs(x).max())
    for _ in range(_ALIGNMENTS):
        slope = (
            _moved(curve, i, samplers, points, _DIFFERENCE_MM) - _moved(curve, i, samplers, points, -_DIFFERENCE_MM)
        ) / (2 * _DIFFERENCE_MM)
        columns = [model, slope, slope * x / half][: 3 if stretches else 2]
        scale, *by = np.linalg.lstsq(np.column_stack(columns) / sigma[:, None], curve.value / sigma, rcond=None)[0]
        step = np.clip(np.array(by) / scale, -_FARTHEST_MM, _FARTHEST_MM)
        points[:, along] += step[0] + (step[1] * x / half if stretches else 0.0)
        off = np.clip(points[:, along] - x, -_FARTHEST_MM, _FARTHEST_MM)
        points[:, along] = x + off
        model = sample(curve, i, samplers, points)
    return model


def _moved(curve: Curve, i: int, samplers: Samplers, points_mm: FloatArray, by_mm: float) -> FloatArray:
    moved = points_mm.copy()
    moved[:, 0 if curve.axis == "x" else 1] += by_mm
    return sample(curve, i, samplers, moved)


def _scale(model: FloatArray, value: FloatArray, sigma: FloatArray) -> float:
    """The scale of a model that comes nearest to a curve."""
    return float((model * value / sigma**2).sum() / (model**2 / sigma**2).sum())
