"""What the numerical choices of the collapsed cone cost: cones, steps, voxels, tilt, divergence, missing scatter.

Usage: python -m benchmarks.convergence [--json FILE] [--picture FILE]

Square fields on a box of water, 100 cm from the source to its surface, the spectra of the shipped models, no head. Each
choice is changed alone, and the change of the dose is given in percent of the maximum; for the divergence of the rays
the source is moved, and the whole engine stands beside an exact superposition. Writes the figures of section 3.5 of the
physics manual.
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

from benchmarks.exact_slabs import Layers, dose, release
from dosecalc.geometry import Grid, Volume
from dosecalc.machine import load_machine
from dosecalc.machine.model import Calibration, Energy, Jaws, Machine, OffAxis, PrimarySource, spectrum_nodes
from dosecalc.patient.model import Patient
from dosecalc.photon.collapsed_cone import CollapsedCone, CollapsedConeSettings
from dosecalc.photon.cones import CONE_SETS, ConeSet, Ring, build_cones
from dosecalc.photon.kernel import poly_kernel
from dosecalc.photon.missing_scatter import MissingScatter, build_flights
from dosecalc.photon.spectral import spectral_model
from dosecalc.plan import Beam, ControlPoint
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
#: from the source to the surface, where divergence is looked at; the last is as good as parallel
SSDS_CM = (50.0, 100.0, 200.0, 1e4)
#: width and depth of the box there, and its voxels
WIDE_CM, DEEP_CM, WIDE_STEP_CM = 36.0, 24.0, 0.3
#: planes of voxels that are looked at there, 1.65 to 20.25 cm deep, and places in shares of the field's half width
WIDE_PLANES = (5, 10, 17, 33, 50, 67)
PLACES = {"axis": (0.0, 0.0), "side": (0.7, 0.0), "diagonal": (0.7, 0.7)}
#: of the curves of the picture
COLOURS = ("#334155", "#c2410c", "#0f766e", "#4338ca")
#: into how many each voxel is cut along each axis where steps are looked at
FINER = 3


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


def transported(box: Water, used: ConeSet, density: NDArray[np.float32] | None = None) -> FloatArray:
    """Dose along cones, in water or another density [z, y, x]."""
    if density is None:
        density = np.ones(box.kerma.shape, np.float32)
    transport = ConeTransport(density, (box.step_cm,) * 3)
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


def of_steps() -> list[dict[str, Any]]:
    """One step for each voxel crossed, in the voxel nearest to the line, beside steps and lines of a third of it.

    What is released and the density stay even within each voxel, so that nothing changes but the sampling of lines.
    """
    rows = []
    for name in ENERGIES:
        used = cones(name, CONE_SETS["standard"])
        for step in (0.25, 0.4):
            box = water(name, 5.0, step, 12.0)
            for volume, density in (("water", np.ones_like(box.kerma)), ("blocks", _blocks(box))):
                fine = replace(box, step_cm=step / FINER, kerma=_cut(box.kerma), scerma=_cut(box.scerma))
                reference = _joined(transported(fine, used, _cut(density)))
                change = transported(box, used, density) - reference
                rows.append({
                    "energy": name, "field_cm": 5.0, "step_mm": 10 * step, "volume": volume,
                    "depth_cm": box.z_cm.tolist(), **regions(box, change, reference),
                })  # fmt: skip
                print(name, f"{10 * step:g} mm", volume, {k: rows[-1][k] for k in ("inside", "penumbra")}, flush=True)
    return rows


def _blocks(box: Water) -> NDArray[np.float32]:
    """Blocks of about 1.6 cm of lung to bone: the volume of `tests/test_superposition.py`."""
    voxels = round(1.6 / box.step_cm)
    count = -(-box.kerma.shape[0] // voxels)
    blocks = np.random.default_rng(17).choice([0.25, 0.5, 1.0, 1.0, 1.0, 1.7], (count, count, count))
    n = box.kerma.shape[0]
    return np.kron(blocks, np.ones((voxels,) * 3))[:n, :n, :n].astype(np.float32)


def _cut(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each voxel in `FINER` along each axis, all with its value."""
    for axis in range(3):
        values = values.repeat(FINER, axis)
    return values


