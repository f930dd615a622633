"""Fluence of the head: jaws and leaves averaged over their motion, seen by a finite and an extra-focal source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from dosecalc.errors import MachineError, PlanError
from dosecalc.machine.model import Energy, ExtraFocalSource, Machine
from dosecalc.photon.segments import Segment, View
from dosecalc.plan import Beam, ControlPoint
from dosecalc_kernels.cpu.fluence import add_aperture

FloatArray = NDArray[np.float64]
#: ranges of x and y at the isocentre plane, mm
Box = tuple[tuple[float, float], tuple[float, float]]

#: share of a map's highest fluence below which it is neglected: about what jaws and leaves let through together
FLUENCE_CUTOFF = 1e-4
#: room beside the open box for what the focal spot and the extra-focal source blur over the edge
_BLUR_MM = 20.0
#: sample points across a pixel, in each direction, for leaf edges between pixel boundaries
_SUBSAMPLES = 4


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
    """Fluence of a view: aperture, transmission, focal spot, extra-focal source and off-axis profile.

    Raises
    ------
    PlanError
        ``LEAF_PAIR_MISMATCH`` when the plan's leaves are not the machine's; ``JAW_OUT_OF_RANGE``.
    """
    x_mm, y_mm = _axes(beam, view, machine, energy, pitch_mm)
    transmitted = _transmission(beam, view, machine, x_mm, y_mm)
    weight = view.weight
    extra = energy.extra_focal
    off_axis = energy.off_axis
    radius = np.hypot(x_mm[None, :], y_mm[:, None])
    horn = np.interp(radius, off_axis.radius_mm, off_axis.relative_fluence)
    primary = gaussian_filter(transmitted, _spot_pixels(energy, machine, pitch_mm), mode="nearest") * horn
    if extra is None:
        return FluenceMap(primary * weight, x_mm, y_mm)
    scattered = _extra_focal(transmitted, x_mm, y_mm, extra, machine.sad_mm)
    # the calibration field sets the scale: there both sources together give 1 on the axis
    calibration = (1 - extra.fraction) + extra.fraction * _extra_focal_square(
        extra, machine.sad_mm, energy.calibration.field_mm
    )
    total = ((1 - extra.fraction) * primary + extra.fraction * scattered) / calibration
    return FluenceMap(total * weight, x_mm, y_mm)


def _spot_pixels(energy: Energy, machine: Machine, pitch_mm: float) -> float:
    """Blur of the focal spot at the isocentre plane, in pixels: the spot seen through the field-defining plane."""
    plane = energy.extra_focal.collimator_distance_mm if energy.extra_focal else 0.5 * machine.sad_mm
    return energy.primary_source.sigma_mm * (machine.sad_mm - plane) / plane / pitch_mm


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
    jaw = getattr(machine, f"jaw_{axis}")
    jawed = jaw is not None and getattr(view.segments[0].start, f"jaw_{axis}_mm") is not None
    leaves = machine.mlc.transmission if machine.mlc is not None and beam.mlc is not None else 1.0
    return (jaw.transmission if jawed else 1.0) * leaves


def _open_box(beam: Beam, machine: Machine, cp: ControlPoint) -> Box:
    """Where jaws (or, without them, the leaves) let fluence through: ranges of x and y."""
    leaf_x, leaf_y = _leaf_box(beam, machine, cp)
    return cp.jaw_x_mm or leaf_x, cp.jaw_y_mm or leaf_y


def _leaf_box(beam: Beam, machine: Machine, cp: ControlPoint) -> Box:
    """Where the leaves are open, behind jaws or not; without leaves everywhere that a beam reaches."""
    half = machine.sad_mm * 0.2
    if cp.leaves_mm is None or beam.mlc is None:
        return (-half, half), (-half, half)
    (pairs,) = np.nonzero(cp.leaves_mm[:, 1] - cp.leaves_mm[:, 0] > 0.01)
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


def _transmission(beam: Beam, view: View, machine: Machine, x_mm: FloatArray, y_mm: FloatArray) -> FloatArray:
    """Mean transmission of jaws and leaves over the view's meterset, float64 [ny, nx]."""
    along_is_x = beam.mlc is None or beam.mlc.axis == "X"
    along, across = (x_mm, y_mm) if along_is_x else (y_mm, x_mm)
    fine_along, fine_across = _fine(along), _fine(across)
    shape = (len(fine_across), len(fine_along))
    leaf, jaw, both = (np.zeros(shape) for _ in range(3))
    pairs = _pair_of_row(beam, fine_across)
    tip = machine.mlc.tip_offset_mm if machine.mlc else 0.0
    total = view.weight
    for s in view.segments:
        start, end = _state(beam, s, s.from_share), _state(beam, s, s.to_share)
        jaw_x = _jaw(s, "jaw_x_mm")
        jaw_y = _jaw(s, "jaw_y_mm")
        jaw_along, jaw_across = (jaw_x, jaw_y) if along_is_x else (jaw_y, jaw_x)
        offset = np.array([-tip, tip])
        add_aperture(
            leaf, jaw, both, fine_along, fine_across, pairs,
            start + offset, end + offset, jaw_along, jaw_across, s.weight / total,
        )  # fmt: skip
    leaf, jaw, both = (_coarse(m) for m in (leaf, jaw, both))
    t_leaf = machine.mlc.transmission if machine.mlc and beam.mlc is not None else 0.0
    jaws = [j.transmission for j in (machine.jaw_x, machine.jaw_y) if j is not None]
    t_jaw = max(jaws) if jaws else 0.0
    out = both + t_leaf * (jaw - both) + t_jaw * (leaf - both) + t_jaw * t_leaf * (1 - jaw - leaf + both)
    return out if along_is_x else np.ascontiguousarray(out.T)


