"""Fluence of the head: jaws and leaves averaged over their motion, seen by a finite and an extra-focal source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dosecalc.errors import MachineError, PlanError
from dosecalc.geometry.frames import axial_from_patient, bld_from_patient
from dosecalc.machine.model import BackupJaws, Energy, Jaws, Machine, Mlc
from dosecalc.photon.blocks import block_view
from dosecalc.photon.collimation import (
    CLOSED_GAP_MM,
    Aperture,
    Collimators,
    apertures_of,
    collimators_of,
    jaw_profiles,
    mean_transmission,
    without_jaws,
)
from dosecalc.photon.extra_focal import SourceView, calibration_view, extra_focal_view
from dosecalc.photon.segments import View
from dosecalc.plan import Beam, ControlPoint, MlcGeometry

FloatArray = NDArray[np.float64]
#: ranges of x and y at the isocentre plane, mm
Box = tuple[tuple[float, float], tuple[float, float]]

#: share of a map's highest fluence below which it is neglected: about what jaws and leaves let through together
FLUENCE_CUTOFF = 1e-4
#: room beside the open box for what the focal spot and the extra-focal source blur over the edge
_BLUR_MM = 20.0
#: where a plan names its layers of leaves
_DEVICE_TAG = "(300A,00B8) RTBeamLimitingDeviceType"
#: transmission of jaws below which their profile in one plane says nothing about that in another
_LEAST_PROFILE = 1e-6


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
    blocks = block_view(beam, machine, energy, x_mm, y_mm)
    primary = _blurred(transmitted, collimators, apertures, (x_mm, y_mm), energy, machine.sad_mm) * horn
    primary *= blocks.primary
    if extra is None:
        return FluenceMap(primary * view.weight, x_mm, y_mm)
    source = SourceView(extra, machine.sad_mm)
    scattered = extra_focal_view(collimators, apertures, x_mm, y_mm, source) * blocks.extra_focal
    # the calibration field sets the scale: there both sources together give 1 on the axis
    calibration = (1 - extra.fraction) + extra.fraction * calibration_view(machine, energy, source)
    total = ((1 - extra.fraction) * primary + extra.fraction * scattered) / calibration
    return FluenceMap(total * view.weight, x_mm, y_mm)


def _blurred(
    transmitted: FloatArray,
    collimators: Collimators,
    apertures: tuple[Aperture, ...],
    axes_mm: tuple[FloatArray, FloatArray],
    energy: Energy,
    sad_mm: float,
) -> FloatArray:
    """Transmission as the focal spot sees it: every edge blurred by the spot's image through its own collimator.

    All is blurred as the leaves' edges are, and put right where jaws make the edge, in two ways of which the higher
    holds (docs/beam-model.md, section 3): by the jaws' profile blurred in their plane over that blurred in the leaves',
    which is right where leaves and jaws end together; and, for jaws at rest, as the product of what leaves and jaws let
    through by themselves, which is right where leaves are open behind the jaws.
    """
    pitch = float(axes_mm[0][1] - axes_mm[0][0])

    def pixels(plane_mm: float) -> float:
        return energy.primary_source.sigma_mm * (sad_mm - plane_mm) / plane_mm / pitch

    planes = collimators.jaw_planes_mm if collimators.along_is_x else collimators.jaw_planes_mm[::-1]
    if not collimators.layers:
        return np.asarray(gaussian_filter(transmitted, (pixels(planes[1]), pixels(planes[0])), mode="nearest"))
    leaves = pixels(collimators.leaf_plane_mm)
    profiles = jaw_profiles(collimators, apertures, *axes_mm)
    own, as_leaves = (
        [gaussian_filter(p, w, mode="nearest") for p, w in zip(profiles, widths, strict=True)]
        for widths in ((pixels(planes[0]), pixels(planes[1])), (leaves, leaves))
    )
    jaws = np.outer(own[1], own[0])
    by_ratio = gaussian_filter(transmitted, leaves, mode="nearest") * jaws
    by_ratio /= np.maximum(np.outer(as_leaves[1], as_leaves[0]), _LEAST_PROFILE)
    if not _jaws_rest(apertures):
        return np.asarray(by_ratio)
    alone = mean_transmission(collimators, without_jaws(apertures), *axes_mm)
    return np.asarray(np.maximum(by_ratio, gaussian_filter(alone, leaves, mode="nearest") * jaws))


def _jaws_rest(apertures: tuple[Aperture, ...]) -> bool:
    positions = np.array([(a.jaw_along_mm, a.jaw_across_mm) for a in apertures])
    return bool(np.ptp(positions, axis=(0, 2)).max() < 1e-3)


def _axes(beam: Beam, view: View, machine: Machine, energy: Energy, pitch_mm: float) -> tuple[FloatArray, FloatArray]:
    """Pixel centres that hold every place with some fluence, symmetric about the axis.

    Beside the open box there must be room for the blur, and where leaves are open behind a jaw or another layer that
    lets more through than is neglected, for that; where even everything closed lets more through, the map reaches as
    far as the beam.
    """
    reach = [0.0, 0.0]
    for s in view.segments:
        for cp in (s.start, s.end):
            layers = _leaf_boxes(beam, machine, cp)
            for axis, edges in enumerate(_open_box(beam, machine, cp)):
                jaw = machine.jaw_x if axis == 0 else machine.jaw_y
                leaky = len(layers) > 1 or (jaw is not None and jaw.transmission > FLUENCE_CUTOFF)
                behind = [edge for box in layers for edge in box[axis]] if leaky else []
                reach[axis] = max(reach[axis], *map(abs, (*edges, *behind)))
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
    if machine.second_mlc is not None and beam.second_mlc is not None:
        through *= machine.second_mlc.transmission
    return through


def _open_box(beam: Beam, machine: Machine, cp: ControlPoint) -> Box:
    """Where jaws (or, without them, the leaves of all layers) let fluence through: ranges of x and y."""
    layers = _leaf_boxes(beam, machine, cp)
    leaf_x, leaf_y = ((max(box[axis][0] for box in layers), min(box[axis][1] for box in layers)) for axis in (0, 1))
    return cp.jaw_x_mm or leaf_x, cp.jaw_y_mm or leaf_y


def _leaf_boxes(beam: Beam, machine: Machine, cp: ControlPoint) -> list[Box]:
    """Where each layer of leaves is open, behind jaws or not; without leaves everywhere that a beam reaches."""
    half = machine.sad_mm * 0.2
    layers = ((beam.mlc, cp.leaves_mm), (beam.second_mlc, cp.second_leaves_mm))
    boxes = [_leaf_box(mlc, leaves, half) for mlc, leaves in layers if mlc is not None and leaves is not None]
    return boxes or [((-half, half), (-half, half))]


def _leaf_box(mlc: MlcGeometry, leaves_mm: FloatArray, half_mm: float) -> Box:
    """Where one layer is open."""
    (pairs,) = np.nonzero(leaves_mm[:, 1] - leaves_mm[:, 0] > CLOSED_GAP_MM)
    if len(pairs) == 0:
        return (-half_mm, half_mm), (float(mlc.boundaries_mm[0]), float(mlc.boundaries_mm[-1]))
    tip = 5.0
    along = (float(leaves_mm[pairs, 0].min()) - tip, float(leaves_mm[pairs, 1].max()) + tip)
    across = (float(mlc.boundaries_mm[pairs[0]]), float(mlc.boundaries_mm[pairs[-1] + 1]))
    return (along, across) if mlc.axis == "X" else (across, along)


def largest_tilt(beam: Beam, view: View, machine: Machine) -> float:
    """Largest |x| or |y| over SAD, in the axial frame, that the open part of a view's field reaches."""
    reach = 0.0
    bld = bld_from_patient(view.gantry_deg, view.collimator_deg, view.couch_deg, beam.patient_position)
    gantry = bld_from_patient(view.gantry_deg, 0.0, view.couch_deg, beam.patient_position)
    turn = (axial_from_patient(gantry) @ bld.T)[:2, :2]
    for s in view.segments:
        for cp in (s.start, s.end):
            x, y = _open_box(beam, machine, cp)
            corners = np.array([(a, b) for a in x for b in y])
            reach = max(reach, float(np.abs(corners @ turn.T).max()))
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
    _check_layers(beam, machine)
    for model, geometry in ((machine.mlc, beam.mlc), (machine.second_mlc, beam.second_mlc)):
        if geometry is not None and not _same_leaves(model, geometry):
            widths = np.unique(np.round(np.diff(geometry.boundaries_mm), 2))
            raise MachineError(
                "MLC_MISMATCH",
                f"Beam {beam.label} has {geometry.n_pairs} leaf pairs along {geometry.axis} of "
                f"{', '.join(f'{w:g}' for w in widths[:4])} mm; {machine.name} has "
                f"{f'{len(model.boundaries_mm) - 1} along {model.axis} ({model.name})' if model else 'no MLC'}. "
                "Map the beam to a model of its machine.",
                beam=beam.label,
            )


def _check_layers(beam: Beam, machine: Machine) -> None:
    """As many layers of leaves in the beam as in the machine."""
    if machine.second_mlc is not None and beam.second_mlc is None:
        raise MachineError(
            "MLC_LAYERS_MISMATCH",
            f"{machine.name} has two layers of leaves, beam {beam.label} describes one; export the plan with both "
            "(MLCX1 and MLCX2), or map the beam to a model of its machine.",
            beam=beam.label,
            tag=_DEVICE_TAG,
        )
    if machine.second_mlc is None and machine.mlc is not None and beam.second_mlc is not None:
        raise MachineError(
            "MLC_MISMATCH",
            f"Beam {beam.label} has two layers of leaves (MLCX1 and MLCX2), {machine.name} one ({machine.mlc.name}). "
            "Map the beam to a model of its machine, one with a second_mlc.",
            beam=beam.label,
            tag=_DEVICE_TAG,
        )


def _same_leaves(model: Mlc | None, geometry: MlcGeometry) -> bool:
    return (
        model is not None
        and model.axis == geometry.axis
        and len(model.boundaries_mm) == len(geometry.boundaries_mm)
        and bool(np.abs(np.array(model.boundaries_mm) - geometry.boundaries_mm).max() < 0.6)
    )