def _joined(values: FloatArray) -> FloatArray:
    """Means over what `_cut` has made of each voxel."""
    nz, ny, nx = (n // FINER for n in values.shape)
    return np.asarray(values.reshape(nz, FINER, ny, FINER, nx, FINER).mean((1, 3, 5)))


def of_divergence() -> list[dict[str, Any]]:
    """The engine beside an exact superposition with the source near, far, and as good as endlessly far away.

    Fluence, inverse square, attenuation along the rays, tilt of the kernels and all that does not depend on divergence:
    what stays for a parallel beam is the latter.
    """
    water_box = Layers(np.array([0.0, DEEP_CM]), np.ones(1), ("water",), (WIDE_CM / 2, WIDE_CM / 2))
    depths = (np.array(WIDE_PLANES) + 0.5) * WIDE_STEP_CM
    rows = []
    for name in ENERGIES:
        of = release(water_box, quality(name).spectrum)
        for field in (10.0, 20.0):
            for ssd in SSDS_CM:
                values = engine_at(name, field, ssd)
                for place, share in PLACES.items():
                    index = np.array([_nearest(share, field / 2 * (1 + z / ssd)) for z in depths])
                    points = np.column_stack([(index + 0.5) * WIDE_STEP_CM, depths])
                    exact = sum(dose(points, water_box, of, (field, field), ssd))
                    n = values.shape[1] // 2
                    engine = values[list(WIDE_PLANES), n + index[:, 1], n + index[:, 0]]
                    percent = 100 * (engine / exact - 1)
                    rows.append({
                        "energy": name, "field_cm": field, "ssd_cm": ssd, "place": place, "depth_cm": depths.tolist(),
                        "of_local": percent.tolist(),
                    })  # fmt: skip
                    print(name, f"{field:g} cm, SSD {ssd:g} cm, {place}:", *(f"{v:+.2f}" for v in percent), flush=True)
    return rows


def _nearest(share: tuple[float, float], half_cm: float) -> tuple[int, int]:
    """The voxel nearest to a place in the field, counted from the axis, which runs along edges of voxels."""
    return round(share[0] * half_cm / WIDE_STEP_CM - 0.5 + 1e-9), round(share[1] * half_cm / WIDE_STEP_CM - 0.5 + 1e-9)


def engine_at(name: str, field_cm: float, ssd_cm: float) -> FloatArray:
    """Dose of the whole engine per photon/cm2 at the surface, Gy cm2, [z, y, x] with z along the beam."""
    around = (WIDE_CM * 5, WIDE_CM * 5)
    grid = Grid.covering((-around[0], 0.0, -around[1]), (around[0], DEEP_CM * 10, around[1]), (WIDE_STEP_CM * 10,) * 3)
    patient = Patient(
        Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS"
    )  # fmt: skip
    machine = _point_source(name, ssd_cm)
    half = field_cm * 5
    points = tuple(
        ControlPoint(i, float(i), 0.0, 0.0, 0.0, "NONE", (0.0, 0.0, 0.0), (-half, half), (-half, half)) for i in (0, 1)
    )
    beam = Beam(1, "field", "", "PHOTON", quality(name).nominal_mv, "STANDARD", ssd_cm * 10, "HFS", None, points)
    engine = CollapsedCone(patient, CollapsedConeSettings(missing_scatter=False))
    values, _ = engine.beam_dose(beam, machine, machine.energies[0], lambda share, what: None, lambda: False)
    return np.asarray(values.transpose(1, 0, 2), np.float64)


def _point_source(name: str, ssd_cm: float) -> Machine:
    """A machine whose isocentre is on the surface: a point with an even fluence, opaque jaws, one photon/cm2 and MU."""
    here = "benchmarks/convergence.py"
    jaws = Jaws(transmission=0, limits_mm=(-120, 120), source=here)
    energy = Energy(
        nominal_mv=quality(name).nominal_mv,
        fluence_mode="STANDARD",
        spectrum=quality(name).spectrum,
        primary_source=PrimarySource(sigma_mm=0, source=here),
        extra_focal=None,
        off_axis=OffAxis(radius_mm=(0, 400), relative_fluence=(1, 1), softening="none", source=here),
        calibration=Calibration(
            gy_per_mu=1, depth_mm=1, ssd_mm=ssd_cm * 10, field_mm=100, photons_per_mu_cm2=1, source=here
        ),
    )
    return Machine(
        schema_version=1, name="point-source", description=here, generic=True, sad_mm=ssd_cm * 10,
        jaw_x=jaws, jaw_y=jaws, mlc=None, energies=(energy,),
    )  # fmt: skip


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
    """Six panels as SVG."""
    style: Any = {"svg.hashsalt": "dosecalc", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(10.5, 10.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(3, 2)
        (of_cone, of_voxel), (of_step, of_ray), (tilted, scattered) = axes
        _lines(of_cone, [r for r in results["cones"] if r["energy"] == "6 MV"], "set")
        of_cone.set(title="Cones: axis beside the dense set, 6 MV", xlabel="depth, cm", ylabel="% of maximum")
        _voxels(of_voxel, results["voxels"])
        steps = [r for r in results["steps"] if r["step_mm"] == 4.0]
        _lines(of_step, [r | {"what": f"{r['volume']}, {r['energy']}"} for r in steps], "what")
        of_step.set(
            title="Steps: axis beside steps of a third, voxels of 4 mm", xlabel="depth, cm", ylabel="% of maximum"
        )
        _divergence(of_ray, [r for r in results["divergence"] if r["energy"] == "6 MV" and r["field_cm"] == 20.0])
        _lines(tilted, results["tilt"], "energy")
        tilted.set(title="Without tilt: axis too high by", xlabel="depth, cm", ylabel="% of local dose")
        _lines(scattered, results["missing_scatter"], "energy")
        scattered.set(title="Missing scatter: taken away on the axis", xlabel="depth, cm", ylabel="% of local dose")
        for ax in axes.flat:
            ax.grid(True, linewidth=0.4, color="#d9dee3")
            ax.spines[["top", "right"]].set_visible(False)
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _voxels(ax: Any, results: Sequence[dict[str, Any]]) -> None:
    """Voxel sizes: what they change on the axis and in the penumbra."""
    for name, colour in zip(ENERGIES, COLOURS[1:], strict=False):
        rows = [r for r in results if r["energy"] == name]
        step = [r["step_mm"] for r in rows]
        ax.plot(step, [r["axis_largest"] for r in rows], "o-", color=colour, label=f"axis, %, {name}")
        wider = [r["penumbra_mm"] - rows[0]["penumbra_mm"] for r in rows]
        ax.plot(step, wider, "s--", color=colour, label=f"penumbra, mm, {name}")
    ax.set(title="Voxels: change from 1.5 mm, field 5 x 5", xlabel="voxel, mm")
    ax.legend(frameon=False)


def _divergence(ax: Any, rows: Sequence[dict[str, Any]]) -> None:
    """The engine beside the exact superposition: a colour for each distance of the source, a style for each place."""
    for ssd, colour in zip(SSDS_CM, COLOURS, strict=True):
        for place, style in zip(PLACES, ("o-", "s--", "^:"), strict=True):
            row = next(r for r in rows if r["ssd_cm"] == ssd and r["place"] == place)
            label = f"{'parallel' if ssd == SSDS_CM[-1] else f'SSD {ssd:g} cm'}, {place}"
            ax.plot(
                row["depth_cm"], row["of_local"], style, color=colour, label=label, linewidth=1.2, markersize=3.5
            )  # fmt: skip
    ax.set(title="Divergence: engine beside exact, 6 MV, 20 x 20", xlabel="depth, cm", ylabel="% of local dose")
    ax.legend(frameon=False, fontsize=7, ncols=2)


def _lines(ax: Any, rows: Sequence[dict[str, Any]], by: str) -> None:
    """Axis curves: one colour for each of ``by``, one style for each field."""
    colours = dict(zip(dict.fromkeys(r[by] for r in rows), COLOURS, strict=False))
    styles = dict(zip(dict.fromkeys(r["field_cm"] for r in rows), ("-", "--", ":"), strict=False))
    for r in rows:
        below = np.array(r["depth_cm"]) > 0.4
        ax.plot(
            np.array(r["depth_cm"])[below], np.array(r["axis"])[below], styles[r["field_cm"]], color=colours[r[by]],
            linewidth=1.2, label=f"{r[by]}, {r['field_cm']:g} cm",
        )  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.2 * (high - low))  # room for the legend
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
        "steps": of_steps(),
        "divergence": of_divergence(),
    }
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        args.picture.write_bytes(draw(results))


if __name__ == "__main__":
    main()
