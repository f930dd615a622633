"""What is measured of a case: depth dose, build-up, profiles, output, gamma."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from dosecalc.validation.montecarlo import MonteCarloCase

FloatArray = NDArray[np.float64]

#: thinner than this is air, which is not judged
AIR_BELOW_G_CM3 = 0.05
#: half the side of the square over which doses on the axis are averaged
_AXIS_HALF_CM = 0.5
#: outside begins this far beyond the geometric edge
_OUTSIDE_CM = 0.5
#: gamma criteria: percent of the maximum, mm
GAMMAS = ((2.0, 2.0), (1.0, 1.0))


@dataclass(frozen=True)
class Profile:
    """A profile at one depth.

    Parameters
    ----------
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measure(case: MonteCarloCase, dose: FloatArray, depths_cm: tuple[float, ...] = (1.5, 5, 10, 20)) -> CaseMeasures:
    """Hold a dose against a case.

    Parameters
    ----------
    case : MonteCarloCase
    dose : float64 [z, y, x]
        Gy cm2 on the case's voxels.
    depths_cm : tuple of float
        Depths of the profiles.
    """
    axis = depth_dose(case, dose)
    beyond = axis.where(axis.position_cm >= depth_of_maximum_cm(axis))
    output = _at_depth(axis, 10.0)
    centres = (case.centres_cm("z") * 10, case.centres_cm("y") * 10, case.centres_cm("x") * 10)
    matter = case.density >= AIR_BELOW_G_CM3
    rates = {
        f"{percent:g}%/{mm:g}mm": gamma_pass_rate(centres, case.dose, dose, case.sigma, matter, percent, mm)
        for percent, mm in GAMMAS
    }
    return CaseMeasures(
        case.name,
        case.header.description,
        differences(beyond, beyond.reference),
        build_up(axis),
        tuple(_profile(case, dose, depth) for depth in depths_cm if case.layered and depth < case.z_edges_cm[-1]),
        output[0],
        output[1],
        rates,
    )


def depth_dose(case: MonteCarloCase, dose: FloatArray) -> CurvePair:
    """Dose along the axis, mean over a square centimetre (less in small fields); without voxels of air."""
    x = _about_axis(case.centres_cm("x"), min(_AXIS_HALF_CM, 0.2 * case.field_cm[0]))
    y = _about_axis(case.centres_cm("y"), min(_AXIS_HALF_CM, 0.2 * case.field_cm[1]))
    reference, sigma, density = (v[:, y][:, :, x] for v in (case.dose, case.sigma, case.density))
    pair = CurvePair(
        case.centres_cm("z"),
        reference.mean((1, 2)),
        dose[:, y][:, :, x].mean((1, 2)),
        np.array([_sigma_of_mean(d, s) for d, s in zip(reference, sigma, strict=True)]),
    )
    return pair.where(density.min(axis=(1, 2)) >= AIR_BELOW_G_CM3)


def profile(case: MonteCarloCase, dose: FloatArray, depth_cm: float) -> CurvePair:
    """Dose along x at a depth, mean over a centimetre (less in small fields) of y."""
    iz = int(np.argmin(np.abs(case.centres_cm("z") - depth_cm)))
    y = _about_axis(case.centres_cm("y"), min(_AXIS_HALF_CM, 0.2 * case.field_cm[1]))
    reference, sigma = case.dose[iz][y], case.sigma[iz][y]
    return CurvePair(
        case.centres_cm("x"),
        reference.mean(0),
        dose[iz][y].mean(0),
        np.array([_sigma_of_mean(d, s) for d, s in zip(reference.T, sigma.T, strict=True)]),
    )


def _profile(case: MonteCarloCase, dose: FloatArray, depth_cm: float) -> Profile:
    pair = profile(case, dose, depth_cm)
    edge = case.field_cm[0] / 2 * (1 + depth_cm / case.ssd_cm)
    distance = np.abs(pair.position_cm)
    central = float(np.interp(0.0, pair.position_cm, pair.reference))
    inside, outside = pair.where(distance <= 0.8 * edge), pair.where(distance >= edge + _OUTSIDE_CM)
    return Profile(
        depth_cm,
        differences(inside, inside.reference),
        differences(outside, central),
        penumbra_mm(pair.position_cm, pair.evaluated),
        penumbra_mm(pair.position_cm, pair.reference),
        half_width_mm(pair.position_cm, pair.evaluated) - half_width_mm(pair.position_cm, pair.reference),
    )


def _about_axis(centres: FloatArray, half: float) -> NDArray[np.intp]:
    """Voxels within ``half`` of the axis; at least the ones nearest to it."""
    reach = max(half, float(np.abs(centres).min()) + 1e-6)
    return np.flatnonzero(np.abs(centres) <= reach)


def _at_depth(axis: CurvePair, depth_cm: float) -> tuple[float, float]:
    near = axis.where(np.abs(axis.position_cm - depth_cm) <= 0.5)
    difference = 100 * (near.evaluated.mean() / near.reference.mean() - 1)
    # noise is correlated along depth: the mean over depths is taken to be no better than one of them
    return float(difference), float(100 * near.sigma.mean() / near.reference.mean())


def _sigma_of_mean(dose: FloatArray, sigma: FloatArray) -> float:
    """Standard deviation of a mean over voxels, some of which are mirror images that hold one and the same value."""
    _, first, count = np.unique(dose.ravel(), return_index=True, return_counts=True)
    return float(np.sqrt(np.sum((count * sigma.ravel()[first]) ** 2)) / dose.size)
