"""W2CAD files (``.asc``), as beam-data scanning software writes them for treatment planning.

A file is ``$NUMS n``, then measurements between ``$STOM`` and ``$ENOM``: ``%KEY value`` lines and points
``<x y depth dose>``, lengths in mm. The meaning of the keys is read off exported files: ``OPD`` and ``OPP`` are open
depth doses and profiles, ``FLSZ`` the field (x*y, mm), ``DPTH`` the depth. The format does not tell the energy.
"""

from __future__ import annotations

import re

import numpy as np

from dosecalc.commissioning.curves import Curve, FloatArray, Setup, depth_points, profile_points
from dosecalc.commissioning.formats.text import number, refuse

_POINT = re.compile(r"<\s*([^\s<>]+)\s+([^\s<>]+)\s+([^\s<>]+)\s+([^\s<>]+)\s*>$")
_PHOTONS, _DEPTH_DOSE, _PROFILE = "PHO", "OPD", "OPP"
#: points of a profile that lie farther beside its line than this are no straight scan, mm
_STRAIGHT_MM = 0.5


def recognise(text: str) -> bool:
    """Whether a text is W2CAD."""
    return text.lstrip().startswith("$NUMS")


def parse(text: str, file: str) -> tuple[list[Curve], list[tuple[str, str]]]:
    """Curves of a file, and the names of those that are no open photon fields, each with why it is left out.

    Raises
    ------
    InputError
        ``MEASUREMENT_KEY``, ``MEASUREMENT_NUMBER``, ``MEASUREMENT_FORMAT``.
    """
    curves, left_out = [], []
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("$STOM")]
    declared = re.match(r"\$NUMS\s+(\d+)", text.lstrip())
    if declared is None or int(declared[1]) != len(starts):
        raise refuse(
            "MEASUREMENT_FORMAT",
            f"The first line declares {declared[1] if declared else 'no number of'} curves, the file holds "
            f"{len(starts)}: it is cut short or was edited; export it again.",
            file,
        )
    for count, start in enumerate(starts, 1):
        name = f"curve {count}"
        end = next((n for n in range(start, len(lines)) if lines[n].startswith("$ENOM")), None)
        if end is None:
            raise refuse("MEASUREMENT_FORMAT", "The curve has no end ($ENOM): the file is cut short.", file, name)
        keys, detector, points = _read(lines, start, end, file, name)
        why = _not_open_photons(keys)
        if why:
            left_out.append((name, why))
        else:
            curves.append(_curve(keys, detector, points, file, name))
    return curves, left_out


def _read(
    lines: list[str], start: int, end: int, file: str, name: str
) -> tuple[dict[str, tuple[str, int]], str, FloatArray]:
    keys: dict[str, tuple[str, int]] = {}
    detector = ""
    points = []
    for n in range(start + 1, end):
        line = lines[n].strip()
        if line.startswith("%"):
            key, _, value = line[1:].partition(" ")
            keys[key.strip()] = (value.strip(), n + 1)
        elif line.startswith("#"):
            label, _, value = line[1:].partition(":")
            detector = value.strip() if label.strip() == "Detector" else detector
        elif line.startswith("<"):
            found = _POINT.match(line)
            if found is None:
                raise refuse("MEASUREMENT_FORMAT", "A point is <x y depth dose>.", file, name, n + 1)
            points.append([number(v, "a point", file, n + 1, name) for v in found.groups()])
    if not points:
        raise refuse("MEASUREMENT_TOO_FEW_POINTS", "The curve has no points.", file, name, start + 1)
    if "PNTS" in keys and int(number(*_at(keys, "PNTS", file, name), name)) != len(points):
        raise refuse(
            "MEASUREMENT_FORMAT",
            f"PNTS declares {keys['PNTS'][0]} points, {len(points)} follow: the curve is cut short.",
            file, name, keys["PNTS"][1],
        )  # fmt: skip
    return keys, detector, np.array(points)


def _at(keys: dict[str, tuple[str, int]], key: str, file: str, name: str) -> tuple[str, str, str, int]:
    """Arguments of `number` for a key."""
    if key not in keys:
        raise refuse("MEASUREMENT_KEY", f"The curve lacks %{key}.", file, name)
    value, line = keys[key]
    return value, f"%{key}", file, line


def _not_open_photons(keys: dict[str, tuple[str, int]]) -> str:
    kind, particle = keys.get("TYPE", ("", 0))[0], keys.get("BMTY", (_PHOTONS, 0))[0]
    if particle != _PHOTONS:
        return f"its beam type is {particle}, not {_PHOTONS} (photons)"
    if kind not in (_DEPTH_DOSE, _PROFILE):
        return f"its type is {kind or 'not told'}, no open depth dose ({_DEPTH_DOSE}) or profile ({_PROFILE})"
    if kind == _PROFILE and keys.get("AXIS", ("", 0))[0] not in ("X", "Y"):
        return f"its axis is {keys.get('AXIS', ('not told', 0))[0]}, neither X nor Y"
    return ""


def _curve(keys: dict[str, tuple[str, int]], detector: str, points: FloatArray, file: str, name: str) -> Curve:
    text, _, _, line = _at(keys, "FLSZ", file, name)
    sides = [number(v, "%FLSZ", file, line, name) for v in text.split("*")]
    if len(sides) != 2 or min(sides) <= 0:
        raise refuse("MEASUREMENT_KEY", f"%FLSZ is {text!r}; it should be like 100*100 (mm).", file, name, line)
    setup = Setup(number(*_at(keys, "SSD", file, name), name), (sides[0], sides[1]))
    value = points[:, 3]
    if keys["TYPE"][0] == _DEPTH_DOSE:
        kind, axis, abscissa, where = "depth_dose", None, points[:, 2], depth_points(points[:, 2])
    else:
        kind, axis = "profile", keys["AXIS"][0].lower()
        along, across = (0, 1) if axis == "x" else (1, 0)
        depth = number(*_at(keys, "DPTH", file, name), name)
        if np.ptp(points[:, across]) > _STRAIGHT_MM or np.abs(points[:, 2] - depth).max() > _STRAIGHT_MM:
            raise refuse(
                "MEASUREMENT_FORMAT",
                f"The points leave the line along {axis} at {depth:g} mm depth that the header tells.",
                file, name,
            )  # fmt: skip
        abscissa = points[:, along]
        where = profile_points(axis, abscissa, depth, float(points[0, across]))
    return Curve(
        kind=kind,  # type: ignore[arg-type]
        energy_mv=None,
        fluence_mode="STANDARD",
        setups=(setup,),
        points_mm=where,
        abscissa=abscissa,
        value=value,
        unit="percent",
        axis=axis,  # type: ignore[arg-type]
        detector=detector or keys.get("DETY", ("", 0))[0],
        detector_diameter_mm=None,
        file=file,
        name=name,
    )
