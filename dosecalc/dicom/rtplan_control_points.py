"""Control points of an RT Plan beam, made complete: DICOM gives an attribute once and then only when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.rtplan_context import within
from dosecalc.dicom.rtplan_devices import Aperture, Devices, check_complete, read_aperture
from dosecalc.plan import ControlPoint

#: the last cumulative weight may differ from the final one by rounding, relative
_WEIGHT_ROUNDING = 1e-4
#: a source farther than this from the isocentre, or an isocentre farther from the origin, is damage
_FARTHEST_MM = 1e5
_DIRECTIONS = {"CW": "CW", "CC": "CC", "CCW": "CC", "NONE": "NONE"}


@dataclass(frozen=True, eq=False)
class _State:
    """What carries over from one control point to the next."""

    angles: dict[str, float]
    directions: dict[str, str]
    isocentre: tuple[float, float, float]
    aperture: Aperture
    ssd_mm: float | None


_ROTATIONS = {
    "GantryAngle": "GantryRotationDirection",
    "BeamLimitingDeviceAngle": "BeamLimitingDeviceRotationDirection",
    "PatientSupportAngle": "PatientSupportRotationDirection",
}


def read_control_points(
    beam: Dataset, items: Sequence[Dataset], devices: Devices, wedges_in: Sequence[frozenset[int]], file: str
) -> tuple[ControlPoint, ...]:
    """All control points of one item of the Beam Sequence.

    Parameters
    ----------
    beam : Dataset
        The beam, for its final meterset weight.
    items : sequence of Dataset
        Its control points.
    devices : Devices
    wedges_in : sequence of (frozenset of int)
        For each item the wedges that are in the beam from there on.
    file : str
        Name of the file, for messages.

    Raises
    ------
    RtPlanError
        ``CONTROL_POINTS_MISSING``, ``CONTROL_POINT_COUNT``, ``CONTROL_POINT_ORDER``, ``METERSET_DECREASES``,
        ``METERSET_FINAL``, ``ISOCENTRE_MISSING``, or what the positions or `values` have wrong; with the control point.
    """
    _check_count(beam, items, file)
    fractions = _meterset_fractions(beam, items, file)
    points: list[ControlPoint] = []
    state: _State | None = None
    for i, item in enumerate(items):
        with within(control_point=i):
            state = _next_state(item, devices, state, file)
        points.append(
            ControlPoint(
                index=i,
                meterset_fraction=float(fractions[i]),
                gantry_deg=state.angles["GantryAngle"],
                collimator_deg=state.angles["BeamLimitingDeviceAngle"],
                couch_deg=state.angles["PatientSupportAngle"],
                gantry_direction=state.directions["GantryAngle"],
                isocentre_patient_mm=state.isocentre,
                jaw_x_mm=state.aperture.jaw_x_mm,
                jaw_y_mm=state.aperture.jaw_y_mm,
                leaves_mm=state.aperture.layer(0),
                ssd_mm=state.ssd_mm,
                collimator_direction=state.directions["BeamLimitingDeviceAngle"],
                couch_direction=state.directions["PatientSupportAngle"],
                wedges_in=wedges_in[i],
                second_leaves_mm=state.aperture.layer(1),
            )
        )
    if values.text(beam, "BeamType", file, "", error=RtPlanError).upper() == "STATIC":
        points = _without_idle_directions(points)
    return tuple(points)


def _check_count(beam: Dataset, items: Sequence[Dataset], file: str) -> None:
    if len(items) < 2:
        raise RtPlanError(
            "CONTROL_POINTS_MISSING",
            f"A beam needs two control points or more, this one has {len(items)}; export the plan again.",
            file=file,
            tag=values.tag_name("ControlPointSequence"),
        )
    stated = values.integer(beam, "NumberOfControlPoints", file, len(items), error=RtPlanError)
    if stated != len(items):
        raise RtPlanError(
            "CONTROL_POINT_COUNT",
            f"The beam says that it has {stated} control points, but {len(items)} are there; export the plan again.",
            file=file,
            tag=values.tag_name("NumberOfControlPoints"),
        )
    for i, item in enumerate(items):
        with within(control_point=i):
            index = values.integer(item, "ControlPointIndex", file, i, error=RtPlanError)
            if index != i:
                raise RtPlanError(
                    "CONTROL_POINT_ORDER",
                    f"Control point {index} stands where {i} is expected; they must be in order, from 0.",
                    file=file,
                    tag=values.tag_name("ControlPointIndex"),
                )


def _meterset_fractions(beam: Dataset, items: Sequence[Dataset], file: str) -> NDArray[np.float64]:
    weights = np.zeros(len(items))
    for i, item in enumerate(items):
        with within(control_point=i):
            weights[i] = values.number(item, "CumulativeMetersetWeight", file, minimum=0.0, error=RtPlanError)
    final = values.number(beam, "FinalCumulativeMetersetWeight", file, float(weights[-1]), error=RtPlanError)
    tag = values.tag_name("CumulativeMetersetWeight")
    if not final > 0:
        raise RtPlanError("METERSET_FINAL", "The final cumulative meterset weight is not above 0.", file=file, tag=tag)
    fractions: NDArray[np.float64] = weights / final
    if abs(fractions[-1] - 1) > _WEIGHT_ROUNDING or abs(fractions[0]) > _WEIGHT_ROUNDING:
        raise RtPlanError(
            "METERSET_FINAL",
            f"The cumulative meterset runs from {weights[0]:g} to {weights[-1]:g}, not from 0 to the final {final:g}: "
            "part of the beam's meterset would not be given.",
            file=file,
            tag=tag,
        )
    drops = np.diff(fractions) < -1e-6  # a millionth of the beam is rounding
    if drops.any():
        at = int(np.argmax(drops)) + 1
        raise RtPlanError(
            "METERSET_DECREASES",
            f"The cumulative meterset falls from {weights[at - 1]:g} to {weights[at]:g}.",
            file=file,
            tag=tag,
            control_point=at,
        )
    fractions[0] = 0.0
    rising = np.maximum.accumulate(fractions)
    return np.asarray(rising / rising[-1], dtype=np.float64)


def _next_state(item: Dataset, devices: Devices, before: _State | None, file: str) -> _State:
    angles: dict[str, float] = {}
    directions: dict[str, str] = {}
    for angle, direction in _ROTATIONS.items():
        angles[angle] = _angle(item, angle, before, file)
        directions[angle] = _direction(item, angle, direction, before, file)
    aperture = read_aperture(item, devices, before.aperture if before else Aperture(), file)
    if before is None:
        check_complete(aperture, devices, file)
    ssd = values.number(item, "SourceToSurfaceDistance", file, None, minimum=0.0, error=RtPlanError)
    if not ssd and before is not None and before.angles == angles:
        ssd = before.ssd_mm  # where the beam has turned, an SSD that is not repeated is not known
    return _State(angles, directions, _isocentre(item, before, file), aperture, ssd or None)


def _angle(item: Dataset, keyword: str, before: _State | None, file: str) -> float:
    if before is None:
        return values.number(item, keyword, file, minimum=-360.0, maximum=360.0, error=RtPlanError)
    inherited = before.angles[keyword]
    return values.number(item, keyword, file, inherited, minimum=-360.0, maximum=360.0, error=RtPlanError)


def _direction(item: Dataset, angle: str, keyword: str, before: _State | None, file: str) -> str:
    inherited = before.directions[angle] if before is not None else "NONE"
    given = values.text(item, keyword, file, inherited, error=RtPlanError).upper()
    if given not in _DIRECTIONS:
        raise values.invalid(keyword, file, "is none of CW, CC, NONE", RtPlanError)
    return _DIRECTIONS[given]


def _isocentre(item: Dataset, before: _State | None, file: str) -> tuple[float, float, float]:
    given = values.numbers(
        item, "IsocenterPosition", file, None, count=3, minimum=-_FARTHEST_MM, maximum=_FARTHEST_MM, error=RtPlanError
    )
    if given is not None:
        return float(given[0]), float(given[1]), float(given[2])
    if before is not None:
        return before.isocentre
    raise RtPlanError(
        "ISOCENTRE_MISSING",
        "The first control point has no isocentre, so the beam has no place in the patient; export it with the plan.",
        file=file,
        tag=values.tag_name("IsocenterPosition"),
    )


def _without_idle_directions(points: list[ControlPoint]) -> list[ControlPoint]:
    """A static beam that keeps an angle makes no full turn about it, whatever direction it gives.

    (In a dynamic beam the same angle again with a direction is a full turn, DICOM PS3.3 C.8.8.14.8.)
    """
    if len({p.gantry_deg for p in points}) == 1:
        points = [replace(p, gantry_direction="NONE") for p in points]
    if len({p.collimator_deg for p in points}) == 1:
        points = [replace(p, collimator_direction="NONE") for p in points]
    if len({p.couch_deg for p in points}) == 1:
        points = [replace(p, couch_direction="NONE") for p in points]
    return points
