"""Doses in files of NumPy: an ``.npz`` with its geometry, or a bare ``.npy``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dosecalc.errors import GeometryError, InputError
from dosecalc.geometry import Grid, Volume

Point = tuple[float, float, float]

#: names of the arrays in an ``.npz``
DOSE, ORIGIN, SPACING = "dose_gy", "origin_mm", "spacing_mm"


def is_array_file(path: Path) -> bool:
    """Whether a file is one of NumPy's, by its content."""
    try:
        with path.open("rb") as file:
            return file.read(6) == b"\x93NUMPY" or zipfile.is_zipfile(path)
    except OSError:
        return False


def read_array_dose(path: Path, spacing_mm: Point | None = None, origin_mm: Point | None = None) -> Volume:
    """Read a dose from an array file.

    Parameters
    ----------
    path : Path
        An ``.npz`` with ``dose_gy`` [z, y, x] in Gy, ``spacing_mm`` (x, y, z) and ``origin_mm`` (x, y, z; centre of
        voxel [0, 0, 0], patient frame), or an ``.npy`` with the dose alone. One- and two-dimensional arrays are
        profiles along x and planes [y, x].
    spacing_mm, origin_mm : (x, y, z), optional
        What the file does not say; the origin is (0, 0, 0) when nobody says it.

    Raises
    ------
    InputError
        ``ARRAY_FILE``: not such a file; ``ARRAY_SPACING``: nobody says the spacing; ``DOSE_NOT_FINITE``.
    GeometryError
        ``GRID_INVALID``.
    """
    dose, geometry = _load(path)
    spacing = _point(geometry.get(SPACING, spacing_mm), SPACING, path)
    origin = _point(geometry.get(ORIGIN, origin_mm), ORIGIN, path) or (0.0, 0.0, 0.0)
    if spacing is None:
        raise InputError(
            "ARRAY_SPACING",
            f"The file holds no voxel size: store {SPACING!r} in an .npz, or give the spacing beside the file.",
            file=path.name,
        )
    if dose.dtype.kind not in "fiu" or not 1 <= dose.ndim <= 3 or not dose.size:
        raise InputError(
            "ARRAY_FILE",
            f"A dose is an array of numbers with 1 to 3 axes, not {dose.dtype} {dose.shape}.",
            file=path.name,
        )
    if not np.all(np.isfinite(dose)):
        raise InputError("DOSE_NOT_FINITE", "The array holds values that are not finite numbers.", file=path.name)
    dose = dose.reshape((1,) * (3 - dose.ndim) + dose.shape)
    nz, ny, nx = dose.shape
    try:
        return Volume(Grid(origin, spacing, (nz, ny, nx)), dose.astype(np.float32))
    except GeometryError as cause:
        raise GeometryError(cause.reason, cause.message, file=path.name) from None


def _load(path: Path) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, {}
        with loaded:
            found = {name: loaded[name] for name in (DOSE, ORIGIN, SPACING) if name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError, SyntaxError):
        raise InputError(
            "ARRAY_FILE", "The file is no .npy or .npz of NumPy, or it is damaged.", file=path.name
        ) from None
    if DOSE not in found:
        raise InputError("ARRAY_FILE", f"The .npz holds no array {DOSE!r} [z, y, x] in Gy.", file=path.name)
    return found.pop(DOSE), found


def _point(value: Any, name: str, path: Path) -> Point | None:
    if value is None:
        return None
    try:
        x, y, z = (float(v) for v in np.ravel(value))
    except (TypeError, ValueError):
        raise InputError("ARRAY_FILE", f"{name!r} must be three numbers (x, y, z) in mm.", file=path.name) from None
    return x, y, z
