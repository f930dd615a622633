"""A set of derived kernels with its provenance: what was derived from which files, and how well."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dosecalc.errors import InputError
from dosecalc.machine.model import Spectrum, spectrum_nodes
from dosecalc.photon.cones import CONE_SETS, ConeSet, build_cones
from dosecalc.photon.edk import EdkFolder, packed, source_file
from dosecalc.photon.kernel import PolyKernel, collision_fraction, hardening_weights, poly_kernel
from dosecalc.photon.kernel_residuals import part_residuals
from dosecalc.photon.tables import PointKernels, attenuation_table, point_kernels

FloatArray = NDArray[np.float64]

SCHEMA = "dosecalc-kernels/1"
KERNELS_FILE, REPORT_FILE = "kernels.npz", "kernels.json"
#: digits of a figure in a report: more would be those of the machine that wrote it
_DIGITS = 4
#: the tilts of a 17 cm field, for which cones are fitted here; the engine fits them for the field that it has
MAX_TILT = 0.085
#: both sets of cones take about this many times what one energy takes
_STEPS_PER_SPECTRUM = 3


@dataclass(frozen=True, eq=False)
class DerivedSpectrum:
    """The combined kernels of a spectrum.

    Parameters
    ----------
    name : str
    spectrum : Spectrum
    energies_mev, photons : float64 [n]
        Centres of its bins, and photons of each.
    kernel : PolyKernel
    weight_kerma, weight_scerma : float64 [n]
        See `hardening_weights`.
    cones : mapping of str to ConeSet
        By the name of the set of directions.
    """

    name: str
    spectrum: Spectrum
    energies_mev: FloatArray
    photons: FloatArray
    kernel: PolyKernel
    weight_kerma: FloatArray
    weight_scerma: FloatArray
    cones: Mapping[str, ConeSet]

    def arrays(self) -> dict[str, FloatArray]:
        """Everything as arrays by name, for an NPZ file; the shapes are those of `PolyKernel` and `ConeSet`."""
        out = {
            "energies_mev": self.energies_mev,
            "photons": self.photons,
            "cos_theta_edges": self.kernel.cos_theta_edges,
            "r_edges_cm": self.kernel.r_edges_cm,
            "primary_cumulative": self.kernel.primary,
            "scatter_cumulative": self.kernel.scatter,
            "weight_kerma": self.weight_kerma,
            "weight_scerma": self.weight_scerma,
        }
        for name, cones in self.cones.items():
            out[f"{name}_directions"] = cones.directions
            out[f"{name}_rates_cm2_g"] = cones.rates
            out[f"{name}_amplitudes"] = cones.amplitudes
        return out


def derive(name: str, spectrum: Spectrum, kernels: PointKernels) -> DerivedSpectrum:
    """Combine the kernels of a spectrum, as the engine does.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE`` when the kernels do not cover the spectrum.
    """
    energies, photons = spectrum_nodes(spectrum)
    kernel = poly_kernel(energies, photons * energies, kernels)
    weights = hardening_weights(energies, photons * energies, kernels)
    cones = {key: build_cones(kernel, rings, MAX_TILT) for key, rings in CONE_SETS.items()}
    return DerivedSpectrum(name, spectrum, energies, photons, kernel, *weights, cones)


def energy_row(kernels: PointKernels, n: int) -> dict[str, Any]:
    """What an energy's kernels hold, and the residuals of its cones.

    Parameters
    ----------
    kernels : PointKernels
    n : int
        Which of its energies.

    Returns
    -------
    dict
        ``energy_mev``; ``primary_share`` and ``scatter_share`` of the photon's energy, ``escaped_share`` beyond the
        tables; ``primary_beside_mu_tr_percent``, by how much the primary share differs from mu_tr/mu of the attenuation
        table: bremsstrahlung lowers it at high energies, coherent scattering in mu raises it below 0.2 MeV;
        ``residuals`` of the standard cones.
    """
    at = kernels.energies_mev[n : n + 1]
    kernel = poly_kernel(at, np.ones(1), kernels)
    cones = build_cones(kernel, CONE_SETS["standard"], MAX_TILT)
    primary, scatter = float(kernels.primary[n].sum()), float(kernels.scatter[n].sum())
    mu, tr = attenuation_table().coefficients("water", at)
    return {
        "energy_mev": float(at[0]),
        "primary_share": _rounded(primary),
        "scatter_share": _rounded(scatter),
        "escaped_share": _rounded(1.0 - primary - scatter),
        "primary_beside_mu_tr_percent": _rounded(100 * (primary / float(tr[0] / mu[0]) - 1)),
        "residuals": {"standard": _residuals(kernel, cones, "standard")},
    }


def spectrum_row(derived: DerivedSpectrum, kernels: PointKernels) -> dict[str, Any]:
    """What a spectrum's combined kernels hold, and their residuals."""
    e, w = derived.energies_mev, derived.photons
    mu, _ = attenuation_table().coefficients("water", e)
    released = w * e * mu
    kerma = released * collision_fraction(e, kernels)
    return {
        "name": derived.name,
        "source": derived.spectrum.source,
        "lowest_mev": _rounded(float(e.min())),
        "highest_mev": _rounded(float(e.max())),
        "mean_mev": _rounded(float((w * e).sum() / w.sum())),
        "primary_share": _rounded(float(kerma.sum() / released.sum())),
        "scatter_within_tables": _rounded(float(derived.kernel.scatter[-1, -1])),
        "energies_mev": [_rounded(v) for v in e],
        "weight_kerma": [_rounded(v) for v in derived.weight_kerma],
        "weight_scerma": [_rounded(v) for v in derived.weight_scerma],
        "residuals": {name: _residuals(derived.kernel, cones, name) for name, cones in derived.cones.items()},
    }


