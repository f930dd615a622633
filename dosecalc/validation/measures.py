"""What is measured of a case: depth dose, build-up, profiles, output, gamma."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.validation.case import AIR_BELOW_G_CM3, GAMMA_THRESHOLD_PERCENT, Axis, Case
from dosecalc.validation.curves import (
    BuildUp,
    CurvePair,
    Differences,
    build_up,
    depth_of_maximum_cm,
    differences,
    half_width_mm,
    penumbra_mm,
)
from dosecalc.validation.gamma import gamma_pass_rate

FloatArray = NDArray[np.float64]

#: outside begins this far beyond the geometric edge
_OUTSIDE_CM = 0.5
#: where the output is compared
_OUTPUT_DEPTH_CM = 10.0
#: gamma criteria: percent of the maximum, mm
GAMMAS = ((2.0, 2.0), (1.0, 1.0))


@dataclass(frozen=True)
class Profile:
    """A profile at one depth.

    Parameters
    ----------
    axis : 'x' or 'y'
        Along which it runs.
    depth_cm : float
    inside : Differences
        Local, within 80 % of the field's width, percent.
    outside : Differences
        More than 5 mm beyond the geometric edge, percent of the dose on the axis.
    penumbra_mm, penumbra_reference_mm : float
        Widths between 20 and 80 %.
    edge_shift_mm : float
        By how much the evaluated 50 % level lies further out.
    """

    axis: Axis
    depth_cm: float
    inside: Differences
    outside: Differences
    penumbra_mm: float
    penumbra_reference_mm: float
    edge_shift_mm: float


@dataclass(frozen=True)
class CaseMeasures:
    """Measures of one case.

    Parameters
    ----------
    depth_dose : Differences
        On the axis beyond the maximum, local, percent.
    build_up : BuildUp
    profiles : tuple of Profile
        Of phantoms made of layers; where density varies across the beam there is no penumbra to speak of.
    output_percent, output_sigma_percent : float
        Difference of the absolute dose on the axis around 10 cm depth, and the reference's standard deviation.
    gamma : mapping of ``2%/2mm`` to float
        Pass rates with the noise allowed for, threshold 10 %.
    """

    case: str
    description: str
    depth_dose: Differences
    build_up: BuildUp
    profiles: tuple[Profile, ...]
    output_percent: float
    output_sigma_percent: float
    gamma: dict[str, float]

    @property
    def output_counted_percent(self) -> float:
        """By how much the output differs beyond two standard deviations of the reference."""
        return float(np.maximum(abs(self.output_percent) - 2 * self.output_sigma_percent, 0.0))

    @property
    def worst_penumbra(self) -> Profile | None:
        """The profile whose penumbra differs most from the reference's."""
        known = [p for p in self.profiles if np.isfinite(p.penumbra_mm - p.penumbra_reference_mm)]
        return max(known, key=lambda p: abs(p.penumbra_mm - p.penumbra_reference_mm), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class CaseCurves:
    """Depth dose (without air) and profiles by their axis and depth in cm, reference beside evaluated."""

    depth_dose: CurvePair
    profiles: dict[tuple[Axis, float], CurvePair]


def curves(case: Case, dose: FloatArray) -> CaseCurves:
    """The lines along which a dose (float64 [z, y, x], Gy cm2, on the case's voxels) is held against a case."""
    central = case.axis_reference()
    pair = CurvePair(case.centres_cm("z"), central.dose, case.axis_mean(dose), central.sigma)
    profiles = {}
    for axis, depth in product(case.profile_axes, case.profile_depths_cm):
        line = case.profile_reference(depth, axis)
        evaluated = case.profile_mean(dose, depth, axis)
        profiles[axis, depth] = CurvePair(case.centres_cm(axis), line.dose, evaluated, line.sigma)
    return CaseCurves(pair.where(case.axis_in_matter()), profiles)


def measure(case: Case, dose: FloatArray) -> CaseMeasures:
    """Hold a dose against a case.

    Parameters
    ----------
    case : Case
    dose : float64 [z, y, x]
        Gy cm2 on the case's voxels.
    """
    lines = curves(case, dose)
    central = lines.depth_dose
    beyond = central.where(central.position_cm >= depth_of_maximum_cm(central))
    output = _at_depth(central, _OUTPUT_DEPTH_CM)
    return CaseMeasures(
        case.name,
        case.header.description,
        differences(beyond, beyond.reference),
        build_up(central),
        tuple(_profile(case, axis, depth, pair) for (axis, depth), pair in lines.profiles.items()),
        output[0],
        output[1],
        _gamma(case, dose),
    )


def _gamma(case: Case, dose: FloatArray) -> dict[str, float]:
    centres = (case.centres_cm("z") * 10, case.centres_cm("y") * 10, case.centres_cm("x") * 10)
    matter = case.density >= AIR_BELOW_G_CM3
    voxels = case.voxel_reference()
    return {
        f"{percent:g}%/{mm:g}mm": gamma_pass_rate(
            centres, voxels.dose, dose, voxels.sigma, matter, percent, mm, GAMMA_THRESHOLD_PERCENT
        )
        for percent, mm in GAMMAS
    }


def _profile(case: Case, axis: Axis, depth_cm: float, pair: CurvePair) -> Profile:
    edge = case.field_cm["xy".index(axis)] / 2 * (1 + depth_cm / case.ssd_cm)
    distance = np.abs(pair.position_cm)
    central = float(np.interp(0.0, pair.position_cm, pair.reference))
    inside, outside = pair.where(distance <= 0.8 * edge), pair.where(distance >= edge + _OUTSIDE_CM)
    return Profile(
        axis,
        depth_cm,
        differences(inside, inside.reference),
        differences(outside, central),
        penumbra_mm(pair.position_cm, pair.evaluated),
        penumbra_mm(pair.position_cm, pair.reference),
        half_width_mm(pair.position_cm, pair.evaluated) - half_width_mm(pair.position_cm, pair.reference),
    )


def _at_depth(axis: CurvePair, depth_cm: float) -> tuple[float, float]:
    near = axis.where(np.abs(axis.position_cm - depth_cm) <= 0.5)
    if not near.position_cm.size:
        return float("nan"), float("nan")  # a phantom that ends before, or air there
    difference = 100 * (near.evaluated.mean() / near.reference.mean() - 1)
    # noise is correlated along depth: the mean over depths is taken to be no better than one of them
    return float(difference), float(100 * near.sigma.mean() / near.reference.mean())
