"""Monte Carlo reference cases: dose of a rectangular photon field from a point source in a voxel phantom."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from dosecalc.errors import InputError
from dosecalc.validation.case import AIR_BELOW_G_CM3, Axis, Case, CaseHeader, Reference

FloatArray = NDArray[np.float64]

_ARRAYS = ("dose", "rel_unc", "density", "medium", "x_edges", "y_edges", "z_edges")
#: where profiles are compared: near the maximum, at two shallow depths, and deep
_PROFILE_DEPTHS_CM = (1.5, 5.0, 10.0, 20.0)


@dataclass(frozen=True, eq=False)
class MonteCarloCase(Case):
    """A case with the reference dose of every voxel.

    Parameters
    ----------
    dose : float64 [z, y, x]
        Gy cm2: dose to the local medium per incident photon fluence on the axis at the front plane.
    sigma : float64 [z, y, x]
        One standard deviation of ``dose``, Gy cm2.
    """

    dose: FloatArray
    sigma: FloatArray

    @property
    def profile_depths_cm(self) -> tuple[float, ...]:
        """Depths of profiles, in matter and inside the phantom; none where density varies across the beam."""
        if not self.layered:
            return ()
        matter = self.density[:, 0, 0] >= AIR_BELOW_G_CM3
        return tuple(d for d in _PROFILE_DEPTHS_CM if d < self.z_edges_cm[-1] and matter[self.plane_at(d)])

    def voxel_reference(self) -> Reference:
        """Every voxel."""
        return Reference(self.dose, self.sigma)

    def axis_reference(self) -> Reference:
        """Mean about the axis at every depth."""
        y, x = self.about_axis("y"), self.about_axis("x")
        near, sigma = (v[:, y][:, :, x] for v in (self.dose, self.sigma))
        return Reference(self.axis_mean(self.dose), _sigma_of_means(near, sigma))

    def profile_reference(self, depth_cm: float, axis: Axis) -> Reference:
        """Mean along an axis at a depth."""
        dose, sigma = (self.profile_rows(v, depth_cm, axis) for v in (self.dose, self.sigma))
        return Reference(self.profile_mean(self.dose, depth_cm, axis), _sigma_of_means(dose, sigma))


def list_cases(folder: Path) -> tuple[Path, ...]:
    """The JSON files of all cases of a folder, by name, whether or not they can be read.

    A case is every NPZ file, every JSON file beside one, and every JSON file that says it is a case: so that a case
    whose other half is missing is not passed over.
    """
    stems = {p.with_suffix(".json") for p in folder.glob("*.npz")}
    return tuple(sorted(stems | {p for p in folder.glob("*.json") if _says_case(p)}))


def load_case(path: Path) -> MonteCarloCase:
    """Read a case from its JSON file and the NPZ file beside it.

    Raises
    ------
    InputError
        ``CASE_UNREADABLE``, ``CASE_INVALID``, naming the file.
    """
    try:
        header = CaseHeader.model_validate_json(path.read_bytes())
        with np.load(path.with_suffix(".npz")) as f:
            arrays = {name: f[name] for name in _ARRAYS}
        arrays = {name: values.astype(np.float64) for name, values in arrays.items()}
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the JSON"
        raise InputError("CASE_INVALID", f"{place}: {first['msg']}.", file=path.name) from None
    except (OSError, KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            "CASE_UNREADABLE",
            f"The case cannot be read ({_in_words(error)}); a JSON and an NPZ file are needed.",
            file=path.name,
        ) from None
    _check(arrays, header, path)
    dose = arrays["dose"]
    return MonteCarloCase(
        header,
        arrays["density"].astype(np.float32),
        arrays["medium"].astype(np.uint8),
        arrays["x_edges"],
        arrays["y_edges"],
        arrays["z_edges"],
        dose,
        np.abs(dose) * np.nan_to_num(arrays["rel_unc"], nan=1.0, posinf=1.0),
    )


def _says_case(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return path.with_suffix(".npz").is_file()
    return isinstance(content, dict) and str(content.get("schema", "")).startswith("monte-carlo-case/")


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    return f"the NPZ lacks {error}" if isinstance(error, KeyError) else str(error)


def _check(arrays: dict[str, NDArray[Any]], header: CaseHeader, path: Path) -> None:
    def refuse(message: str) -> InputError:
        return InputError("CASE_INVALID", message, file=path.name)

    for axis in "xyz":
        edges = arrays[f"{axis}_edges"]
        if edges.ndim != 1 or len(edges) < 3 or not (np.isfinite(edges).all() and np.all(np.diff(edges) > 0)):
            raise refuse(f"{axis}_edges must be at least three finite numbers that rise.")
    shape = tuple(len(arrays[f"{axis}_edges"]) - 1 for axis in "zyx")
    for name in ("dose", "rel_unc", "density", "medium"):
        if arrays[name].shape != shape:
            raise refuse(f"{name} has shape {arrays[name].shape}; the edges make {shape}.")
    if not (np.isfinite(arrays["dose"]).all() and np.isfinite(arrays["density"]).all()):
        raise refuse("Dose and density must be finite.")
    if arrays["density"].min() < 0:
        raise refuse("A density is negative.")
    if not np.isin(arrays["medium"], np.arange(len(header.materials))).all():
        raise refuse("medium names a material that is not in the list.")
    if not arrays["dose"].max() > 0:
        raise refuse("The dose is zero everywhere.")
    if np.nanmin(arrays["rel_unc"], initial=0.0) < 0:
        raise refuse("An uncertainty is negative.")
    if not all(arrays[f"{a}_edges"][0] < 0 < arrays[f"{a}_edges"][-1] for a in "xy"):
        raise refuse("The beam's axis (x = y = 0) misses the phantom.")


def _sigma_of_means(dose: FloatArray, sigma: FloatArray) -> FloatArray:
    """Standard deviation of the mean of each row of voxels, float64 [n].

    Some voxels are mirror images of each other that hold one and the same value: they are one measurement.
    """
    return np.array([_sigma_of_mean(d.ravel(), s.ravel()) for d, s in zip(dose, sigma, strict=True)])


def _sigma_of_mean(dose: FloatArray, sigma: FloatArray) -> float:
    _, first, count = np.unique(dose, return_index=True, return_counts=True)
    return float(np.sqrt(np.sum((count * sigma[first]) ** 2)) / dose.size)
