"""PTW MEPHYSTO mc2 files (``.mcc``): scans between BEGIN_SCAN and END_SCAN, ``KEY=value`` lines, then data rows.

Rows hold position (mm), signal, and where a reference detector was used its signal. The meaning of the keys is read
off exported files. The signal of a scan with a reference detector is the ratio already: in the exported scans that were
at hand it does not follow the reference's noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dosecalc.commissioning.curves import Curve, FloatArray, Setup, depth_points, profile_points
from dosecalc.commissioning.formats.text import number, refuse

_BEGIN, _END = re.compile(r"BEGIN_SCAN\s+(\d+)$"), re.compile(r"END_SCAN\s+\d+$")
_PROFILES = {"INPLANE_PROFILE": "INPLANE", "CROSSPLANE_PROFILE": "CROSSPLANE"}
_MODES = {"FF": "STANDARD", "": "STANDARD", "FFF": "FFF"}


@dataclass
class _Scan:
    file: str
    name: str
    line: int
    keys: dict[str, tuple[str, int]]
    rows: list[tuple[float, float]]

    def text(self, key: str) -> str:
        return self.keys.get(key, ("", 0))[0]

    def number(self, key: str) -> float:
        if key not in self.keys:
            raise refuse("MEASUREMENT_KEY", f"The scan lacks {key}.", self.file, self.name, self.line)
        value, line = self.keys[key]
        return number(value, key, self.file, line, self.name)


def recognise(text: str) -> bool:
    """Whether a text is an .mcc file."""
    return text.lstrip().startswith("BEGIN_SCAN_DATA")


def parse(text: str, file: str) -> tuple[list[Curve], list[tuple[str, str]]]:
    """Curves of a file, and the names of scans that are no open photon fields in water, each with why it is left out.

    Raises
    ------
    InputError
        ``MEASUREMENT_KEY``, ``MEASUREMENT_NUMBER``, ``MEASUREMENT_FORMAT``.
    """
    curves, left_out = [], []
    for scan in _scans(text, file):
        why = _not_open_photons(scan)
        if why:
            left_out.append((scan.name, why))
        else:
            curves.append(_curve(scan))
    return curves, left_out


def _scans(text: str, file: str) -> list[_Scan]:
    scans: list[_Scan] = []
    inside, data = False, False
    for n, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        begin = _BEGIN.match(line)
        if begin:
            scans.append(_Scan(file, f"scan {begin[1]}", n, {}, []))
            inside = True
        elif _END.match(line):
            inside = False
        elif line in ("BEGIN_DATA", "END_DATA"):
            data = line == "BEGIN_DATA"
        elif inside and data and line:
            cells = line.split()
            if len(cells) < 2:
                raise refuse("MEASUREMENT_FORMAT", "A row is position and signal.", file, scans[-1].name, n)
            position, signal = (number(c, "a data row", file, n, scans[-1].name) for c in cells[:2])
            scans[-1].rows.append((position, signal))
        elif inside and "=" in line:
            key, _, value = line.partition("=")
            scans[-1].keys[key] = (value.strip(), n)
    if inside:
        raise refuse(
            "MEASUREMENT_FORMAT", "The scan has no end (END_SCAN): the file is cut short.", file, scans[-1].name
        )
    if not scans:
        raise refuse("MEASUREMENT_FORMAT", "The file holds no scan.", file)
    return scans


def _not_open_photons(scan: _Scan) -> str:
    if scan.text("MODALITY") != "X":
        return f"its modality is {scan.text('MODALITY') or 'not told'}, not X (photons)"
    if scan.text("MEAS_MEDIUM") not in ("WATER", ""):
        return f"it was measured in {scan.text('MEAS_MEDIUM')}, not in WATER"
    if float(scan.text("WEDGE_ANGLE") or 0) != 0:
        return f"it has a wedge of {scan.text('WEDGE_ANGLE')} degrees"
    if scan.text("SCAN_DIAGONAL") not in ("NOT_DIAGONAL", ""):
        return "it is a diagonal scan"
    if scan.text("SCAN_CURVETYPE") not in ("PDD", *_PROFILES):
        return f"its curve type is {scan.text('SCAN_CURVETYPE') or 'not told'}, no PDD and no profile"
    return ""


def _curve(scan: _Scan) -> Curve:
    if scan.text("FILTER") not in _MODES:
        raise refuse("MEASUREMENT_KEY", f"FILTER is {scan.text('FILTER')!r}; FF or FFF.", scan.file, scan.name)
    if not scan.rows:
        raise refuse("MEASUREMENT_TOO_FEW_POINTS", "The scan has no data rows.", scan.file, scan.name, scan.line)
    rows = np.array(scan.rows)
    plane_of = {scan.text("INPLANE_AXIS") or "Y": "INPLANE", scan.text("CROSSPLANE_AXIS") or "X": "CROSSPLANE"}
    sides = {axis: scan.number(f"FIELD_{plane}") for axis, plane in plane_of.items()}
    if set(sides) != {"X", "Y"}:
        raise refuse("MEASUREMENT_KEY", "INPLANE_AXIS and CROSSPLANE_AXIS must be X and Y.", scan.file, scan.name)
    axis, points = _points(scan, rows[:, 0], plane_of)
    return Curve(
        kind="profile" if axis else "depth_dose",
        energy_mv=scan.number("ENERGY") if scan.text("ENERGY") else None,
        fluence_mode=_MODES[scan.text("FILTER")],  # type: ignore[arg-type]
        setups=(Setup(scan.number("SSD"), (sides["X"], sides["Y"])),),
        points_mm=points,
        abscissa=rows[:, 0],
        value=rows[:, 1],
        unit="arbitrary",
        axis=axis,  # type: ignore[arg-type]
        detector=scan.text("DETECTOR_NAME"),
        detector_diameter_mm=2 * scan.number("DETECTOR_RADIUS") or None if scan.text("DETECTOR_RADIUS") else None,
        file=scan.file,
        name=scan.name,
    )


def _points(scan: _Scan, position_mm: FloatArray, plane_of: dict[str, str]) -> tuple[str | None, FloatArray]:
    plane = _PROFILES.get(scan.text("SCAN_CURVETYPE"))
    if plane is None:
        return None, depth_points(position_mm)
    axis = next(a for a, p in plane_of.items() if p == plane)
    other = next(p for p in plane_of.values() if p != plane)
    key = f"SCAN_OFFAXIS_{other}"
    across = scan.number(key) if key in scan.keys else 0.0
    return axis.lower(), profile_points(axis.lower(), position_mm, scan.number("SCAN_DEPTH"), across)