def _fine(centres: FloatArray) -> FloatArray:
    pitch = centres[1] - centres[0]
    offsets = ((np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5) * pitch
    return np.asarray(centres[:, None] + offsets).ravel()


def _coarse(fine: FloatArray) -> FloatArray:
    ny, nx = (n // _SUBSAMPLES for n in fine.shape)
    return np.asarray(fine.reshape(ny, _SUBSAMPLES, nx, _SUBSAMPLES).mean((1, 3)))


def _pair_of_row(beam: Beam, across_mm: FloatArray) -> NDArray[np.int64]:
    """Leaf pair at each place across the leaves; -1 beyond the last leaf. Without an MLC one pair, always open."""
    if beam.mlc is None:
        return np.zeros(len(across_mm), np.int64)
    i = np.searchsorted(beam.mlc.boundaries_mm, across_mm, side="right") - 1
    return np.where((i >= 0) & (i < beam.mlc.n_pairs), i, -1).astype(np.int64)


def _state(beam: Beam, segment: Segment, share: float) -> FloatArray:
    """Leaf positions on the way from start to end, float64 [pairs, 2]."""
    a, b = segment.start.leaves_mm, segment.end.leaves_mm
    if beam.mlc is None or a is None or b is None:
        return np.array([[-np.inf, np.inf]]) if beam.mlc is None else np.tile([-1e6, 1e6], (beam.mlc.n_pairs, 1))
    return np.asarray(a + (b - a) * share)


def _jaw(segment: Segment, which: str) -> FloatArray:
    """Jaw edges at both ends of the segment, float64 [2, 2]; infinite where there is no jaw."""
    a, b = getattr(segment.start, which), getattr(segment.end, which)
    if a is None or b is None:
        return np.array([[-1e6, 1e6], [-1e6, 1e6]])
    a, b = np.array(a), np.array(b)
    return np.array([a + (b - a) * segment.from_share, a + (b - a) * segment.to_share])


def _extra_focal(
    transmitted: FloatArray, x_mm: FloatArray, y_mm: FloatArray, source: ExtraFocalSource, sad_mm: float
) -> FloatArray:
    """Share of the extra-focal source that each point sees through the aperture (physics manual, eq. 2.6)."""
    sigma, magnification = _extra_focal_view(source, sad_mm)
    pitch = float(x_mm[1] - x_mm[0])
    # coarser pixels: the source is centimetres wide
    blurred = gaussian_filter(transmitted, sigma / pitch, mode="constant", truncate=3.5)
    rows = (y_mm * magnification - y_mm[0]) / pitch
    columns = (x_mm * magnification - x_mm[0]) / pitch
    return np.asarray(map_coordinates(blurred, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"))


def _extra_focal_view(source: ExtraFocalSource, sad_mm: float) -> tuple[float, float]:
    """Width of the source's image in the aperture (isocentre scale, mm), and how its centre follows the point."""
    d_s, d_c = source.distance_mm, source.collimator_distance_mm
    g = (sad_mm - d_s) / (sad_mm - d_c)
    sigma = source.sigma_mm / g * sad_mm / d_c
    return sigma, (g - 1) / g * sad_mm / d_c


def _extra_focal_square(source: ExtraFocalSource, sad_mm: float, side_mm: float) -> float:
    """Share of the source seen from the isocentre through a square field."""
    from scipy.special import erf

    sigma, _ = _extra_focal_view(source, sad_mm)
    return float(erf(side_mm / 2 / (np.sqrt(2) * sigma)) ** 2)


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
