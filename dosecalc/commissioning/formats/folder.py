"""A folder of scans, or one file: every curve in it, and what was left out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from dosecalc.commissioning.curves import Curve
from dosecalc.commissioning.formats import mcc, own_csv, w2cad
from dosecalc.commissioning.formats.text import refuse
from dosecalc.errors import InputError

#: how text begins that an editor saved in two bytes for each letter
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: files with these endings are meant to be measurements: one that cannot be told is refused, not passed over
_MEASUREMENT_ENDINGS = (".csv", ".asc", ".mcc")


@dataclass(frozen=True)
class LeftOut:
    """Something in the folder that is not used, and why."""

    file: str
    curve: str | None
    why: str


@dataclass(frozen=True, eq=False)
class Measurements:
    """Everything that was read.

    Parameters
    ----------
    curves : tuple of Curve
    left_out : tuple of LeftOut
    sha256 : dict of file name to hexadecimal hash
        Of every file that was read.
    """

    curves: tuple[Curve, ...]
    left_out: tuple[LeftOut, ...]
    sha256: dict[str, str]

    @property
    def used_sha256(self) -> dict[str, str]:
        """Hashes of the files that gave the curves."""
        used = {c.file for c in self.curves}
        return {file: sha256 for file, sha256 in self.sha256.items() if file in used}

    def of_quality(self, energy_mv: float, fluence_mode: str, *, assume_energy: bool) -> Measurements:
        """The curves of one beam quality.

        Parameters
        ----------
        energy_mv : float
        fluence_mode : str
        assume_energy : bool
            Whether curves whose file tells no energy are taken to be of this one.

        Raises
        ------
        InputError
            ``MEASUREMENT_ENERGY_MISSING``, ``MEASUREMENTS_NONE``.
        """
        kept, left_out = [], list(self.left_out)
        for c in self.curves:
            if c.energy_mv is None and not assume_energy:
                raise refuse(
                    "MEASUREMENT_ENERGY_MISSING",
                    "The file does not tell the beam's energy; tell it with --energy.",
                    c.file, c.name,
                )  # fmt: skip
            mode = fluence_mode if c.energy_mv is None else c.fluence_mode
            mv = c.energy_mv or energy_mv
            if abs(mv - energy_mv) > 0.05 or mode != fluence_mode:
                quality = f"{mv:g} MV{' FFF' if mode == 'FFF' else ''}"
                left_out.append(LeftOut(c.file, c.name, f"it was measured at {quality}"))
            else:
                kept.append(replace(c, energy_mv=energy_mv, fluence_mode=fluence_mode))  # type: ignore[arg-type]
        if not kept:
            found = sorted({f"{c.energy_mv:g} MV {c.fluence_mode}" for c in self.curves if c.energy_mv})
            raise InputError(
                "MEASUREMENTS_NONE",
                f"There is no curve of {energy_mv:g} MV {fluence_mode}; there is {', '.join(found) or 'none at all'}.",
            )
        return Measurements(tuple(kept), tuple(left_out), self.sha256)

    def without(self, names: tuple[str, ...]) -> Measurements:
        """Leave out what the user names: ``FILE`` or ``FILE:CURVE``.

        Raises
        ------
        InputError
            ``MEASUREMENT_UNKNOWN`` when a name is no curve.
        """
        kept, left_out = list(self.curves), list(self.left_out)
        for name in names:
            chosen = [c for c in kept if name in (c.file, f"{c.file}:{c.name}")]
            if not chosen:
                raise InputError(
                    "MEASUREMENT_UNKNOWN", f"There is no curve {name!r} to leave out; write FILE or 'FILE:curve 3'."
                )
            left_out += [LeftOut(c.file, c.name, "left out on request") for c in chosen]
            kept = [c for c in kept if c not in chosen]
        return Measurements(tuple(kept), tuple(left_out), self.sha256)


def read_measurements(path: Path) -> Measurements:
    """Read one file, or every measurement in a folder (not in folders below it).

    Raises
    ------
    InputError
        ``MEASUREMENTS_NONE``, ``MEASUREMENT_FORMAT_UNKNOWN``, ``MEASUREMENT_UNREADABLE`` and what the formats raise.
    """
    if not path.exists():
        raise InputError("MEASUREMENTS_NONE", "There is no such file or folder of measurements.", file=path.name)
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    curves: list[Curve] = []
    left_out: list[LeftOut] = []
    hashes: dict[str, str] = {}
    for file in files:
        data = _bytes(file)
        found = _parse(data, file.name)
        if found is None:
            if file.suffix.lower() in _MEASUREMENT_ENDINGS or file == path:
                if data.startswith(_UTF16):
                    raise refuse(
                        "MEASUREMENT_FORMAT_UNKNOWN", "The file is text in UTF-16; save it as UTF-8.", file.name
                    )
                raise refuse(
                    "MEASUREMENT_FORMAT_UNKNOWN",
                    f"The file is neither W2CAD ($NUMS), nor PTW mcc (BEGIN_SCAN_DATA), nor ours: its first line would "
                    f"be `{own_csv.SIGNATURE}`.",
                    file.name,
                )
            left_out.append(LeftOut(file.name, None, "it is no measurement in a known format"))
            continue
        curves += found[0]
        left_out += [LeftOut(file.name, name, why) for name, why in found[1]]
        hashes[file.name] = hashlib.sha256(data).hexdigest()
    if not curves:
        raise InputError("MEASUREMENTS_NONE", "No depth dose, profile, TPR or output factor was found.", file=path.name)
    return Measurements(tuple(curves), tuple(left_out), hashes)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as e:
        raise refuse("MEASUREMENT_UNREADABLE", f"The file cannot be read: {e.strerror}.", file.name) from e


def _parse(data: bytes, file: str) -> tuple[list[Curve], list[tuple[str, str]]] | None:
    # Windows code page 1252 is what scanning software writes; every byte has a meaning in latin-1
    text = data.decode("utf-8", errors="strict") if _is_utf8(data) else data.decode("latin-1")
    if own_csv.recognise(text):
        return own_csv.parse(text, file), []
    if w2cad.recognise(text):
        return w2cad.parse(text, file)
    if mcc.recognise(text):
        return mcc.parse(text, file)
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
