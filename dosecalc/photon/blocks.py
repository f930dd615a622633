"""Blocks and the tray that carries them, as transmission at the isocentre plane (docs/modifiers.md, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from shapely.geometry.polygon import orient

from dosecalc.errors import MachineError
from dosecalc.machine.accessories import ByEnergy, Tray
from dosecalc.machine.model import Energy, Machine
from dosecalc.plan import Beam
from dosecalc.plan.accessories import Block
from dosecalc_kernels.cpu.rasterise import polygon_coverage

FloatArray = NDArray[np.float64]

#: a plan and a machine model that state a tray's transmission may differ by rounding to two digits
_SAME_FACTOR = 0.005


@dataclass(frozen=True, eq=False)
class BlockView:
    """Mean transmission of a beam's blocks and tray over each pixel, float64 [ny, nx]; 1 where there is neither.

    Parameters
    ----------
    primary : FloatArray or float
        As the focal spot is seen.
    extra_focal : FloatArray or float
        As the extra-focal source is seen.
    """

    primary: FloatArray | float
    extra_focal: FloatArray | float


def block_view(beam: Beam, machine: Machine, energy: Energy, x_mm: FloatArray, y_mm: FloatArray) -> BlockView:
    """What a beam's blocks and tray let through of both sources.

    Parameters
    ----------
    beam : Beam
    machine : Machine
    energy : Energy
    x_mm, y_mm : float64 [nx], [ny]
        Pixel centres at the isocentre plane, BLD frame, even and of one pitch.

    Raises
    ------
    MachineError
        Those of `tray_transmission`.

    Notes
    -----
    Docs/modifiers.md, eqs. (4.1) to (4.3).
    """
    tray = tray_transmission(beam, machine, energy)
    if not beam.accessories.blocks:
        return BlockView(tray, tray)
    sharp = block_transmission(beam.accessories.blocks, x_mm, y_mm)
    plane = _plane_mm(beam, machine, energy)
    pitch = float(x_mm[1] - x_mm[0])
    spot = energy.primary_source.sigma_mm * (machine.sad_mm - plane) / plane
    primary = gaussian_filter(sharp, spot / pitch, mode="nearest") * tray
    source = energy.extra_focal
    if source is None:
        return BlockView(primary, primary)
    g = (machine.sad_mm - source.distance_mm) / (machine.sad_mm - plane)
    scale = machine.sad_mm / (g * plane)
    blurred = gaussian_filter(sharp, source.sigma_mm * scale / pitch, mode="nearest")
    rows, columns = (((g - 1) * scale * v - v[0]) / pitch for v in (y_mm, x_mm))
    seen = map_coordinates(blurred, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")
    return BlockView(primary, seen * tray)


def _plane_mm(beam: Beam, machine: Machine, energy: Energy) -> float:
    """Where the blocks are: by the plan, by the tray of the model, else as near as the collimators."""
    for block in beam.accessories.blocks:
        if block.tray_distance_mm is not None and 0 < block.tray_distance_mm < machine.sad_mm:
            return block.tray_distance_mm
        tray = _tray_of(block.tray, beam, machine) if block.tray else None
        if tray is not None and tray.distance_mm is not None:
            return tray.distance_mm
    return energy.extra_focal.collimator_distance_mm if energy.extra_focal else 0.5 * machine.sad_mm


def block_transmission(blocks: Sequence[Block], x_mm: FloatArray, y_mm: FloatArray) -> FloatArray:
    """Mean transmission of blocks over each pixel for a point source, float64 [ny, nx]."""
    shielded = np.ones((len(y_mm), len(x_mm)))
    for transmission in {b.transmission for b in blocks if b.kind == "SHIELDING"}:
        # blocks of one material are united, so that two that touch leave no seam and an overlap counts once
        outlines = [_polygon(b) for b in blocks if b.kind == "SHIELDING" and b.transmission == transmission]
        covered = _coverage(shapely.union_all(outlines), x_mm, y_mm)
        shielded = np.minimum(shielded, 1 - (1 - transmission) * covered)
    for block in blocks:
        if block.kind == "APERTURE":
            opening = _coverage(_polygon(block), x_mm, y_mm)
            shielded = shielded * (block.transmission + (1 - block.transmission) * opening)
    return shielded


def tray_transmission(beam: Beam, machine: Machine, energy: Energy) -> float:
    """Transmission of a beam's block trays together.

    The machine model's tray of the plan's tray ID; without one, the factor that the plan states.

    Raises
    ------
    MachineError
        ``TRAY_UNKNOWN`` when blocks lie on a tray whose transmission is known to nobody; ``TRAY_MISMATCH`` when plan
        and model differ; ``TRAY_AMBIGUOUS`` when several trays of the model answer to one ID.
    """
    stated = beam.accessories.block_tray_factor
    ids = sorted({b.tray for b in beam.accessories.blocks if b.tray})
    trays = [tray for tray in (_tray_of(name, beam, machine) for name in ids) if tray is not None]
    if not trays:
        # planning systems write 1 for what they do not know, so with a tray it is no statement
        if ids and (stated is None or stated == 1.0):
            raise MachineError(
                "TRAY_UNKNOWN",
                f"Beam {beam.label} has blocks on the tray {', '.join(map(repr, ids))}, of which neither the plan nor "
                f"{machine.name} knows the transmission; add it to the machine model.",
                beam=beam.label,
            )
        return 1.0 if stated is None else stated
    found = 1.0
    for tray in trays:
        found *= _of_energy(tray, beam, machine, energy)
    if stated is not None and stated != 1.0 and abs(stated - found) > _SAME_FACTOR:
        raise MachineError(
            "TRAY_MISMATCH",
            f"Beam {beam.label} states a tray transmission of {stated:g}, {machine.name} one of {found:g} for "
            f"{', '.join(t.name for t in trays)}; correct one or the other.",
            beam=beam.label,
        )
    return found


def _tray_of(name: str, beam: Beam, machine: Machine) -> Tray | None:
    fitting = [t for t in machine.accessories.trays if any(fnmatchcase(name, pattern) for pattern in t.ids)]
    if len(fitting) > 1:
        raise MachineError(
            "TRAY_AMBIGUOUS",
            f"Beam {beam.label}: {len(fitting)} trays of {machine.name} answer to {name!r}; make their ids distinct.",
            beam=beam.label,
        )
    return fitting[0] if fitting else None


def _of_energy(tray: Tray, beam: Beam, machine: Machine, energy: Energy) -> float:
    value = value_of(tray.transmission, energy)
    if value is None:
        raise MachineError(
            "TRAY_UNKNOWN",
            f"Beam {beam.label}: {machine.name} gives no transmission of the tray {tray.name!r} for "
            f"{energy.nominal_mv:g} MV {energy.fluence_mode}; add it to the machine model.",
            beam=beam.label,
        )
    return value


def value_of(table: Iterable[ByEnergy], energy: Energy) -> float | None:
    """The entry of a beam quality, None when there is none."""
    for entry in table:
        if abs(entry.nominal_mv - energy.nominal_mv) < 0.05 and entry.fluence_mode == energy.fluence_mode:
            return entry.value
    return None


def _polygon(block: Block) -> shapely.Polygon:
    return shapely.Polygon(block.outline_mm)


def _coverage(area: shapely.Geometry, x_mm: FloatArray, y_mm: FloatArray) -> FloatArray:
    """Share of each pixel that an area covers."""
    pitch = x_mm[1] - x_mm[0]
    corner = np.array([x_mm[0], y_mm[0]]) - pitch / 2
    rings: list[FloatArray] = []
    for part in shapely.get_parts(area):
        if part.geom_type == "Polygon":
            turned = orient(part)
            rings += [np.asarray(ring.coords)[:-1, :2] for ring in (turned.exterior, *turned.interiors)]
    if not rings:
        return np.zeros((len(y_mm), len(x_mm)))
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rings])]).astype(np.int64)
    xy = np.ascontiguousarray((np.concatenate(rings) - corner) / pitch)
    return np.clip(polygon_coverage(xy, offsets, len(y_mm), len(x_mm)), 0.0, 1.0)
