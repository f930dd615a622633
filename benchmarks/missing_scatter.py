"""Scatter that does not come back from outside a phantom: a photon Monte Carlo beside what the engine takes away.

Usage: python -m benchmarks.missing_scatter [--histories N] [--json FILE]

A square field from a point, 100 cm before a box of water of 30 cm. Photons fly in endless water but are released in
the box alone; each knows whether it, or a photon that it comes from, has been outside. The collision kerma that photons
give off in the box after they have been outside is what a superposition of kernels of endless water has too much of.
Compton scattering is Klein and Nishina's on free electrons, pairs annihilate at rest where they are made, electrons
deposit their energy where they are set in motion and do not radiate; attenuation and energy transfer are those of the
package's tables.

The engine's share is `dosecalc.photon.missing_scatter` on the same box. Both in percent of the local dose. Writes the
figures of section 3.6 of the physics manual.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from benchmarks.convergence import ALONG_Z, cones, quality, transported, water
from dosecalc.machine.model import spectrum_nodes
from dosecalc.photon.cones import CONE_SETS
from dosecalc.photon.missing_scatter import MissingScatter, build_flights
from dosecalc.photon.tables import attenuation_table
from dosecalc_kernels.registry import backend

FloatArray = NDArray[np.float64]

SIDE_CM, SSD_CM = 30.0, 100.0
#: fields by beam quality
CASES = (("6 MV", 10.0), ("6 MV", 20.0), ("15 MV", 10.0))
DEPTHS_CM = (5.0, 10.0, 20.0, 25.0, 29.0)
#: off the axis at 10 cm depth, beyond the edge of the field
BESIDE_CM = 10.0
ELECTRON_MEV = 0.51099895
CUT_MEV = 0.0105
#: photons further away than this do not come back
FAR_CM = 120.0
STREAMS = 64
STEP_CM = 0.4


@dataclass(frozen=True, eq=False)
class Physics:
    """Cross sections on even steps of the logarithm of energy.

    Parameters
    ----------
    lowest, step : float
        Of the logarithm of the energy in MeV.
    mu, mu_tr : float64 [n]
        1/cm.
    compton, pair : float64 [n]
        Share of the interactions; the rest absorbs the photon.
    """

    lowest: float
    step: float
    mu: FloatArray
    mu_tr: FloatArray
    compton: FloatArray
    pair: FloatArray


def physics() -> Physics:
    """Cross sections of water."""
    log_energy = np.linspace(np.log(0.0101), np.log(20.0), 2000)
    energy = np.exp(log_energy)
    mu, mu_tr = attenuation_table().coefficients("water", energy)
    a = energy / ELECTRON_MEV
    bracket = (1 + a) / a**2 * (2 * (1 + a) / (1 + 2 * a) - np.log(1 + 2 * a) / a)
    per_electron = bracket + np.log(1 + 2 * a) / (2 * a) - (1 + 3 * a) / (1 + 2 * a) ** 2
    klein_nishina = 2 * np.pi * 2.8179403e-13**2 * 3.3428e23 * per_electron
    pair = np.where(energy > 2 * ELECTRON_MEV, np.maximum(mu - klein_nishina, 0.0), 0.0)
    return Physics(
        float(log_energy[0]),
        float(log_energy[1] - log_energy[0]),
        mu,
        mu_tr,
        np.minimum(klein_nishina / mu, 1.0),
        pair / mu,
    )


@njit(inline="always")
def _at(x, table, lowest, step):
    p = (x - lowest) / step
    i = min(max(int(p), 0), len(table) - 2)
    return table[i] + (table[i + 1] - table[i]) * (p - i)


@njit
def _scattered(energy):
    """Energy and cosine of a Compton-scattered photon: rejection from the two terms of the cross section."""
    a = energy / ELECTRON_MEV
    least = 1.0 / (1.0 + 2.0 * a)
    flat, steep = 0.5 * (1.0 - least * least), math.log(1.0 / least)
    while True:
        if np.random.random() < steep / (steep + flat):
            kept = math.exp(-steep * np.random.random())
        else:
            kept = math.sqrt(least * least + (1.0 - least * least) * np.random.random())
        t = (1.0 - kept) / (a * kept)
        if np.random.random() < 1.0 - kept * t * (2.0 - t) / (1.0 + kept * kept):
            return kept * energy, 1.0 - t


@njit
def _turned(u, v, w, cosine):
    """A direction turned by a polar angle, evenly in azimuth."""
    phi = 2.0 * math.pi * np.random.random()
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    a, b = sine * math.cos(phi), sine * math.sin(phi)
    side = math.sqrt(u * u + v * v)
    if side < 1e-7:
        return a, b, math.copysign(cosine, w * cosine)
    return (
        u * cosine + (u * w * a - v * b) / side,
        v * cosine + (v * w * a + u * b) / side,
        w * cosine - side * a,
    )


@njit
def _score(out, kerma, x, y, z, u, v, w, length, half_x, y0, y1, z0, z1):
    """Add a track's kerma to the bins along z of the column |x| < half_x, y0 < y < y1."""
    near, far = 0.0, length
    for at, along, low, high in ((x, u, -half_x, half_x), (y, v, y0, y1), (z, w, z0, z1)):
        if abs(along) < 1e-12:
            if at <= low or at >= high:
                return
            continue
        a, b = (low - at) / along, (high - at) / along
        near, far = max(near, min(a, b)), min(far, max(a, b))
    if far <= near:
        return
    n = len(out)
    size = (z1 - z0) / n
    first, last = (z + w * near - z0) / size, (z + w * far - z0) / size
    low, high = min(first, last), max(first, last)
    i, j = max(0, int(low)), min(n - 1, int(high))
    if i >= j:
        out[min(i, n - 1)] += kerma * (far - near)
        return
    per_bin = (far - near) / (high - low)
    for k in range(i, j + 1):
        out[k] += kerma * per_bin * (min(high, k + 1.0) - max(low, float(k)))


