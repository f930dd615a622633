"""Our own format: blocks of ``key: value`` lines, a heading line, and rows; see docs/commissioning.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dosecalc.commissioning.curves import (
    Curve,
    FloatArray,
    Setup,
    depth_points,
    equivalent_square_mm,
    profile_points,
)
from dosecalc.commissioning.formats.text import number, refuse

SIGNATURE = "# dosecalc measurements 1"
_COMMON = (
    "kind", "energy_mv", "fluence_mode", "shaped_by", "jaws_x_mm", "jaws_y_mm", "unit", "detector",
    "detector_diameter_mm",
)  # fmt: skip
#: keys that each kind needs beside the common ones, and its columns
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "depth_dose": (("ssd_mm", "field_x_mm", "field_y_mm"), ("depth_mm", "dose")),
    "profile": (("ssd_mm", "field_x_mm", "field_y_mm", "axis", "depth_mm"), ("position_mm", "dose")),
    "output_factors": (("ssd_mm", "depth_mm"), ("field_x_mm", "field_y_mm", "dose")),
    "tpr": (("sad_mm", "field_x_mm", "field_y_mm"), ("depth_mm", "dose")),
}
_OPTIONAL = {"profile": ("across_mm",)}
_WORDS = {
    "fluence_mode": ("STANDARD", "FFF"),
    "shaped_by": ("jaws", "leaves"),
    "unit": ("percent", "relative", "arbitrary"),
    "axis": ("x", "y"),
}
_NEEDED = ("energy_mv", "unit")


@dataclass
class _Block:
    file: str
    name: str
    line: int
    keys: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def number(self, key: str) -> float:
        return number(self.keys[key], key, self.file, self.lines[key], self.name)

    def positive(self, key: str) -> float:
        value = self.number(key)
        if value <= 0:
            raise refuse(
                "MEASUREMENT_NUMBER", f"{key} is {value:g}; it must be positive.", self.file, self.name, self.lines[key]
            )
        return value

    def word(self, key: str, default: str) -> str:
        value = self.keys.get(key, default)
        if value not in _WORDS[key]:
            raise refuse(
                "MEASUREMENT_KEY",
                f"{key} is {value!r}; it must be {' or '.join(_WORDS[key])}.",
                self.file, self.name, self.lines[key],
            )  # fmt: skip
        return value


def recognise(text: str) -> bool:
    """Whether a text says that it is in this format."""
    return text.lstrip("\ufeff").startswith(SIGNATURE)


def parse(text: str, file: str) -> list[Curve]:
    """The curves of a file.

    Raises
    ------
    InputError
        ``MEASUREMENT_KEY``, ``MEASUREMENT_NUMBER``, ``MEASUREMENT_COLUMNS`` naming file, curve and line.
    """
    return [_curve(block) for block in _blocks(text, file)]


def _blocks(text: str, file: str) -> list[_Block]:
    blocks: list[_Block] = []
    for n, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, colon, value = (part.strip() for part in line.partition(":"))
        if colon and key == "kind":
            blocks.append(_Block(file, f"curve {len(blocks) + 1}", n))
        if not blocks:
            raise refuse("MEASUREMENT_KEY", "A curve begins with a line `kind: …`.", file, line=n)
        if colon:
            _take_key(blocks[-1], key, value, n)
        elif not blocks[-1].columns:
            _take_heading(blocks[-1], line, n)
        else:
            _take_row(blocks[-1], line, n)
    return blocks


def _take_key(block: _Block, key: str, value: str, line: int) -> None:
    kind = value if key == "kind" else block.keys["kind"]
    if kind not in _KINDS:
        raise refuse(
            "MEASUREMENT_KEY", f"There is no kind {kind!r}; there is {', '.join(_KINDS)}.", block.file, block.name, line
        )
    known = (*_COMMON, *_KINDS[kind][0], *_OPTIONAL.get(kind, ()))
    if key not in known:
        raise refuse(
            "MEASUREMENT_KEY", f"A {kind} has no {key!r}; it has {', '.join(known)}.", block.file, block.name, line
        )
    if block.columns or key in block.keys:
        what = "comes after the rows" if block.columns else "is given twice"
        raise refuse("MEASUREMENT_KEY", f"{key} {what}; begin a new curve with `kind:`.", block.file, block.name, line)
    block.keys[key], block.lines[key] = value, line


def _take_heading(block: _Block, text: str, line: int) -> None:
    heading = tuple(c.strip() for c in text.split(","))
    expected = _KINDS[block.keys["kind"]][1]
    if heading != expected:
        hint = " Separate by commas, write decimals with a point." if ";" in text or "\t" in text else ""
        raise refuse(
            "MEASUREMENT_COLUMNS",
            f"The rows of a {block.keys['kind']} stand under the heading `{','.join(expected)}`, not {text!r}.{hint}",
            block.file, block.name, line,
        )  # fmt: skip
    block.columns = heading


def _take_row(block: _Block, text: str, line: int) -> None:
    cells = text.split(",")
    if len(cells) != len(block.columns):
        raise refuse(
            "MEASUREMENT_COLUMNS",
            f"The row has {len(cells)} values, the heading {len(block.columns)}; separate by commas, write decimals "
            "with a point.",
            block.file, block.name, line,
        )  # fmt: skip
    block.rows.append(
        tuple(number(c, name, block.file, line, block.name) for c, name in zip(cells, block.columns, strict=True))
    )


def _curve(block: _Block) -> Curve:
    kind = block.keys["kind"]
    needed = (*_NEEDED, *_KINDS[kind][0])
    missing = [k for k in needed if k not in block.keys]
    if missing:
        reason = "MEASUREMENT_ENERGY_MISSING" if missing == ["energy_mv"] else "MEASUREMENT_KEY"
        raise refuse(reason, f"The {kind} lacks {', '.join(missing)}.", block.file, block.name, block.line)
    if not block.rows:
        raise refuse("MEASUREMENT_TOO_FEW_POINTS", f"The {kind} has no rows.", block.file, block.name, block.line)
    rows = np.array(block.rows)
    setups, points, abscissa = _GEOMETRY[kind](block, rows)
    axis = block.word("axis", "x") if kind == "profile" else None
    return Curve(
        kind=kind,  # type: ignore[arg-type]
        energy_mv=block.positive("energy_mv"),
        fluence_mode=block.word("fluence_mode", "STANDARD"),  # type: ignore[arg-type]
        setups=setups,
        points_mm=points,
        abscissa=abscissa,
        value=rows[:, -1],
        unit=block.word("unit", "arbitrary"),
        axis=axis,  # type: ignore[arg-type]
        detector=block.keys.get("detector", ""),
        detector_diameter_mm=block.number("detector_diameter_mm") if "detector_diameter_mm" in block.keys else None,
        file=block.file,
        name=block.name,
    )


_Geometry = tuple[tuple[Setup, ...], FloatArray, FloatArray]


def _setup(block: _Block, ssd_mm: float, x: float, y: float) -> Setup:
    jaws = [block.positive(k) for k in ("jaws_x_mm", "jaws_y_mm") if k in block.keys]
    if len(jaws) == 1:
        raise refuse(
            "MEASUREMENT_KEY", "Give both jaws_x_mm and jaws_y_mm, or none.", block.file, block.name, block.line
        )
    shaped_by = block.word("shaped_by", "jaws")
    return Setup(ssd_mm, (x, y), shaped_by, (jaws[0], jaws[1]) if jaws else None)  # type: ignore[arg-type]


def _of_depth_dose(block: _Block, rows: FloatArray) -> _Geometry:
    setup = _setup(block, block.positive("ssd_mm"), block.positive("field_x_mm"), block.positive("field_y_mm"))
    return (setup,), depth_points(rows[:, 0]), rows[:, 0]


def _of_profile(block: _Block, rows: FloatArray) -> _Geometry:
    setup = _setup(block, block.positive("ssd_mm"), block.positive("field_x_mm"), block.positive("field_y_mm"))
    across = block.number("across_mm") if "across_mm" in block.keys else 0.0
    return (setup,), profile_points(block.word("axis", "x"), rows[:, 0], block.positive("depth_mm"), across), rows[:, 0]


def _of_output_factors(block: _Block, rows: FloatArray) -> _Geometry:
    ssd, depth = block.positive("ssd_mm"), block.positive("depth_mm")
    setups = tuple(_setup(block, ssd, x, y) for x, y in rows[:, :2])
    sides = np.array([equivalent_square_mm(s.field_mm) for s in setups])
    return setups, depth_points(np.full(len(rows), depth)), sides


def _of_tpr(block: _Block, rows: FloatArray) -> _Geometry:
    sad, x, y = (block.positive(k) for k in ("sad_mm", "field_x_mm", "field_y_mm"))
    setups = tuple(_setup(block, sad - depth, x, y) for depth in rows[:, 0])
    return setups, depth_points(rows[:, 0]), rows[:, 0]


_GEOMETRY = {
    "depth_dose": _of_depth_dose,
    "profile": _of_profile,
    "output_factors": _of_output_factors,
    "tpr": _of_tpr,
}


def as_text(curves: Sequence[Curve]) -> str:
    """Curves in this format; reading it gives them back."""
    return "\n\n".join([SIGNATURE, *("\n".join(_block_lines(c)) for c in curves)]) + "\n"


def _block_lines(curve: Curve) -> list[str]:
    first = curve.setups[0]
    keys: dict[str, object] = {
        "kind": curve.kind,
        "energy_mv": curve.energy_mv,
        "fluence_mode": curve.fluence_mode,
        "shaped_by": first.shaped_by,
        "jaws_x_mm": first.jaws_mm[0] if first.jaws_mm else None,
        "jaws_y_mm": first.jaws_mm[1] if first.jaws_mm else None,
        "unit": curve.unit,
        "detector": curve.detector or None,
        "detector_diameter_mm": curve.detector_diameter_mm,
        "ssd_mm": None if curve.kind == "tpr" else first.ssd_mm,
        "sad_mm": first.ssd_mm + float(curve.points_mm[0, 2]) if curve.kind == "tpr" else None,
    }
    if curve.kind != "output_factors":
        keys["field_x_mm"], keys["field_y_mm"] = first.field_mm
    if curve.kind in ("profile", "output_factors"):
        keys["depth_mm"] = curve.depth_mm
    if curve.kind == "profile":
        keys["axis"] = curve.axis
        keys["across_mm"] = float(curve.points_mm[0, 1 if curve.axis == "x" else 0])
    lines = [f"{k}: {v:.10g}" if isinstance(v, float) else f"{k}: {v}" for k, v in keys.items() if v is not None]
    lines.append(",".join(_KINDS[curve.kind][1]))
    cells = [s.field_mm for s in curve.setups] if curve.kind == "output_factors" else [(a,) for a in curve.abscissa]
    lines += [",".join(f"{v:.10g}" for v in (*c, d)) for c, d in zip(cells, curve.value, strict=True)]
    return lines
