"""What the numerical choices of the collapsed cone cost in water: cones, voxels, tilt, missing scatter.

Usage: python -m benchmarks.convergence [--json FILE] [--picture FILE]

Square fields on a box of water, 100 cm from the source to its surface, the spectra of the shipped models, no head. Each
choice is changed alone, and the change of the dose is given in percent of the maximum. Writes the figures of section
3.5 of the physics manual.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dosecalc.machine import load_machine
from dosecalc.machine.model import Energy, spectrum_nodes
from dosecalc.photon.cones import CONE_SETS, ConeSet, Ring, build_cones
from dosecalc.photon.kernel import poly_kernel
from dosecalc.photon.missing_scatter import MissingScatter, build_flights
from dosecalc.photon.spectral import spectral_model
from dosecalc_kernels.cpu.collapsed_cone import ConeTransport
from dosecalc_kernels.registry import backend

FloatArray = NDArray[np.float64]
MODELS = {f"{mv} MV": f"generic-{mv}mv-millennium120" for mv in (6, 10, 15)}
#: the qualities of the tables
ENERGIES = ("6 MV", "10 MV")
SSD_CM, SIDE_CM, MAX_TILT = 100.0, 24.0, 0.085
#: from the axial frame, whose beam runs along -z, to a grid whose z is the depth
ALONG_Z = np.diag([1.0, 1.0, -1.0])
#: every ring of "fine" in two, with twice the cones: what the other sets are compared with
DENSE = tuple(
    half
    for ring in CONE_SETS["fine"]
    for half in (
        Ring(ring.theta_low_deg, (ring.theta_low_deg + ring.theta_high_deg) / 2, 2 * ring.cones),
        Ring((ring.theta_low_deg + ring.theta_high_deg) / 2, ring.theta_high_deg, 2 * ring.cones),
    )
)
#: the set before the annealing
FORMER = tuple(
    Ring(*r)
    for r in (
        (0.0, 9.0, 4), (9.0, 20.0, 8), (20.0, 32.0, 12), (32.0, 45.0, 16), (45.0, 60.0, 16), (60.0, 80.0, 16),
        (80.0, 105.0, 12), (105.0, 135.0, 8), (135.0, 180.0, 4),
    )
)  # fmt: skip
SETS = {"96 evenly": FORMER, **CONE_SETS}


@dataclass(frozen=True, eq=False)
class Water:
    """Released energy of a field in a box of water, [z, y, x] with z along the beam.

    Parameters
    ----------
    step_cm : float
    half_cm : float
        Half the side of the field at the surface.
    kerma, scerma : float32 [z, y, x]
    """

    step_cm: float
    half_cm: float
    kerma: NDArray[np.float32]
    scerma: NDArray[np.float32]

    @property
    def x_cm(self) -> FloatArray:
        """Centres of the voxels across the beam."""
        n = self.kerma.shape[2]
        return np.asarray((np.arange(n) - (n - 1) / 2) * self.step_cm)

    @property
    def z_cm(self) -> FloatArray:
        """Centres of the voxels along the beam."""
        return np.asarray((np.arange(self.kerma.shape[0]) + 0.5) * self.step_cm, np.float64)

    @property
    def projection(self) -> FloatArray:
        """See `dosecalc_kernels.contract`."""
        s, x0 = self.step_cm, self.x_cm[0]
        return np.array([[s, 0, 0, x0], [0, s, 0, x0], [0, 0, s, SSD_CM + s / 2]])


@cache
def quality(name: str) -> Energy:
    """The beam quality of a shipped model."""
    return load_machine(MODELS[name]).energies[0]


def water(name: str, field_cm: float, step_cm: float, side_cm: float = SIDE_CM) -> Water:
    """Kerma and scerma of a field in a cube, means over voxels."""
    model = spectral_model(replace_softening(quality(name)), ("water",), "water_equivalent")
    mu = model.mu_basis[0]
    n = m = round(side_cm / step_cm)
    empty = np.zeros((m, n, n), np.float32)
    box = Water(step_cm, field_cm / 2, empty, empty)
    x, z = box.x_cm, box.z_cm[:, None]
    fine = (np.arange(8) + 0.5) / 8 * step_cm - step_cm / 2
    across = np.mean([np.abs(x + f) / (SSD_CM + z) * SSD_CM < box.half_cm for f in fine], 0)
    depth = SSD_CM + box.z_cm[:, None, None]
    r2 = x**2 + (x**2)[:, None] + depth**2
    path = box.z_cm[:, None, None] * np.sqrt(r2) / depth
    shape = SSD_CM**2 / r2 * across[:, None, :] * across[:, :, None]
    released = [np.zeros(empty.shape), np.zeros(empty.shape)]
    for e, mu_e in enumerate(mu):
        left = shape * np.exp(-mu_e * path)
        released[0] += model.release_kerma[0, e] * left
        released[1] += model.release_scerma[0, e] * left
    return replace(box, kerma=released[0].astype(np.float32), scerma=released[1].astype(np.float32))


def replace_softening(energy: Energy) -> Energy:
    """The quality with the same spectrum at every angle."""
    return energy.model_copy(update={"off_axis": energy.off_axis.model_copy(update={"softening": "none"})})


@cache
def cones(name: str, rings: tuple[Ring, ...], max_tilt: float = MAX_TILT) -> ConeSet:
    """Cones of a beam quality."""
    energies, photons = spectrum_nodes(quality(name).spectrum)
    return build_cones(poly_kernel(energies, photons * energies), rings, max_tilt)


def transported(box: Water, used: ConeSet) -> FloatArray:
    """Dose along cones."""
    transport = ConeTransport(np.ones(box.kerma.shape, np.float32), (box.step_cm,) * 3)
    transport.load(box.kerma, box.scerma)
    for _ in transport.sweep(used.directions @ ALONG_Z, used.rates, used.amplitudes, box.projection, used.max_tilt):
        pass
    return np.asarray(transport.dose(), np.float64)


def regions(box: Water, change: FloatArray, dose: FloatArray) -> dict[str, Any]:
    """Change in percent of the maximum: on the axis, and the largest in the field, its penumbra and outside."""
    n = box.kerma.shape[2]
    percent = 100 * change / dose.max()
    middle = slice((n - 1) // 2, n // 2 + 1)
    edge = box.half_cm * (SSD_CM + box.z_cm[:, None, None]) / SSD_CM
    off = np.maximum(np.abs(box.x_cm), np.abs(box.x_cm[:, None])) - edge
    parts = {"inside": off < -0.7, "penumbra": np.abs(off) <= 0.7, "outside": off > 0.7}
    below = box.z_cm > 0.4
    out: dict[str, Any] = {
        "axis": percent[:, middle, middle].mean((1, 2)).tolist(),
        "axis_of_local": (100 * change[:, middle, middle].mean((1, 2)) / dose[:, middle, middle].mean((1, 2))).tolist(),
    }
    for name, part in parts.items():
        there = percent[below][part[below]]
        out[name] = {"largest": float(np.abs(there).max()), "rms": float(np.sqrt(np.mean(there**2)))}
    return out


def of_cones() -> list[dict[str, Any]]:
    """Sets of cones beside the dense one."""
    rows = []
    for name in ENERGIES:
        for field in (3.0, 10.0):
            box = water(name, field, 0.3)
            reference = transported(box, cones(name, DENSE))
            for label, rings in SETS.items():
                dose = transported(box, cones(name, rings))
                count = sum(r.cones for r in rings)
                rows.append({
                    "energy": name, "field_cm": field, "set": label, "cones": count, "depth_cm": box.z_cm.tolist(),
                    **regions(box, dose - reference, reference),
                })  # fmt: skip
                print(
                    name, field, label, count, {k: rows[-1][k] for k in ("inside", "penumbra", "outside")}, flush=True
                )
    return rows


def of_voxels() -> list[dict[str, Any]]:
    """Voxel sizes: dose on the axis beside that of the smallest voxels, and the width of the penumbra at 10 cm."""
    rows = []
    for name in ENERGIES:
        reference: tuple[FloatArray, FloatArray] | None = None
        for step in (0.15, 0.2, 0.25, 0.3, 0.4, 0.5):
            box = water(name, 5.0, step)
            dose = transported(box, cones(name, CONE_SETS["standard"]))
            n = box.kerma.shape[2]
            middle = slice((n - 1) // 2, n // 2 + 1)
            axis = dose[:, middle, middle].mean((1, 2))
            reference = reference or (box.z_cm, axis)
            beyond = (box.z_cm > 3.0) & (box.z_cm < SIDE_CM - 0.5)
            smooth = np.exp(np.interp(box.z_cm, reference[0], np.log(reference[1])))
            at = int(np.argmin(np.abs(box.z_cm - 10.0)))
            profile = dose[at, middle].mean(0)
            half = box.x_cm >= 0
            level = profile[half] / axis[at]
            width = np.interp(-0.2, -level, box.x_cm[half]) - np.interp(-0.8, -level, box.x_cm[half])
            rows.append({
                "energy": name, "step_mm": 10 * step,
                "axis_largest": float(np.abs(100 * (axis / smooth - 1))[beyond].max()),
                "penumbra_mm": 10 * float(width),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def of_tilt() -> list[dict[str, Any]]:
    """Kernels along the beam's axis instead of the local ray: on the axis, and the residual of the polynomials."""
    rows = []
    for name in ENERGIES:
        for field in (3.0, 10.0, 20.0):
            box = water(name, field, 0.4)
            used = cones(name, CONE_SETS["standard"])
            flat = np.zeros_like(used.amplitudes)
            flat[..., 0] = used.amplitudes[..., 0]
            tilted = transported(box, used)
            change = regions(box, transported(box, replace(used, amplitudes=flat)) - tilted, tilted)
            rows.append({
                "energy": name, "field_cm": field, "depth_cm": box.z_cm.tolist(), "axis": change["axis_of_local"],
                "largest": float(np.max(change["axis_of_local"])),
            })  # fmt: skip
            print(name, field, "untilted", rows[-1]["largest"], flush=True)
    return rows


