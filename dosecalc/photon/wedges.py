"""Wedge plates: their thickness along each ray, and the hardened fluence behind them (docs/modifiers.md, section 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import MachineError, PlanError
from dosecalc.machine.accessories import DynamicWedge, WedgePlate
from dosecalc.machine.model import Energy, Machine, spectrum_nodes
from dosecalc.photon.blocks import value_of
from dosecalc.photon.field_box import FLUENCE_CUTOFF
from dosecalc.photon.fluence import FluenceMap
from dosecalc.photon.spectral import SpectralModel
from dosecalc.photon.tables import attenuation_table
from dosecalc.plan import Beam
from dosecalc.plan.accessories import Wedge

FloatArray = NDArray[np.float64]
#: ranges of x and y at the isocentre plane, mm
Box = tuple[tuple[float, float], tuple[float, float]]
_Kind = TypeVar("_Kind", WedgePlate, DynamicWedge)

#: thickness classes are no farther apart than this, in mean free paths; the manual has the error for several steps
CLASS_STEP = 0.25
#: depth in water, g/cm2, at which the interpolation between classes is exact
_EXACT_AT_G_CM2 = 10.0
#: a field may reach this far beyond the described part of a plate: rounding of positions
_ROUNDING_MM = 0.5
#: wedge angles and orientations that differ by less are the same, degrees
_SAME_DEG = 0.5


@dataclass(frozen=True, eq=False)
class FilteredMap:
    """A fluence map with the spectrum that it has.

    Parameters
    ----------
    fluence : FluenceMap
        In front of a plate, where there is one.
    spectral : SpectralModel
        What it releases behind it; that of the open beam, the same object, where there is no plate.
    """

    fluence: FluenceMap
    spectral: SpectralModel


def find_plate(wedge: Wedge, beam: Beam, machine: Machine) -> WedgePlate:
    """The plate of the machine model that a plan's wedge is.

    Raises
    ------
    MachineError
        ``WEDGE_UNKNOWN``, ``WEDGE_AMBIGUOUS``; ``WEDGE_ORIENTATION`` when it cannot be mounted so.
    """
    fitting = [p for p in machine.accessories.wedges if p.kind == wedge.kind and _answers(p, wedge)]
    plate = the_one(fitting, wedge, beam, machine)
    turns = [abs((wedge.orientation_deg - o + 180.0) % 360.0 - 180.0) for o in plate.orientations_deg]
    if not turns or min(turns) > _SAME_DEG:
        mountable = ", ".join(f"{o:g}" for o in plate.orientations_deg)
        raise MachineError(
            "WEDGE_ORIENTATION",
            f"Beam {beam.label} turns the wedge {wedge.label} to {wedge.orientation_deg:g} degrees; {machine.name} "
            f"mounts {plate.name!r} at {mountable}.",
            beam=beam.label,
        )
    return plate


def _answers(plate: WedgePlate, wedge: Wedge) -> bool:
    return abs(plate.angle_deg - wedge.angle_deg) < _SAME_DEG and any(fnmatchcase(wedge.name, p) for p in plate.ids)


def the_one(fitting: list[_Kind], wedge: Wedge, beam: Beam, machine: Machine) -> _Kind:
    """The only wedge of a model that fits a plan's; see `find_plate` for the errors."""
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(repr(f.name) for f in fitting)
        raise MachineError(
            "WEDGE_AMBIGUOUS",
            f"Beam {beam.label}: {names} of {machine.name} all answer to the {wedge.kind.lower()} wedge {wedge.label}; "
            "make their ids distinct.",
            beam=beam.label,
        )
    raise MachineError(
        "WEDGE_UNKNOWN",
        f"Beam {beam.label} has the {wedge.kind.lower()} wedge {wedge.label}, which {machine.name} does not have for "
        "this energy; add it to the machine model, or map the beam to a model that has it.",
        beam=beam.label,
    )


def check_field(plate: WedgePlate, wedge: Wedge, beam: Beam, box: Box) -> None:
    """Refuse a field that reaches beyond the plate.

    Raises
    ------
    PlanError
        ``WEDGE_FIELD_TOO_LARGE``.
    """
    corners = np.array([(x, y) for x in box[0] for y in box[1]])
    along, across = _wedge_coordinates(wedge, corners[:, 0], corners[:, 1])
    low, high = plate.toe_position_mm[0] - _ROUNDING_MM, plate.toe_position_mm[-1] + _ROUNDING_MM
    if along.min() < low or along.max() > high or np.abs(across).max() > plate.half_width_mm + _ROUNDING_MM:
        raise PlanError(
            "WEDGE_FIELD_TOO_LARGE",
            f"Beam {beam.label} opens from {along.min():g} to {along.max():g} mm across its wedge {wedge.label} and "
            f"{np.abs(across).max():g} mm to the side; {plate.name!r} is described from {plate.toe_position_mm[0]:g} "
            f"to {plate.toe_position_mm[-1]:g} mm and {plate.half_width_mm:g} mm to the side.",
            beam=beam.label,
        )


