"""Fluence of the head: jaws and leaves averaged over their motion, seen by a finite and an extra-focal source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dosecalc.errors import MachineError, PlanError
from dosecalc.machine.model import BackupJaws, Energy, Jaws, Machine
from dosecalc.photon.blocks import block_view
from dosecalc.photon.collimation import (
    CLOSED_GAP_MM,
    Aperture,
    Collimators,
    apertures_of,
    collimators_of,
    mean_transmission,
)
from dosecalc.photon.extra_focal import SourceView, calibration_view, extra_focal_view
from dosecalc.photon.segments import View
from dosecalc.plan import Beam, ControlPoint

FloatArray = NDArray[np.float64]
#: ranges of x and y at the isocentre plane, mm
Box = tuple[tuple[float, float], tuple[float, float]]

#: share of a map's highest fluence below which it is neglected: about what jaws and leaves let through together
FLUENCE_CUTOFF = 1e-4
#: room beside the open box for what the focal spot and the extra-focal source blur over the edge
_BLUR_MM = 20.0


@dataclass(frozen=True, eq=False)
class FluenceMap:
    """Photon fluence at the isocentre plane relative to the axis of the open calibration field.

    Parameters
    ----------
    values : float64 [ny, nx]
        Mean over each pixel, per unit of meterset share; relative to isotropic emission.
    x_mm, y_mm : float64 [nx], [ny]
        Pixel centres in BLD coordinates, even.
    """

    values: FloatArray
    x_mm: FloatArray
    y_mm: FloatArray

    @property
    def pitch_mm(self) -> float:
        """Side of a pixel, mm."""
        return float(self.x_mm[1] - self.x_mm[0])

    def integral(self) -> FloatArray:
        """Integral image, float64 [ny + 1, nx + 1], in pixels: what lies below and left of each pixel corner."""
        return np.pad(self.values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def fluence_map(beam: Beam, view: View, machine: Machine, energy: Energy, pitch_mm: float) -> FluenceMap:
    """Fluence of a view: aperture, transmission, blocks, focal spot, extra-focal source and off-axis profile.

    Wedge plates are not in it, for they change the spectrum too: see `dosecalc.photon.modifiers.modified_maps`.
    """
    x_mm, y_mm = _axes(beam, view, machine, energy, pitch_mm)
    collimators, apertures = collimators_of(beam, machine, energy), apertures_of(beam, view, machine, energy)
    transmitted = mean_transmission(collimators, apertures, x_mm, y_mm)
    extra = energy.extra_focal
    off_axis = energy.off_axis
    radius = np.hypot(x_mm[None, :], y_mm[:, None])
    horn = np.interp(radius, off_axis.radius_mm, off_axis.relative_fluence)
    spot = _spot_mm(collimators, apertures, energy, machine.sad_mm)
    blocks = block_view(beam, machine, energy, x_mm, y_mm)
    primary = gaussian_filter(transmitted, (spot[1] / pitch_mm, spot[0] / pitch_mm), mode="nearest") * horn
    primary *= blocks.primary
    if extra is None:
        return FluenceMap(primary * view.weight, x_mm, y_mm)
    source = SourceView(extra, machine.sad_mm)
    scattered = extra_focal_view(collimators, apertures, x_mm, y_mm, source) * blocks.extra_focal
    # the calibration field sets the scale: there both sources together give 1 on the axis
    calibration = (1 - extra.fraction) + extra.fraction * calibration_view(machine, energy, source)
    total = ((1 - extra.fraction) * primary + extra.fraction * scattered) / calibration
    return FluenceMap(total * view.weight, x_mm, y_mm)


def _spot_mm(
    collimators: Collimators, apertures: tuple[Aperture, ...], energy: Energy, sad_mm: float
) -> tuple[float, float]:
    """Width of the focal spot's image along x and y: seen through the plane of what bounds the field there.

    Along an axis on which the leaves are open beyond the jaws all the time, these are the jaws; else the leaves.
    """
    widths = []
    for jaws_bound, plane in zip(_bound_by_jaws(collimators, apertures), collimators.jaw_planes_mm, strict=True):
        edge = plane if jaws_bound else collimators.leaf_plane_mm
        widths.append(energy.primary_source.sigma_mm * (sad_mm - edge) / edge)
    return (widths[0], widths[1]) if collimators.along_is_x else (widths[1], widths[0])


def _bound_by_jaws(collimators: Collimators, apertures: tuple[Aperture, ...]) -> tuple[bool, bool]:
    """Whether the jaws bound the field along and across the leaves."""
    along = across = True
    for a in apertures:
        for layer, leaves in zip(collimators.layers, a.leaves_mm, strict=True):
            (pairs,) = np.nonzero((leaves[:, :, 1] - leaves[:, :, 0]).max(0) > CLOSED_GAP_MM)
            if len(pairs) == 0:
                return False, False
            # what lies behind the jaws across the leaves bounds nothing
            middles = (layer.boundaries_mm[1:] + layer.boundaries_mm[:-1])[pairs] / 2
            seen = pairs[(middles > a.jaw_across_mm.min()) & (middles < a.jaw_across_mm.max())]
            inner = leaves[:, seen]
            along &= bool((a.jaw_along_mm[:, 0] >= inner[:, :, 0].T).all())
            along &= bool((a.jaw_along_mm[:, 1] <= inner[:, :, 1].T).all())
            across &= bool(layer.boundaries_mm[pairs[0]] <= a.jaw_across_mm[:, 0].min())
            across &= bool(layer.boundaries_mm[pairs[-1] + 1] >= a.jaw_across_mm[:, 1].max())
    return along, across


def _axes(beam: Beam, view: View, machine: Machine, energy: Energy, pitch_mm: float) -> tuple[FloatArray, FloatArray]:
    """Pixel centres that hold every place with some fluence, symmetric about the axis.

    Beside the open box there must be room for the blur, and where leaves are open behind a jaw that lets more through
    than is neglected, for that; where even everything closed lets more through, the map reaches as far as the beam.
    """
    reach = [0.0, 0.0]
    for s in view.segments:
        for cp in (s.start, s.end):
            leaves = _leaf_box(beam, machine, cp)
            for axis, edges in enumerate(_open_box(beam, machine, cp)):
                jaw = machine.jaw_x if axis == 0 else machine.jaw_y
                leaky = jaw is not None and jaw.transmission > FLUENCE_CUTOFF
                reach[axis] = max(reach[axis], *map(abs, (*edges, *(leaves[axis] if leaky else ()))))
    widest = max(energy.off_axis.radius_mm[-1], 150.0)
    pixels = []
    for axis in (0, 1):
        leaks = _behind_closed(beam, machine, view, "xy"[axis]) > FLUENCE_CUTOFF
        half = widest if leaks else min(reach[axis], widest) + _BLUR_MM
        n = int(np.ceil(half / pitch_mm))
        pixels.append(np.asarray((np.arange(2 * n) + 0.5 - n) * pitch_mm, np.float64))
    return pixels[0], pixels[1]


def _behind_closed(beam: Beam, machine: Machine, view: View, axis: str) -> float:
    """Transmission beside the open box along an axis: through a jaw where there is one, and through leaves."""
    jaw: Jaws | BackupJaws | None = getattr(machine, f"jaw_{axis}")
    jawed = jaw is not None and getattr(view.segments[0].start, f"jaw_{axis}_mm") is not None
    leafed = machine.mlc is not None and beam.mlc is not None
    if jaw is None and machine.mlc is not None and leafed and machine.mlc.axis.lower() == axis:
        jaw, jawed = machine.backup_jaws, machine.backup_jaws is not None
    through = 1.0
    if jaw is not None and jawed:
        through *= jaw.transmission
    if machine.mlc is not None and leafed:
        through *= machine.mlc.transmission
    return through


def _open_box(beam: Beam, machine: Machine, cp: ControlPoint) -> Box:
    """Where jaws (or, without them, the leaves) let fluence through: ranges of x and y."""
    leaf_x, leaf_y = _leaf_box(beam, machine, cp)
    return cp.jaw_x_mm or leaf_x, cp.jaw_y_mm or leaf_y


def _leaf_box(beam: Beam, machine: Machine, cp: ControlPoint) -> Box:
    """Where the leaves are open, behind jaws or not; without leaves everywhere that a beam reaches."""
    half = machine.sad_mm * 0.2
    if cp.leaves_mm is None or beam.mlc is None:
        return (-half, half), (-half, half)
    (pairs,) = np.nonzero(cp.leaves_mm[:, 1] - cp.leaves_mm[:, 0] > CLOSED_GAP_MM)
    if len(pairs) == 0:
        return (-half, half), (float(beam.mlc.boundaries_mm[0]), float(beam.mlc.boundaries_mm[-1]))
    tip = 5.0
    along = (float(cp.leaves_mm[pairs, 0].min()) - tip, float(cp.leaves_mm[pairs, 1].max()) + tip)
    across = (float(beam.mlc.boundaries_mm[pairs[0]]), float(beam.mlc.boundaries_mm[pairs[-1] + 1]))
    return (along, across) if beam.mlc.axis == "X" else (across, along)


def largest_tilt(beam: Beam, view: View, machine: Machine) -> float:
    """Largest |x| or |y| over SAD, in the gantry frame, that the open part of a view's field reaches."""
    reach = 0.0
    angle = np.deg2rad(view.collimator_deg)
    for s in view.segments:
        for cp in (s.start, s.end):
            x, y = _open_box(beam, machine, cp)
            corners = np.array([(a, b) for a in x for b in y])
            reach = max(
                reach,
                float(np.abs(corners @ (np.cos(angle), -np.sin(angle))).max()),
                float(np.abs(corners @ (np.sin(angle), np.cos(angle))).max()),
            )
    return reach / machine.sad_mm