def of_polynomials() -> list[dict[str, Any]]:
    """Residuals of the fitted kernels and of the tilt polynomials, percent of the energy."""
    rows = []
    for name in ENERGIES:
        for tilt in (0.06, 0.115, 0.2):
            used = cones(name, CONE_SETS["standard"], tilt)
            rows.append({
                "energy": name, "max_tilt": tilt, "residual_tilt": 100 * used.residual_tilt,
                "residual_primary": 100 * used.residual_primary, "residual_scatter": 100 * used.residual_scatter,
            })  # fmt: skip
    return rows


def of_missing_scatter() -> list[dict[str, Any]]:
    """What is taken away because the box ends."""
    rows = []
    for name in ENERGIES:
        energies, photons = spectrum_nodes(quality(name).spectrum)
        flights = build_flights(energies, photons * energies, MAX_TILT)
        for field in (3.0, 10.0, 20.0):
            box = water(name, field, 0.4)
            dose = transported(box, cones(name, CONE_SETS["standard"]))
            missing = MissingScatter(np.ones(box.kerma.shape, np.float32), (box.step_cm,) * 3, backend("cpu"))
            lost = missing.dose(box.scerma, flights, ALONG_Z, box.projection)
            change = regions(box, lost.astype(np.float64), dose)
            rows.append({
                "energy": name, "field_cm": field, "depth_cm": box.z_cm.tolist(), "axis": change["axis_of_local"],
            })  # fmt: skip
            print(name, field, "missing", change["axis_of_local"][-1], flush=True)
    return rows