def _wedge_coordinates(wedge: Wedge, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Positions towards the toe, and to the side."""
    toe_x, toe_y = wedge.toe_direction
    return x * toe_x + y * toe_y, x * toe_y - y * toe_x


def path_mm(plate: WedgePlate, wedge: Wedge, x_mm: FloatArray, y_mm: FloatArray, sad_mm: float) -> FloatArray:
    """Length of each ray in the plate, mm.

    Parameters
    ----------
    plate : WedgePlate
    wedge : Wedge
        For its orientation.
    x_mm, y_mm : float64, any shapes that broadcast
        Where the rays cross the isocentre plane, BLD frame. Beyond the plate's ends, where only leakage goes, its
        thickness stays that of the end.
    sad_mm : float

    Notes
    -----
    Docs/modifiers.md, eq. (2.1): the thickness along the axis over the cosine of the ray's angle with it.
    """
    along, _ = _wedge_coordinates(wedge, x_mm, y_mm)
    thickness = np.interp(along, plate.toe_position_mm, plate.thickness_mm)
    return np.asarray(thickness * np.sqrt(1 + (x_mm**2 + y_mm**2) / sad_mm**2))


def attenuation_per_mm(plate: WedgePlate, energies_mev: FloatArray) -> FloatArray:
    """Linear attenuation coefficient of a plate at some energies, 1/mm.

    Raises
    ------
    MachineError
        ``MATERIAL_UNKNOWN``, ``ENERGY_OUTSIDE_TABLE``.
    """
    if plate.attenuation is None:
        mu = attenuation_table().coefficients(plate.material, energies_mev)[0]
    else:
        table = np.array(plate.attenuation.energies_mev)
        if energies_mev.min() < table[0] or energies_mev.max() > table[-1]:
            raise MachineError(
                "ENERGY_OUTSIDE_TABLE",
                f"The attenuation of the wedge {plate.name!r} is given for {table[0]:g} to {table[-1]:g} MeV; "
                f"{energies_mev.min():g} to {energies_mev.max():g} MeV are asked for.",
            )
        logs = np.interp(np.log(energies_mev), np.log(table), np.log(plate.attenuation.mu_over_rho_cm2_g))
        mu = np.exp(logs)
    return np.asarray(mu * plate.density_g_cm3 / 10)


def behind_plate(
    fluence: FluenceMap, plate: WedgePlate, wedge: Wedge, machine: Machine, energy: Energy, spectral: SpectralModel
) -> list[FilteredMap]:
    """Fluence behind a plate as maps that each have a spectrum of their own; what they release adds up.

    The rays' thickness lies between two of a few classes. Each ray's fluence is split over both, with the shares that
    make the energy released in water at 10 cm depth exact; at other depths the error is of second order in the step
    between classes (docs/modifiers.md, section 2.3).

    Parameters
    ----------
    fluence : FluenceMap
        In front of the plate.
    plate, wedge, machine, energy
    spectral : SpectralModel
        Of the open beam.
    """
    mu = attenuation_per_mm(plate, spectrum_nodes(energy.spectrum)[0])
    path = path_mm(plate, wedge, fluence.x_mm[None, :], fluence.y_mm[:, None], machine.sad_mm)
    path = path * _softening(spectral, fluence, machine.sad_mm)
    gain = value_of(plate.output_gain, energy) or 1.0
    released = (spectral.release_kerma + spectral.release_scerma)[0] * np.exp(-_EXACT_AT_G_CM2 * spectral.mu_basis[0])
    classes = _classes(path[fluence.values > FLUENCE_CUTOFF * fluence.values.max()], mu, released)
    parts = []
    for node, share in zip(classes, _shares(path, classes, mu, released), strict=True):
        values = fluence.values * share * gain
        if values.max() > 0:
            parts.append(FilteredMap(replace(fluence, values=values), _hardened(spectral, mu * node)))
    return parts


def _softening(spectral: SpectralModel, fluence: FluenceMap, sad_mm: float) -> FloatArray:
    """Attenuation off the axis relative to that on it, as the ray tracing has it for the patient."""
    theta = np.degrees(np.arctan(np.hypot(fluence.x_mm[None, :], fluence.y_mm[:, None]) / sad_mm))
    a, b, c = spectral.softening
    return np.asarray(1 + theta * (a + theta * (b + theta * c)))


def _classes(path: FloatArray, mu: FloatArray, released: FloatArray) -> FloatArray:
    """Thicknesses, mm, from the thinnest to the thickest ray, no farther apart than the step."""
    low, high = float(path.min()), float(path.max())
    mean = float((released * mu).sum() / released.sum())
    n = int(np.ceil((high - low) * mean / CLASS_STEP - 1e-9)) + 1
    return np.linspace(low, high, n) if n > 1 else np.array([low])


def _shares(path: FloatArray, classes: FloatArray, mu: FloatArray, released: FloatArray) -> list[FloatArray]:
    """Share of each ray's fluence that goes to each class; they add up to 1, at most two are not 0."""
    if len(classes) == 1:
        return [np.ones_like(path)]
    inside = np.clip(path, classes[0], classes[-1])
    fine = np.linspace(classes[0], classes[-1], 64 * (len(classes) - 1) + 1)
    let_through = (released[:, None] * np.exp(-mu[:, None] * fine)).sum(0)
    # the logarithm is nearly straight, so interpolating it between 64 points per class adds nothing
    at_ray = np.exp(np.interp(inside, fine, np.log(let_through)))
    at_class = let_through[::64]
    shares = []
    for k in range(len(classes)):
        weight = np.zeros_like(path)
        if k > 0:
            here = (inside > classes[k - 1]) & (inside <= classes[k])
            weight[here] = ((at_class[k - 1] - at_ray) / (at_class[k - 1] - at_class[k]))[here]
        if k < len(classes) - 1:
            here = (inside > classes[k]) & (inside < classes[k + 1])
            weight[here] = ((at_ray - at_class[k + 1]) / (at_class[k] - at_class[k + 1]))[here]
        if k == 0:
            weight[inside <= classes[0]] = 1.0
        shares.append(np.clip(weight, 0.0, 1.0))
    return shares


def _hardened(spectral: SpectralModel, mean_free_paths: FloatArray) -> SpectralModel:
    survive = np.exp(-mean_free_paths)
    return replace(
        spectral, release_kerma=spectral.release_kerma * survive, release_scerma=spectral.release_scerma * survive
    )