def check_geometry(beam: Beam, machine: Machine) -> None:
    """Refuse a beam whose collimators are not the machine's.

    Raises
    ------
    MachineError
        ``SAD_MISMATCH``, ``MLC_MISMATCH``, ``JAW_MISMATCH``, naming the beam.
    PlanError
        ``JAW_OUT_OF_RANGE``, ``LEAF_OUT_OF_RANGE``, naming beam and control point.
    """
    if abs(beam.sad_mm - machine.sad_mm) > 1.0:
        raise MachineError(
            "SAD_MISMATCH",
            f"Beam {beam.label} has a source-axis distance of {beam.sad_mm:g} mm, "
            f"{machine.name} {machine.sad_mm:g} mm.",
            beam=beam.label,
        )
    _check_mlc(beam, machine)
    for which, model in (("jaw_x_mm", machine.jaw_x), ("jaw_y_mm", machine.jaw_y)):
        for cp in beam.control_points:
            jaw = getattr(cp, which)
            if jaw is None:
                continue
            if model is None:
                if _wide_open(jaw, cp, beam, which):
                    continue
                raise MachineError(
                    "JAW_MISMATCH",
                    f"Beam {beam.label} closes {which[:5].replace('_', ' ')}, which {machine.name} does not have; "
                    "map the beam to a model of its machine.",
                    beam=beam.label,
                    control_point=cp.index,
                )
            if jaw[0] < model.limits_mm[0] - 5 or jaw[1] > model.limits_mm[1] + 5:
                raise PlanError(
                    "JAW_OUT_OF_RANGE",
                    f"Beam {beam.label} opens {which[:5].replace('_', ' ')} to {jaw[0]:g}..{jaw[1]:g} mm; "
                    f"{machine.name} reaches {model.limits_mm[0]:g}..{model.limits_mm[1]:g} mm.",
                    beam=beam.label,
                    control_point=cp.index,
                )