def draw(results: dict[str, Any]) -> bytes:
    """Four panels as SVG."""
    style: Any = {"svg.hashsalt": "dosecalc", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(10.5, 7.0), layout="constrained")
        FigureCanvasSVG(figure)
        (top_left, top_right), (low_left, low_right) = figure.subplots(2, 2)
        _lines(top_left, [r for r in results["cones"] if r["energy"] == "6 MV"], "set", "set")
        top_left.set(title="Cones: axis beside the dense set, 6 MV", xlabel="depth, cm", ylabel="% of maximum")
        for name, colour in zip(ENERGIES, ("#c2410c", "#0f766e"), strict=True):
            rows = [r for r in results["voxels"] if r["energy"] == name]
            step = [r["step_mm"] for r in rows]
            top_right.plot(step, [r["axis_largest"] for r in rows], "o-", color=colour, label=f"axis, %, {name}")
            top_right.plot(
                step, [r["penumbra_mm"] - rows[0]["penumbra_mm"] for r in rows], "s--", color=colour,
                label=f"penumbra, mm, {name}",
            )  # fmt: skip
        top_right.set(title="Voxels: change from 1.5 mm, field 5 x 5", xlabel="voxel, mm")
        top_right.legend(frameon=False)
        _lines(low_left, results["tilt"], "energy", "energy")
        low_left.set(title="Without tilt: axis too high by", xlabel="depth, cm", ylabel="% of local dose")
        _lines(low_right, results["missing_scatter"], "energy", "energy")
        low_right.set(title="Missing scatter: taken away on the axis", xlabel="depth, cm", ylabel="% of local dose")
        for ax in (top_left, top_right, low_left, low_right):
            ax.grid(True, linewidth=0.4, color="#d9dee3")
            ax.spines[["top", "right"]].set_visible(False)
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _lines(ax: Any, rows: Sequence[dict[str, Any]], by: str, label: str) -> None:
    """Axis curves: one colour for each of ``by``, one style for each field."""
    colours = dict(zip(dict.fromkeys(r[by] for r in rows), ("#334155", "#c2410c", "#0f766e", "#4338ca"), strict=False))
    styles = dict(zip(dict.fromkeys(r["field_cm"] for r in rows), ("-", "--", ":"), strict=False))
    for r in rows:
        below = np.array(r["depth_cm"]) > 0.4
        ax.plot(
            np.array(r["depth_cm"])[below], np.array(r["axis"])[below], styles[r["field_cm"]], color=colours[r[by]],
            linewidth=1.2, label=f"{r[label]}, {r['field_cm']:g} cm",
        )  # fmt: skip
    ax.legend(frameon=False, fontsize=7, ncols=2)


def main() -> None:
    """Measure, print, write JSON and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    results = {
        "missing_scatter": of_missing_scatter(),
        "tilt": of_tilt(),
        "polynomials": of_polynomials(),
        "cones": of_cones(),
        "voxels": of_voxels(),
    }
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        args.picture.write_bytes(draw(results))


if __name__ == "__main__":
    main()
