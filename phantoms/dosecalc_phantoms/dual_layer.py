"""Beams for a machine with two stacked layers of leaves and no jaws, from beams with jaws and one layer.

The distal layer (MLCX1) keeps its own leaf positions, cut off where the jaws stood. Each leaf pair of the proximal one
(MLCX2), half a leaf beside it, opens as wide as the distal pairs that it overlaps. What both leave open is the opening
of the distal layer; across the leaves an edge in the middle of a distal leaf is made by the proximal one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dosecalc.plan import Beam, ControlPoint, MlcGeometry

FloatArray = NDArray[np.float64]

#: as far as a leaf reaches; there closed pairs meet, those of the two layers on opposite sides
LIMIT_MM = 140.0
#: overlaps and gaps below this are none
_NOTHING_MM = 1e-6


def distal() -> MlcGeometry:
    """28 leaf pairs of 10 mm along X (at the isocentre plane): MLCX1."""
    return MlcGeometry("X", np.arange(-140.0, 141.0, 10.0))


def proximal() -> MlcGeometry:
    """29 leaf pairs of 10 mm along X, half a leaf beside the others: MLCX2."""
    return MlcGeometry("X", np.arange(-145.0, 146.0, 10.0))


def as_dual_layer(beam: Beam) -> Beam:
    """The same openings made by two layers of leaves.

    Parameters
    ----------
    beam : Beam
        With jaws along X and Y, and leaves of `distal` or none.

    Returns
    -------
    Beam
        With both layers and without jaws. Edges of Y jaws that are no multiples of 5 mm move outwards to the next one.
    """
    points = tuple(_without_jaws(point) for point in beam.control_points)
    return replace(beam, mlc=distal(), second_mlc=proximal(), control_points=points)


def _without_jaws(point: ControlPoint) -> ControlPoint:
    jaw_x = point.jaw_x_mm or (-LIMIT_MM, LIMIT_MM)
    jaw_y = point.jaw_y_mm or (-LIMIT_MM, LIMIT_MM)
    first, second = distal(), proximal()
    leaves = np.tile([-LIMIT_MM, LIMIT_MM], (first.n_pairs, 1)) if point.leaves_mm is None else point.leaves_mm
    openings = np.column_stack([np.maximum(leaves[:, 0], jaw_x[0]), np.minimum(leaves[:, 1], jaw_x[1])])
    openings[~_overlap(first, *jaw_y)] = np.nan
    openings[openings[:, 1] - openings[:, 0] < _NOTHING_MM] = np.nan
    wider = np.full((second.n_pairs, 2), np.nan)
    for i in np.flatnonzero(_overlap(second, *jaw_y)):
        behind = openings[_overlap(first, second.boundaries_mm[i], second.boundaries_mm[i + 1])]
        if np.isfinite(behind).any():
            wider[i] = np.nanmin(behind[:, 0]), np.nanmax(behind[:, 1])
    return replace(
        point,
        jaw_x_mm=None,
        jaw_y_mm=None,
        leaves_mm=np.where(np.isnan(openings), -LIMIT_MM, openings),
        second_leaves_mm=np.where(np.isnan(wider), LIMIT_MM, wider),
    )


def _overlap(mlc: MlcGeometry, lower_mm: float, upper_mm: float) -> NDArray[np.bool_]:
    """Leaf pairs that lie between two places across the leaves, wholly or in part."""
    edges = mlc.boundaries_mm
    return np.asarray((edges[1:] > lower_mm + _NOTHING_MM) & (edges[:-1] < upper_mm - _NOTHING_MM))