@njit
def _to_face(at, along, low, high):
    """Distance to the face of a slab from inside, along one axis."""
    if along > 1e-12:
        return (high - at) / along
    return (low - at) / along if along < -1e-12 else 1e9


@njit(parallel=True)
def _fly(
    histories, energies, cumulated, half, side, about, beside, mu, mu_tr, compton, pair, lowest, step, depth, across
):
    """Kerma by depth [streams, 2, bins] and across the beam: of photons that stayed inside, and that came back."""
    for stream in prange(STREAMS):
        np.random.seed(7919 * (stream + 1))
        waiting = np.empty((64, 8))
        for _ in range(histories // STREAMS):
            energy = energies[min(np.searchsorted(cumulated, np.random.random()), len(energies) - 1)]
            x, y = (2 * np.random.random() - 1) * half, (2 * np.random.random() - 1) * half
            away = math.sqrt(x * x + y * y + SSD_CM * SSD_CM)
            weight = (SSD_CM / away) ** 3  # a point's fluence through a plane
            waiting[0] = (x, y, 0.0, x / away, y / away, SSD_CM / away, energy, 0.0)
            left, first = 1, True
            while left:
                left -= 1
                x, y, z, u, v, w, energy, outside = waiting[left]
                while energy > CUT_MEV:
                    log_energy = math.log(energy)
                    length = -math.log(1.0 - np.random.random()) / _at(log_energy, mu, lowest, step)
                    face = 1e9
                    if outside == 0.0:
                        face = min(
                            _to_face(x, u, -side / 2, side / 2),
                            _to_face(y, v, -side / 2, side / 2),
                            _to_face(z, w, 0.0, side),
                        )
                    if length > face and first:
                        length = face  # never interacted inside: nothing is released outside
                    kerma = weight * energy * _at(log_energy, mu_tr, lowest, step)
                    inside = min(length, face)
                    if outside == 0.0:
                        _score(depth[stream, 0], kerma, x, y, z, u, v, w, inside, about, -about, about, 0.0, side)
                        _score(across[stream, 0], kerma, y, z, x, v, w, u, inside,
                               about, beside - 0.5, beside + 0.5, 0.0, side / 2)  # fmt: skip
                    else:
                        _score(depth[stream, 1], kerma, x, y, z, u, v, w, length, about, -about, about, 0.0, side)
                        _score(across[stream, 1], kerma, y, z, x, v, w, u, length,
                               about, beside - 0.5, beside + 0.5, 0.0, side / 2)  # fmt: skip
                    if first and length == face:
                        break
                    if length > face:
                        # from the face on it is outside, and may fly in again
                        x, y, z, outside = x + u * face, y + v * face, z + w * face, 1.0
                        _score(depth[stream, 1], kerma, x, y, z, u, v, w, length - face,
                               about, -about, about, 0.0, side)  # fmt: skip
                        length -= face
                    x, y, z = x + u * length, y + v * length, z + w * length
                    if max(abs(x), abs(y), abs(z)) > FAR_CM:
                        break
                    first = False
                    dice = np.random.random() - _at(log_energy, compton, lowest, step)
                    if dice < 0.0:
                        energy, cosine = _scattered(energy)
                        u, v, w = _turned(u, v, w, cosine)
                    elif dice < _at(log_energy, pair, lowest, step) and energy > 2 * ELECTRON_MEV:
                        u, v, w = _turned(0.0, 0.0, 1.0, 2 * np.random.random() - 1)
                        energy = ELECTRON_MEV
                        if left < len(waiting):
                            waiting[left] = (x, y, z, -u, -v, -w, energy, outside)
                            left += 1
                    else:
                        break


def monte_carlo(name: str, field_cm: float, histories: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Share of the local kerma that comes back in endless water, and its standard deviation.

    Returns
    -------
    depth, depth_sigma : float64 [60]
        On the axis by half centimetres of depth (mean over 3 cm, 6 cm in wide fields).
    across, across_sigma : float64 [30]
        At `BESIDE_CM` depth by half centimetres off the axis.
    """
    energies, photons = spectrum_nodes(quality(name).spectrum)
    table = physics()
    about = 1.5 if field_cm <= 10 else 3.0
    depth, across = np.zeros((STREAMS, 2, 60)), np.zeros((STREAMS, 2, 30))
    _fly(
        histories, energies, np.cumsum(photons), field_cm / 2, SIDE_CM, about, BESIDE_CM, table.mu, table.mu_tr,
        table.compton, table.pair, table.lowest, table.step, depth, across,
    )  # fmt: skip
    return *_share(depth), *_share(across)


def _share(tally: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What came back as a share of everything, and its standard deviation from the streams."""
    back, all_of_it = tally[:, 1], tally.sum((0, 1))
    share = back.sum(0) / all_of_it
    return share, np.sqrt(STREAMS * back.var(0, ddof=1)) / all_of_it


def engine(name: str, field_cm: float) -> tuple[FloatArray, FloatArray]:
    """Share of the dose that the engine takes away, on the same bins as `monte_carlo`'s."""
    energies, photons = spectrum_nodes(quality(name).spectrum)
    reach = 0.2 if field_cm > 16 else 0.115
    flights = build_flights(energies, photons * energies, reach)
    box = water(name, field_cm, STEP_CM, SIDE_CM)
    dose = transported(box, cones(name, CONE_SETS["standard"], reach))
    missing = MissingScatter(np.ones(box.kerma.shape, np.float32), (STEP_CM,) * 3, backend("cpu"))
    lost = np.asarray(missing.dose(box.scerma, flights, ALONG_Z, box.projection), np.float64)
    near = np.abs(box.x_cm) < (1.5 if field_cm <= 10 else 3.0)
    axis = lost[:, near][:, :, near].sum((1, 2)) / dose[:, near][:, :, near].sum((1, 2))
    at_depth = np.abs(box.z_cm - BESIDE_CM) < 0.5
    across = lost[at_depth][:, near].sum((0, 1)) / dose[at_depth][:, near].sum((0, 1))
    half = (np.arange(60) + 0.5) * 0.5, (np.arange(30) + 0.5) * 0.5
    return np.interp(half[0], box.z_cm, axis), np.interp(half[1], box.x_cm, across)


def main() -> None:
    """Compute, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=12_000_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: list[dict[str, Any]] = []
    for name, field in CASES:
        depth, depth_sigma, across, across_sigma = (100 * v for v in monte_carlo(name, field, args.histories))
        own_depth, own_across = (100 * v for v in engine(name, field))
        at = (np.arange(60) + 0.5) * 0.5
        results.append({
            "energy": name, "field_cm": field, "depth_cm": at.tolist(), "monte_carlo": depth.tolist(),
            "sigma": depth_sigma.tolist(), "engine": own_depth.tolist(), "off_axis_cm": at[:30].tolist(),
            "monte_carlo_off_axis": across.tolist(), "sigma_off_axis": across_sigma.tolist(),
            "engine_off_axis": own_across.tolist(),
        })  # fmt: skip
        print(f"{name}, {field:g} x {field:g} cm: percent of the local dose, Monte Carlo (1 sigma) / engine")
        for z in DEPTHS_CM:
            n = int(z / 0.5)
            print(f"  axis, depth {at[n]:5.2f} cm: {depth[n]:6.2f} ({depth_sigma[n]:.2f}) / {own_depth[n]:6.2f}")
        for n in range(int(field / 2 * 1.1 / 0.5) + 1, 30, 2):
            print(f"  {at[n]:5.2f} cm off, depth {BESIDE_CM:g} cm: {across[n]:6.2f} ({across_sigma[n]:.2f}) / "
                  f"{own_across[n]:6.2f}", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
