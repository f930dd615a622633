"""Point kernels as EDKnrc leaves them: reading a folder of them, and packing what the engines need."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import InputError
from dosecalc.photon.tables import PointKernels

FloatArray = NDArray[np.float64]

#: the part of the energy that the charged particles of the first interaction deposit
_PRIMARY = "primary"
#: single precision of a sum of five categories, and the statistics of a run whose sectors are scored apart
_MOST_ENERGY = 1.002


@dataclass(frozen=True)
class SourceFile:
    """A file that derived data come from.

    Parameters
    ----------
    name : str
        Without its folder.
    sha256 : str
    """

    name: str
    sha256: str


@dataclass(frozen=True, eq=False)
class EdkFolder:
    """Point kernels of a folder.

    Parameters
    ----------
    kernels : PointKernels
        Collision-kerma part and scerma part of each energy, as shares of the interacting photon's energy.
    made_by : str
        The program and the medium, as the run's JSON states them.
    files : tuple of SourceFile
    """

    kernels: PointKernels
    made_by: str
    files: tuple[SourceFile, ...]


def read_edk(folder: Path) -> EdkFolder:
    """Read the point kernels of a folder: one NPZ file and the JSON file of the same name beside it.

    The NPZ file holds ``edk`` [energy, angle, radius, category], the share of the interacting photon's energy that is
    deposited in each sector, with ``energies_MeV``, ``theta_edges_deg`` (0 to 180), ``r_edges_cm`` (from 0) and
    ``categories``, of which ``primary`` is what the charged particles of the first interaction deposit. The JSON file
    holds ``per_energy`` with ``E`` and ``edk_mu_over_rho`` (cm2/g) of each energy, and ``code`` and ``medium``.

    Raises
    ------
    InputError
        ``KERNELS_UNREADABLE``, ``KERNELS_INVALID``; the place names the file.
    """
    arrays_path = _only_npz(folder)
    text_path = arrays_path.with_suffix(".json")
    arrays = _arrays(arrays_path)
    facts = _facts(text_path)
    _check(arrays, arrays_path.name)
    energies = arrays["energies_MeV"].astype(np.float64)
    edk = arrays["edk"].astype(np.float64)
    of_primary = [str(c) for c in arrays["categories"]].index(_PRIMARY)
    kernels = PointKernels(
        energies,
        np.deg2rad(arrays["theta_edges_deg"].astype(np.float64)),
        arrays["r_edges_cm"].astype(np.float64),
        edk[..., of_primary],
        np.delete(edk, of_primary, -1).sum(-1),
        _attenuation(facts, energies, text_path.name),
    )
    made_by = "; ".join(str(facts[key]) for key in ("code", "medium") if key in facts)
    return EdkFolder(kernels, made_by, (source_file(arrays_path), source_file(text_path)))


def packed(kernels: PointKernels) -> bytes:
    """Point kernels in the form in which the package carries them: an NPZ file, the same bytes for the same numbers."""
    out = io.BytesIO()
    np.savez_compressed(
        out,
        energies_mev=kernels.energies_mev,
        theta_edges_deg=np.round(np.rad2deg(kernels.theta_edges_rad), 9),  # as they were read
        r_edges_cm=kernels.r_edges_cm,
        primary=kernels.primary.astype(np.float32),
        scatter=kernels.scatter.astype(np.float32),
        mu_over_rho_cm2_g=kernels.mu,
    )
    return out.getvalue()


def source_file(path: Path) -> SourceFile:
    """A file's name and hash."""
    return SourceFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def _only_npz(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError("KERNELS_UNREADABLE", "There is no such folder of point kernels.", file=folder.name)
    found = sorted(folder.glob("*.npz"))
    if len(found) != 1:
        raise InputError(
            "KERNELS_UNREADABLE",
            f"A folder of point kernels holds one NPZ file and its JSON file; here are {len(found)} NPZ files.",
            file=folder.name,
        )
    return found[0]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    names = ("edk", "energies_MeV", "theta_edges_deg", "r_edges_cm", "categories")
    try:
        with np.load(path) as file:
            return {name: file[name] for name in names}
    except KeyError as missing:
        raise InputError("KERNELS_INVALID", f"The NPZ file lacks {missing}.", file=path.name) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError("KERNELS_UNREADABLE", "This is not an NPZ file of arrays.", file=path.name) from None


def _facts(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise InputError(
            "KERNELS_UNREADABLE", "The JSON file beside the kernels is missing or not JSON.", file=path.name
        ) from None
    if not isinstance(content, dict):
        raise InputError("KERNELS_INVALID", "The JSON file must hold an object.", file=path.name)
    return content


def _attenuation(facts: dict[str, Any], energies: FloatArray, name: str) -> FloatArray:
    try:
        rows = [(float(row["E"]), float(row["edk_mu_over_rho"])) for row in facts["per_energy"]]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "KERNELS_INVALID", "per_energy must give E (MeV) and edk_mu_over_rho (cm2/g) of each energy.", file=name
        ) from None
    if len(rows) != len(energies) or not np.allclose([e for e, _ in rows], energies, rtol=1e-6, atol=0):
        raise InputError("KERNELS_INVALID", "per_energy must name the energies of the NPZ file in order.", file=name)
    mu = np.array([m for _, m in rows])
    if not (np.isfinite(mu).all() and np.all(mu > 0)):
        raise InputError("KERNELS_INVALID", "edk_mu_over_rho must be positive.", file=name)
    return mu


def _check(arrays: dict[str, NDArray[Any]], name: str) -> None:
    def refuse(message: str) -> InputError:
        return InputError("KERNELS_INVALID", message, file=name)

    edk, categories = arrays["edk"], [str(c) for c in np.atleast_1d(arrays["categories"])]
    edges = {key: arrays[key] for key in ("energies_MeV", "theta_edges_deg", "r_edges_cm")}
    for key, values in edges.items():
        rises = values.ndim == 1 and len(values) > 1 and np.isfinite(values).all() and np.all(np.diff(values) > 0)
        if not rises:
            raise refuse(f"{key} must be at least two finite numbers that rise.")
    energies, theta, radius = edges.values()
    if energies[0] <= 0:
        raise refuse("energies_MeV must be positive.")
    if theta[0] != 0 or not np.isclose(theta[-1], 180.0):
        raise refuse("theta_edges_deg must run from 0 to 180: energy in other directions would be lost.")
    if radius[0] != 0:
        raise refuse("r_edges_cm must begin at 0.")
    if _PRIMARY not in categories:
        raise refuse(f"categories must name {_PRIMARY!r}; there are {', '.join(categories)}.")
    shape = (len(energies), len(theta) - 1, len(radius) - 1, len(categories))
    if edk.shape != shape:
        raise refuse(f"edk has shape {edk.shape}; energies, edges and categories make {shape}.")
    if not np.isfinite(edk).all() or edk.min() < 0:
        raise refuse("edk must hold finite shares that are not negative.")
    primary = edk[..., categories.index(_PRIMARY)].sum((1, 2), dtype=np.float64)
    total = edk.sum((1, 2, 3), dtype=np.float64)
    for energy, share, everything in zip(energies, primary, total, strict=True):
        if everything > _MOST_ENERGY:
            raise refuse(f"At {energy:g} MeV {everything:.3f} of the energy is deposited: shares add up to 1 at most.")
        if not 0 < share < 1:
            raise refuse(f"At {energy:g} MeV the primary share is {share:.3f}: it must lie between 0 and 1.")
