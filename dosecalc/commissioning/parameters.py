"""What is fitted: a few numbers of a machine model, each with its start, its prior and how it changes the model.

A parameter's value stands for itself where the schema has it (a width, a fraction). The spectrum and the off-axis
fluence are fitted as changes of the starting model's: photons of energy E are multiplied by exp(a t + b t^2) with
t = ln(E / E0), E0 the starting spectrum's mean energy, which keeps its bins; the off-axis fluence is multiplied by
exp(g(r)), g linear between knots and 0 on the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dosecalc.commissioning.aperture import leaves_alone_beside, leaves_make_edges
from dosecalc.commissioning.curves import Curve, Setup
from dosecalc.machine.model import ContaminationElectrons, Energy, Machine, Spectrum

#: knots of the off-axis fluence, mm at the isocentre; those beyond the largest profile are not fitted
_KNOTS_MM = (30.0, 60.0, 100.0, 140.0, 180.0, 230.0)
#: the last knot stands at the edge of the largest field, no nearer than this to the one before
_KNOT_ROOM_MM = 15.0
#: profiles of smaller fields tell nothing of the off-axis fluence
_LEAST_REACH_MM = 40.0
#: where fitting starts when the starting model has no contamination electrons: some, in the first centimetre
_ELECTRONS = {"surface_dose": 0.05, "depth_gcm2": 0.8, "sigma_mm": 40.0}
_NO_ELECTRONS_YET = "none in the starting model"


@dataclass(frozen=True)
class Model:
    """A machine with the beam quality that is fitted.

    Parameters
    ----------
    machine : Machine
    index : int
        Of the beam quality among the machine's.
    """

    machine: Machine
    index: int

    @property
    def energy(self) -> Energy:
        """The beam quality."""
        return self.machine.energies[self.index]

    def with_energy(self, **changes: object) -> Model:
        """The model with parts of its beam quality replaced."""
        energies = list(self.machine.energies)
        energies[self.index] = self.energy.model_copy(update=changes)
        return Model(self.machine.model_copy(update={"energies": tuple(energies)}), self.index)


@dataclass(frozen=True, eq=False)
class Parameter:
    """One number to fit.

    Parameters
    ----------
    key : str
        Path in the model, or what it changes there.
    meaning, unit : str
    start : float
    prior : float
        Standard deviation of what is believed before measuring, around ``start``; also the scale of the fit.
    bounds : (float, float)
    apply : callable
        (model, value) -> model.
    touches : callable
        Whether the doses of a setup depend on it at all.
    before : float or None
        Value in the starting model; None where it has none.
    step : float
        Change for the derivatives, in priors: large against the engine's single precision and pixels.
    """

    key: str
    meaning: str
    unit: str
    start: float
    prior: float
    bounds: tuple[float, float]
    apply: Callable[[Model, float], Model]
    touches: Callable[[Setup], bool]
    before: float | None
    step: float = 0.1


def choose(model: Model, curves: Sequence[Curve]) -> tuple[Parameter, ...]:
    """The parameters that the measurements say something about.

    Parameters
    ----------
    model : Model
        The starting model.
    curves : sequence of Curve
    """
    kinds = {c.kind for c in curves}
    profiles = [c for c in curves if c.kind == "profile"]
    chosen: list[Parameter] = []
    if kinds & {"depth_dose", "tpr"}:
        chosen += _spectrum(model)
    if profiles:
        chosen += _off_axis(_reach_mm(profiles))
        chosen.append(_focal_spot(model))
    if profiles or "output_factors" in kinds:
        chosen += _extra_focal(model)
    if "depth_dose" in kinds:
        chosen += _electrons(model)
    if any(leaves_make_edges(model.machine, c.setups[0], c.axis or "") for c in profiles):
        chosen.append(_leaf_tips(model))
    if any(leaves_alone_beside(model.machine, c.setups[0], c.axis or "") for c in profiles):
        chosen.append(_leaf_transmission(model))
    return tuple(chosen)


def applied(model: Model, parameters: Sequence[Parameter], values: Sequence[float]) -> Model:
    """The model with these values."""
    for parameter, value in zip(parameters, values, strict=True):
        model = parameter.apply(model, float(value))
    return model


def mean_energy_mev(spectrum: Spectrum) -> float:
    """Mean photon energy, MeV."""
    edges = np.array(spectrum.edges_mev)
    return float(np.average((edges[1:] + edges[:-1]) / 2, weights=spectrum.photons_per_bin))


def _everything(_: Setup) -> bool:
    return True


def _spectrum(model: Model) -> list[Parameter]:
    reference = mean_energy_mev(model.energy.spectrum)

    def tilt(power: int) -> Callable[[Model, float], Model]:
        def apply(m: Model, value: float) -> Model:
            s = m.energy.spectrum
            edges = np.array(s.edges_mev)
            t = np.log((edges[1:] + edges[:-1]) / 2 / reference)
            photons = np.array(s.photons_per_bin) * np.exp(value * t**power)
            photons /= photons.sum()
            return m.with_energy(spectrum=s.model_copy(update={"photons_per_bin": tuple(map(float, photons))}))

        return apply

    return [
        Parameter(
            "spectrum.exponent", "hardness of the spectrum (a)", "", 0.0, 0.3, (-1.5, 1.5), tilt(1), _everything, 0.0
        ),
        Parameter(
            "spectrum.curvature", "width of the spectrum (b)", "", 0.0, 0.15, (-0.6, 0.6), tilt(2), _everything, 0.0
        ),
    ]


def _reach_mm(profiles: Sequence[Curve]) -> float:
    """Half of the widest field along its profile, at the isocentre."""
    return max(c.setups[0].field_mm[0 if c.axis == "x" else 1] / 2 for c in profiles)


def _off_axis(reach_mm: float) -> list[Parameter]:
    if reach_mm < _LEAST_REACH_MM:
        return []
    knots = [k for k in _KNOTS_MM if k < reach_mm - _KNOT_ROOM_MM] + [reach_mm]
    return [_knot(knots, i) for i in range(len(knots))]


def _knot(knots: list[float], i: int) -> Parameter:
    nodes = [0.0, *knots]
    unit = [0.0] * len(nodes)
    unit[i + 1] = 1.0

    def apply(m: Model, value: float) -> Model:
        o = m.energy.off_axis
        radius = np.unique([*o.radius_mm, *knots])
        fluence = np.interp(radius, o.radius_mm, o.relative_fluence) * np.exp(value * np.interp(radius, nodes, unit))
        return m.with_energy(
            off_axis=o.model_copy(
                update={"radius_mm": tuple(map(float, radius)), "relative_fluence": tuple(map(float, fluence))}
            ),
        )

    def touches(setup: Setup) -> bool:
        return float(np.hypot(*setup.field_mm)) / 2 > nodes[i]

    meaning = f"change of the off-axis fluence at {knots[i]:g} mm"
    return Parameter(f"off_axis[{knots[i]:g} mm]", meaning, "", 0.0, 0.1, (-1.0, 1.0), apply, touches, 0.0)


def _focal_spot(model: Model) -> Parameter:
    def apply(m: Model, value: float) -> Model:
        return m.with_energy(primary_source=m.energy.primary_source.model_copy(update={"sigma_mm": value}))

    start = model.energy.primary_source.sigma_mm
    # below a third of a millimetre the fluence map's pixels no longer tell one spot from another
    return Parameter(
        "primary_source.sigma_mm", "focal spot", "mm", max(start, 0.35), 0.4, (0.3, 3.0), apply, _everything, start
    )


def _extra_focal(model: Model) -> list[Parameter]:
    source = model.energy.extra_focal
    if source is None:
        return []

    def setter(name: str) -> Callable[[Model, float], Model]:
        def apply(m: Model, value: float) -> Model:
            assert m.energy.extra_focal is not None  # it was there at the start
            return m.with_energy(extra_focal=m.energy.extra_focal.model_copy(update={name: value}))

        return apply

    return [
        Parameter(
            "extra_focal.fraction", "share of the extra-focal source", "", source.fraction, 0.03, (0.0, 0.3),
            setter("fraction"), _everything, source.fraction,
        ),
        Parameter(
            "extra_focal.sigma_mm", "width of the extra-focal source", "mm", source.sigma_mm, 6.0, (4.0, 60.0),
            setter("sigma_mm"), _everything, source.sigma_mm,
        ),
    ]  # fmt: skip


def _electrons(model: Model) -> list[Parameter]:
    present = model.energy.electrons
    initial = present or ContaminationElectrons(**_ELECTRONS, source=_NO_ELECTRONS_YET)
    if initial.surface_dose == 0:
        initial = initial.model_copy(update={"surface_dose": _ELECTRONS["surface_dose"]})

    def setter(name: str) -> Callable[[Model, float], Model]:
        def apply(m: Model, value: float) -> Model:
            return m.with_energy(electrons=(m.energy.electrons or initial).model_copy(update={name: value}))

        return apply

    priors = {"surface_dose": (0.05, (0.0, 0.6)), "depth_gcm2": (0.4, (0.2, 3.0)), "sigma_mm": (25.0, (5.0, 150.0))}
    words = {
        "surface_dose": ("contamination electrons at the surface of a wide field", ""),
        "depth_gcm2": ("depth of the contamination electrons", "g/cm2"),
        "sigma_mm": ("lateral spread of the contamination electrons", "mm"),
    }
    return [
        Parameter(
            f"electrons.{name}", words[name][0], words[name][1], getattr(initial, name), prior, bounds,
            setter(name), _everything, getattr(present, name) if present else None,
        )
        for name, (prior, bounds) in priors.items()
    ]  # fmt: skip


def _leaf_tips(model: Model) -> Parameter:
    assert model.machine.mlc is not None  # leaves make edges
    start = model.machine.mlc.tip_offset_mm

    def apply(m: Model, value: float) -> Model:
        return _with_mlc(m, tip_offset_mm=value)

    # the fluence map places leaf ends to an eighth of a pixel: smaller steps would change nothing
    return Parameter(
        "mlc.tip_offset_mm", "leaf tip offset", "mm", start, 0.5, (-3.0, 4.0), apply, _by_leaves(model), start, step=1.0
    )


def _leaf_transmission(model: Model) -> Parameter:
    mlc = model.machine.mlc
    assert mlc is not None  # leaves stand beside a field
    pairs = np.array(mlc.pair_transmission or mlc.transmission) / mlc.transmission

    def apply(m: Model, value: float) -> Model:
        each = tuple(map(float, pairs * value)) if mlc.pair_transmission else None
        return _with_mlc(m, transmission=value, pair_transmission=each)

    # interleaf leakage is a part of it: with less in all, nothing would be left for the leaves themselves, whose part
    # is a straight line over the whole
    now = mlc.body_transmission()
    doubled = apply(model, 2 * mlc.transmission).machine.mlc
    assert doubled is not None
    rise = doubled.body_transmission() - now
    least = max(1.001 * mlc.transmission * float((1 - now / rise).max()), 1e-3)
    return Parameter(
        "mlc.transmission", "transmission of the leaves, interleaf leakage included", "", mlc.transmission, 0.005,
        (least, 0.1), apply, _by_leaves(model), mlc.transmission,
    )  # fmt: skip


def _with_mlc(m: Model, **changes: object) -> Model:
    assert m.machine.mlc is not None  # only parameters of leaves ask for it
    mlc = m.machine.mlc.model_copy(update=changes)
    return Model(m.machine.model_copy(update={"mlc": mlc}), m.index)


def _by_leaves(model: Model) -> Callable[[Setup], bool]:
    """Whether leaves make any edge of a setup's field."""
    return lambda setup: any(leaves_make_edges(model.machine, setup, axis) for axis in "xy")