def build(
    source: EdkFolder, spectra: Sequence[tuple[str, Spectrum]], program: str, done: Callable[[float], None]
) -> dict[str, bytes]:
    """Derive a set of kernels and its report.

    Parameters
    ----------
    source : EdkFolder
    spectra : sequence of (name, Spectrum)
    program : str
        What derives them, with its version.
    done : callable
        Told the share of the work that is done.

    Returns
    -------
    dict of str to bytes
        Files by name: ``kernels.npz`` (`dosecalc.photon.edk.packed`), ``spectrum-NAME.npz`` for each spectrum
        (`DerivedSpectrum.arrays`), and ``kernels.json``, the report, last.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE`` when the kernels do not cover a spectrum.
    """
    kernels = source.kernels
    total = len(kernels.energies_mev) + _STEPS_PER_SPECTRUM * len(spectra)
    files = {KERNELS_FILE: packed(kernels)}
    spectrum_rows = []
    for n, (name, spectrum) in enumerate(spectra):  # first, so that what is out of range is told before the long work
        derived = derive(name, spectrum, kernels)
        spectrum_rows.append(spectrum_row(derived, kernels))
        out = io.BytesIO()
        np.savez_compressed(out, allow_pickle=False, **derived.arrays())
        files[f"spectrum-{name}.npz"] = out.getvalue()
        done(_STEPS_PER_SPECTRUM * (n + 1) / total)
    energy_rows = []
    for n in range(len(kernels.energies_mev)):
        energy_rows.append(energy_row(kernels, n))
        done((_STEPS_PER_SPECTRUM * len(spectra) + n + 1) / total)
    report = {
        "schema": SCHEMA,
        "program": program,
        "point_kernels": {"made_by": source.made_by, "files": [asdict(f) for f in source.files]},
        "table": {
            "angles": len(kernels.theta_edges_rad) - 1,
            "radii": len(kernels.r_edges_cm) - 1,
            "outermost_radius_cm": float(kernels.r_edges_cm[-1]),
        },
        "residuals_are": "percent of the collision kerma (primary) and of the scerma (scatter)",
        "max_tilt": MAX_TILT,
        "energies": energy_rows,
        "spectra": spectrum_rows,
    }
    files[REPORT_FILE] = (json.dumps(report, ensure_ascii=False, indent=1) + "\n").encode()
    return files


def shipped_kernels() -> EdkFolder:
    """The point kernels of the package as a source to derive from."""
    data = _data()
    with resources.as_file(data / "edk_water.npz") as path:
        files = (source_file(path),)
    return EdkFolder(point_kernels(), shipped_report()["point_kernels"]["made_by"], files)


def shipped_report() -> dict[str, Any]:
    """The report of the kernels and spectra of the package."""
    with resources.as_file(_data() / REPORT_FILE) as path:
        return read_report(path)


def _data() -> Traversable:
    return resources.files("dosecalc.photon") / "data"


class _Report(BaseModel):
    """What a report must have to be shown; the rest is for people."""

    model_config = ConfigDict(extra="allow")
    format_name: Literal["dosecalc-kernels/1"] = Field(alias="schema")
    program: str
    energies: list[dict[str, Any]]
    spectra: list[dict[str, Any]]


def read_report(path: Path) -> dict[str, Any]:
    """A report as `report` made it.

    Raises
    ------
    InputError
        ``KERNELS_UNREADABLE`` when there is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        _Report.model_validate(content)
    except (OSError, ValueError):
        raise InputError(
            "KERNELS_UNREADABLE",
            "There is no report of derived kernels here; `dosecalc kernels build` writes one.",
            file=path.name,
        ) from None
    return content


def _residuals(kernel: PolyKernel, cones: ConeSet, name: str) -> dict[str, Any]:
    out: dict[str, Any] = {"cones": len(cones), "tilt": _rounded(100 * cones.residual_tilt)}
    for part in ("primary", "scatter"):
        found = asdict(part_residuals(kernel, cones, CONE_SETS[name], part))
        out[part] = {key: _rounded(value) for key, value in found.items()}
    return out


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
