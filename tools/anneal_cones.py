"""Find rings of cones by annealing, or give the loss of the shipped sets.

Usage: python tools/anneal_cones.py [--cones 104] [--rings 9] [--steps 4000] [--seed 1]
       python tools/anneal_cones.py --shipped

Fields of 3, 5, 10 and 20 cm in a box of water (6 MV, and 3 and 10 cm at 15 MV; two of them turned by 27 and 45
degrees), in a parallel beam whose kernel is exact along each direction, no exponentials: only directions differ. The
loss is the root of mean squares of the difference from 6,900 directions, percent of the axis at the depth: in the
field, a quarter across the penumbra, outside, the width of the penumbra, and a quarter each of the axis again and of
the field's fourth powers, which keep single places from standing out. The sets in `dosecalc.photon.cones` come from
runs of an earlier version of this program that cooled by the clock, of which those were kept that stood best beside
Monte Carlo in water: a run does not give them again, but sets of the same kind.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dosecalc.machine.library import load_machine
from dosecalc.machine.model import spectrum_nodes
from dosecalc.photon.cones import CONE_SETS, Ring
from dosecalc.photon.kernel import collision_fraction, poly_kernel
from dosecalc.photon.tables import attenuation_table

FloatArray = NDArray[np.float64]

BOX_CM = np.array([15.0, 15.0, 30.0])  # half, half, depth
DEPTHS_CM = (1.55, 3.05, 5.05, 10.05, 15.05, 20.05, 25.05)
#: places in the field, in halves of its side; places off its edge, cm
INSIDE = ((0, 0), (0.3, 0), (0.6, 0), (0.75, 0), (0.5, 0.5), (0.7, 0.35))
OFF_CM = np.array([-0.5, -0.35, -0.2, -0.1, 0.0, 0.1, 0.2, 0.35, 0.5, 0.8, 1.5, 3.0])
#: of these, the ones that count as penumbra; the rest is outside
PENUMBRA = slice(0, 9)
#: and the ones between which its width is sought: where scatter alone reaches 20 % there is no width to speak of
WIDTH = slice(0, 10)
#: machine, half the field's side in cm, rotation in degrees
FIELDS = (
    ("generic-6mv-millennium120", 1.5, 0.0), ("generic-6mv-millennium120", 2.5, 27.0),
    ("generic-6mv-millennium120", 5.0, 0.0), ("generic-6mv-millennium120", 10.0, 0.0),
    ("generic-15mv-millennium120", 1.5, 45.0), ("generic-15mv-millennium120", 5.0, 0.0),
)  # fmt: skip
#: a ring across the beam takes a multiple of 8, see `dosecalc.photon.cones`
ACROSS_DEG = (51.0, 129.0)
DEPTH_STEP_CM = 0.1


@dataclass(frozen=True, eq=False)
class Quality:
    """A spectrum's released energy by depth, and its kernels cumulated over angle and distance.

    Parameters
    ----------
    theta : float64 [n]
        Even angles.
    distance_cm : float64 [m]
    primary, scatter : float64 [n, m]
        Within the angle and the distance.
    kerma, scerma : float64 [k]
        At every `DEPTH_STEP_CM`.
    """

    theta: FloatArray
    distance_cm: FloatArray
    primary: FloatArray
    scatter: FloatArray
    kerma: FloatArray
    scerma: FloatArray


def quality(machine: str) -> Quality:
    """The first beam quality of a shipped machine."""
    energies, photons = spectrum_nodes(load_machine(machine).energies[0].spectrum)
    mu, _ = attenuation_table().coefficients("water", energies)
    fraction = collision_fraction(energies)
    kernel = poly_kernel(energies, photons * energies)
    released = photons * energies * mu * np.exp(-mu * np.arange(0, 35, DEPTH_STEP_CM)[:, None])
    theta = np.linspace(0, np.pi, 721)
    distance = np.concatenate(
        [np.arange(0, 1, 0.1), np.arange(1, 5, 0.2), np.arange(5, 15, 0.5), np.arange(15, 60.5, 1.0)]
    )
    tables = []
    for part in (kernel.primary, kernel.scatter):
        of_angle = PchipInterpolator(-kernel.cos_theta_edges, part, axis=0)(-np.cos(theta))
        tables.append(np.array([np.interp(distance, kernel.r_edges_cm, row) for row in of_angle]))
    kerma, scerma = (released * fraction).sum(1), (released * (1 - fraction)).sum(1)
    return Quality(theta, distance, tables[0], tables[1], kerma, scerma)


@njit(parallel=True, fastmath=True)
def _dose(points, directions, ring, primary, scatter, distance, kerma, scerma, step, half, box):
    out = np.zeros(len(points))
    for p in prange(len(points)):
        x0, y0, z0 = points[p]
        total = 0.0
        for c in range(len(directions)):
            dx, dy, dz = directions[c]
            r = ring[c]
            for k in range(len(distance) - 1):
                s = 0.5 * (distance[k] + distance[k + 1])
                x, y, z = x0 - s * dx, y0 - s * dy, z0 - s * dz
                if z < 0 or z > box[2] or abs(x) > box[0] or abs(y) > box[1]:
                    break
                if abs(x) > half or abs(y) > half:
                    continue
                i = int(z / step)
                f = z / step - i
                total += (kerma[i] * (1 - f) + kerma[i + 1] * f) * (primary[r, k + 1] - primary[r, k])
                total += (scerma[i] * (1 - f) + scerma[i + 1] * f) * (scatter[r, k + 1] - scatter[r, k])
        out[p] = total
    return out


def dose(of: Quality, rings: Sequence[Ring], points: FloatArray, half_cm: float, turn_deg: float) -> FloatArray:
    """Dose at points along the cones of some rings, turned about the beam."""
    edges = np.deg2rad([rings[0].theta_low_deg, *(ring.theta_high_deg for ring in rings)])
    primary, scatter = (
        np.diff([_row(table, of.theta, edge) for edge in edges], axis=0) for table in (of.primary, of.scatter)
    )
    directions, member = [], []
    for n, ring in enumerate(rings):
        # as the engine does: the mean direction of the energy that a cone takes up
        fine = np.linspace(edges[n], edges[n + 1], 33)
        energy = np.diff(np.interp(fine, of.theta, of.primary[:, -1] + of.scatter[:, -1]))
        middle = (fine[1:] + fine[:-1]) / 2
        width = np.sinc(1 / ring.cones)
        polar = math.atan2(width * float(energy @ np.sin(middle)), float(energy @ np.cos(middle)))
        azimuth = (np.arange(ring.cones) + 0.5) * 2 * np.pi / ring.cones + np.deg2rad(turn_deg)
        aside = math.sin(polar)
        directions.append(
            np.column_stack([aside * np.cos(azimuth), aside * np.sin(azimuth), np.full(ring.cones, math.cos(polar))])
        )
        member.append(np.full(ring.cones, n))
    counts = np.array([[ring.cones] for ring in rings])
    return np.asarray(_dose(
        points, np.concatenate(directions), np.concatenate(member), primary / counts, scatter / counts,
        of.distance_cm, of.kerma, of.scerma, DEPTH_STEP_CM, half_cm, BOX_CM,
    ))  # fmt: skip


def _row(table: FloatArray, theta: FloatArray, angle: float) -> FloatArray:
    at = angle / np.pi * (len(theta) - 1)
    low = min(int(at), len(theta) - 2)
    return np.asarray(table[low] * (low + 1 - at) + table[low + 1] * (at - low))


class Loss:
    """Fields and their doses along very many directions."""

    def __init__(self) -> None:
        qualities = {name: quality(name) for name, _, _ in FIELDS}
        edges = np.concatenate([np.arange(0, 12, 0.5), np.arange(12, 60, 1.0), np.arange(60, 181, 3.0)])
        dense = [Ring(a, b, 64 if a > 3 else 32) for a, b in pairwise(edges)]
        self._fields = []
        for name, half, turn in FIELDS:
            points = _points(half)
            reference = dose(qualities[name], dense, points, half, 0.0).reshape(len(DEPTHS_CM), -1)
            self._fields.append((qualities[name], half, turn, points, reference))

    def of(self, rings: Sequence[Ring]) -> float:
        """The loss of a set."""
        total = 0.0
        for of, half, turn, points, reference in self._fields:
            found = dose(of, rings, points, half, turn).reshape(reference.shape)
            off = 100 * (found - reference) / reference[:, :1]
            inside, beside = off[:, : len(INSIDE)], off[:, len(INSIDE) :]
            wider = _width_mm(found) - _width_mm(reference)
            total += (inside**2).mean() + 0.25 * np.sqrt((inside**4).mean()) + 0.25 * (inside[:, 0] ** 2).mean()
            total += 0.25 * (beside[:, PENUMBRA] ** 2).mean() + (beside[:, PENUMBRA.stop :] ** 2).mean()
            total += 0.02 * ((wider / 0.3) ** 2).mean()
        return float(np.sqrt(total / len(self._fields)))


def _points(half: float) -> FloatArray:
    at_depth = [(f * half, g * half) for f, g in INSIDE] + [(half + d, 0.13 * half) for d in OFF_CM]
    return np.array([(x, y, z) for z in DEPTHS_CM for x, y in at_depth])


def _width_mm(values: FloatArray) -> FloatArray:
    """20-80 % penumbra at each depth."""
    falling = values[:, len(INSIDE) :][:, WIDTH] / values[:, :1]
    levels = [[np.interp(-level, -row, OFF_CM[WIDTH]) for level in (0.8, 0.2)] for row in falling]
    return 10 * np.diff(levels, axis=1).ravel()


def anneal(loss: Loss, cones: int, count: int, steps: int, rng: np.random.Generator) -> tuple[float, list[Ring]]:
    """A set of at most so many cones, by shifting, splitting and joining rings, and moving cones between them."""
    current = _start(cones, count)
    at = loss.of(current)
    best = (at, current)
    for step in range(steps):
        tried = _changed(current, cones, rng)
        if tried is None:
            continue
        found = loss.of(tried)
        warmth = 0.04 * best[0] * (1 - step / steps)
        if found < at or rng.random() < np.exp((at - found) / max(warmth, 1e-9)):
            current, at = tried, found
            best = min(best, (at, current), key=lambda pair: pair[0])
    return best


def _start(cones: int, count: int) -> list[Ring]:
    """Rings that widen with the angle, cones by their solid angles."""
    edges = 180.0 * np.linspace(0, 1, count + 1) ** 1.7
    share = np.sqrt(-np.diff(np.cos(np.deg2rad(edges))))
    numbers = np.maximum(4, 8 * np.floor(cones * share / share.sum() / 8)).astype(int)
    return [Ring(float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], numbers, strict=True)]


def _changed(rings: list[Ring], cones: int, rng: np.random.Generator) -> list[Ring] | None:
    """A neighbour of a set; None where there is none of the kind that was drawn."""
    edges = np.array([ring.theta_high_deg for ring in rings])
    numbers = [ring.cones for ring in rings]
    kind, n = rng.random(), int(rng.integers(len(rings)))
    if kind < 0.55 and n < len(rings) - 1:
        low = edges[n - 1] if n else 0.0
        edges[n] = np.clip(edges[n] + 0.12 * rng.normal() * (edges[n + 1] - low), low + 1, edges[n + 1] - 1)
    elif kind < 0.8:
        to = int(rng.integers(len(rings)))
        numbers[n], numbers[to] = numbers[n] - 4, numbers[to] + 4
    elif kind < 0.87:
        numbers[n] += 4
    elif kind < 0.94 and numbers[n] >= 8:
        low, first = (edges[n - 1] if n else 0.0), numbers[n] // 8 * 4
        edges, numbers = np.insert(edges, n, (low + edges[n]) / 2), [*numbers[:n], first, *numbers[n:]]
        numbers[n + 1] -= first
    elif n < len(rings) - 1 and len(rings) > 6:
        edges = np.delete(edges, n)
        numbers[n : n + 2] = [numbers[n] + numbers[n + 1]]
    lows = [0.0, *np.round(edges[:-1], 1)]
    changed = [Ring(float(a), float(b), k) for a, b, k in zip(lows, np.round(edges, 1), numbers, strict=True)]
    return changed if _allowed(changed, cones) else None


def _allowed(rings: list[Ring], cones: int) -> bool:
    if sum(ring.cones for ring in rings) > cones or min(ring.cones for ring in rings) < 4:
        return False
    if min(ring.theta_high_deg - ring.theta_low_deg for ring in rings) < 1:
        return False
    middles = [(ring.theta_low_deg + ring.theta_high_deg) / 2 for ring in rings]
    across = [ring for ring, m in zip(rings, middles, strict=True) if ACROSS_DEG[0] < m < ACROSS_DEG[1]]
    return all(ring.cones % 8 == 0 for ring in across)


def main() -> None:
    """Anneal and print, or print the loss of the shipped sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cones", type=int, default=104)
    parser.add_argument("--rings", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shipped", action="store_true")
    args = parser.parse_args()
    loss = Loss()
    if args.shipped:
        for name, shipped in CONE_SETS.items():
            print(f"{name}: {sum(ring.cones for ring in shipped)} cones, loss {loss.of(shipped):.4f}")
        return
    found, rings = anneal(loss, args.cones, args.rings, args.steps, np.random.default_rng(args.seed))
    print(f"{sum(ring.cones for ring in rings)} cones, loss {found:.4f}")
    print(", ".join(f"({ring.theta_high_deg:g}, {ring.cones})" for ring in rings))


if __name__ == "__main__":
    main()