def _wide_open(jaw: tuple[float, float], cp: ControlPoint, beam: Beam, which: str) -> bool:
    """A jaw that stands behind every leaf changes nothing, whether or not it exists."""
    if beam.mlc is None or cp.leaves_mm is None:
        return False
    along = which == f"jaw_{beam.mlc.axis.lower()}_mm"
    if along:
        return bool(jaw[0] <= cp.leaves_mm[:, 0].min() + 0.5 and jaw[1] >= cp.leaves_mm[:, 1].max() - 0.5)
    return bool(jaw[0] <= beam.mlc.boundaries_mm[0] + 0.5 and jaw[1] >= beam.mlc.boundaries_mm[-1] - 0.5)


def _check_mlc(beam: Beam, machine: Machine) -> None:
    if beam.mlc is None:
        if beam.control_points[0].jaw_x_mm is None and beam.control_points[0].jaw_y_mm is None:
            raise PlanError("APERTURE_MISSING", f"Beam {beam.label} has neither jaws nor an MLC.", beam=beam.label)
        return
    model = machine.mlc
    same = (
        model is not None
        and model.axis == beam.mlc.axis
        and len(model.boundaries_mm) == len(beam.mlc.boundaries_mm)
        and np.abs(np.array(model.boundaries_mm) - beam.mlc.boundaries_mm).max() < 0.6
    )
    if not same:
        widths = np.unique(np.round(np.diff(beam.mlc.boundaries_mm), 2))
        raise MachineError(
            "MLC_MISMATCH",
            f"Beam {beam.label} has {beam.mlc.n_pairs} leaf pairs along {beam.mlc.axis} of "
            f"{', '.join(f'{w:g}' for w in widths[:4])} mm; {machine.name} has "
            f"{f'{len(model.boundaries_mm) - 1} along {model.axis} ({model.name})' if model else 'no MLC'}. "
            "Map the beam to a model of its machine.",
            beam=beam.label,
        )
