"""Fluence of the head: jaws and leaves averaged over their motion, seen by a finite and an extra-focal source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import MachineError, PlanError
from dosecalc.machine.model import Energy, Machine, Mlc, OffAxis
from dosecalc.photon.blocks import BlockView, block_view
from dosecalc.photon.collimation import Motion, apertures_of, collimators_of
from dosecalc.photon.constants import Constants
from dosecalc.photon.extra_focal import SourceView, calibration_view, extra_focal_view
from dosecalc.photon.field_box import FieldBoxes
from dosecalc.photon.segments import View
from dosecalc.photon.transmission import Axis, blur, blurred_share, columns_of, jaw_profile, of_rows, rows_of
from dosecalc.plan import Beam, ControlPoint, MlcGeometry
from dosecalc_kernels.registry import Backend, backend

FloatArray = NDArray[np.float64]

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
        Mean over each pixel, per unit of meterset share; relative to isotropic emission. On the device that it was
        made on.
    x_mm, y_mm : float64 [nx], [ny]
        Pixel centres in BLD coordinates, even.
    """

    values: Any
    x_mm: FloatArray
    y_mm: FloatArray

    @property
    def pitch_mm(self) -> float:
        """Side of a pixel, mm."""
        return float(self.x_mm[1] - self.x_mm[0])

    def integral(self, device: Backend) -> Any:
        """Integral image, float64 [ny + 1, nx + 1], in pixels: what lies below and left of each pixel corner."""
        ny, nx = self.values.shape
        out = device.zeros((ny + 1, nx + 1), np.float64)
        device.kernel("integral_image")(out, self.values)
        return out


class HeadFluence:
    """Makes the fluence maps of a beam's views on a device, and keeps there what they share.

    A map is made of means over pixels (a kernel), small matrices that blur and interpolate them along and across the
    leaves, and sums and products of maps; nothing of it returns to the host.

    Parameters
    ----------
    beam : Beam
        A part from `dosecalc.photon.modifiers.by_wedge`.
    machine, energy
        Of the beam.
    pitch_mm : float
        Side of a pixel.
    device : Backend, optional
        The CPU by default.
    """

    def __init__(
        self, beam: Beam, machine: Machine, energy: Energy, pitch_mm: float, device: Backend | None = None
    ) -> None:
        self.beam, self.machine, self.energy = beam, machine, energy
        self.device = device or backend("cpu")
        self._pitch_mm = pitch_mm
        self._collimators = collimators_of(beam, machine, energy)
        self._boxes = FieldBoxes(beam, machine, energy)
        self._constants = Constants(self.device)
        self._blocks: dict[tuple[Axis, Axis], BlockView] = {}
        self._source = SourceView(energy.extra_focal, machine.sad_mm) if energy.extra_focal else None
        # the calibration field sets the scale: there both sources together give 1 on the axis
        self._calibration = 1.0
        if self._source is not None:
            share = self._source.source.fraction
            self._calibration = (1 - share) + share * calibration_view(machine, energy, self._source)

    def map(self, view: View) -> FluenceMap:
        """Fluence of a view: aperture, transmission, blocks, focal spot, extra-focal source and off-axis profile.

        Wedge plates are not in it, for they change the spectrum too: see `dosecalc.photon.modifiers.modified_maps`.
        """
        x, y = self._boxes.axes((cp for s in view.segments for cp in (s.start, s.end)), self._pitch_mm)
        motion = Motion.of(apertures_of(self.beam, view, self.machine, self.energy))
        along_is_x = self._collimators.along_is_x
        along, across = (x, y) if along_is_x else (y, x)
        blocks = self._blocks_of(x, y)
        total = self._primary(motion, along, across)
        total *= self._horn(along, across)
        total *= _turned(blocks.primary, along_is_x)
        if self._source is not None:
            share = self._source.source.fraction
            seen = extra_focal_view(self._constants, self._collimators, motion, along, across, self._source)
            seen *= _turned(blocks.extra_focal, along_is_x)
            total *= 1 - share
            seen *= share
            total += seen
        total *= view.weight / self._calibration
        values = total if along_is_x else self.device.put(total.T)
        return FluenceMap(values, x.centres_mm(), y.centres_mm())

    def _primary(self, motion: Motion, along: Axis, across: Axis) -> Any:
        """Transmission as the focal spot sees it: every edge blurred by the spot's image through its own collimator.

        All is blurred as the leaves' edges are, and put right where jaws make the edge, in two ways of which the higher
        holds (docs/beam-model.md, section 3): by the jaws' profile blurred in their plane over that blurred in the
        leaves', which is right where leaves and jaws end together; and, for jaws at rest, as the product of what leaves
        and jaws let through by themselves, which is right where leaves are open behind the jaws.

        Returns
        -------
        float64 [across, along]
        """
        collimators, xp = self._collimators, self.device.xp
        of_jaws = self._spot_pixels(collimators.jaw_planes_mm[0]), self._spot_pixels(collimators.jaw_planes_mm[1])
        if not collimators.layers:
            return self._blurred(motion, along, across, of_jaws)
        width = self._spot_pixels(collimators.leaf_plane_mm)
        own, as_leaves = (
            self._profiles(motion, along, across, of_jaws),
            self._profiles(motion, along, across, (width, width)),
        )
        jaws = xp.outer(own[1], own[0])
        found = self._blurred(motion, along, across, (width, width))
        found *= jaws
        found /= xp.maximum(xp.outer(as_leaves[1], as_leaves[0]), _LEAST_PROFILE)
        if not motion.jaws_rest():
            return found
        alone = self._blurred(motion.without_jaws(), along, across, (width, width))
        alone *= jaws
        return xp.maximum(found, alone)

    def _spot_pixels(self, plane_mm: float) -> float:
        """Width of the focal spot's image through a plane, in pixels."""
        sad = self.machine.sad_mm
        return self.energy.primary_source.sigma_mm * (sad - plane_mm) / plane_mm / self._pitch_mm

    def _blurred(self, motion: Motion, along: Axis, across: Axis, widths: tuple[float, float]) -> Any:
        """Mean transmission blurred along and across the leaves, float64 [across, along]."""
        collimators, kept = self._collimators, self._constants.kept
        rows = rows_of(collimators.layers, motion, across)
        columns = columns_of(collimators, motion, along)
        mean = of_rows(self._constants, collimators, motion, rows, columns)
        return kept(blurred_share(rows, widths[1])) @ (mean @ kept(blur(along, widths[0])).T)

    def _profiles(self, motion: Motion, along: Axis, across: Axis, widths: tuple[float, float]) -> tuple[Any, Any]:
        """Blurred profiles of the jaws along and across the leaves, on the device."""
        t = self._collimators.jaw_transmission.tolist()
        kept = self._constants.kept
        return (
            kept(jaw_profile(motion.jaw_along_mm, motion.weight, (t[0], t[1]), along, widths[0])),
            kept(jaw_profile(motion.jaw_across_mm, motion.weight, (t[2], t[3]), across, widths[1])),
        )

    def _horn(self, along: Axis, across: Axis) -> Any:
        """Emission off the axis, float64 [across, along]: the middle of that of the widest map."""
        half = -(-max(along.n, across.n) // 2 // 64) * 64
        horn = self._constants.kept(_horn(self.energy.off_axis, half, self._pitch_mm))
        i, j = across.n // 2, along.n // 2
        return horn[half - i : half + i, half - j : half + j]

    def _blocks_of(self, x: Axis, y: Axis) -> BlockView:
        """Blocks and tray, on the device."""
        if not self.beam.accessories.blocks:
            return block_view(self.beam, self.machine, self.energy, np.zeros(0), np.zeros(0))
        if (x, y) not in self._blocks:
            found = block_view(self.beam, self.machine, self.energy, x.centres_mm(), y.centres_mm())
            put = self.device.put
            self._blocks[x, y] = BlockView(put(np.asarray(found.primary)), put(np.asarray(found.extra_focal)))
        return self._blocks[x, y]


def fluence_map(beam: Beam, view: View, machine: Machine, energy: Energy, pitch_mm: float) -> FluenceMap:
    """Fluence of one view, on the host; see `HeadFluence`."""
    return HeadFluence(beam, machine, energy, pitch_mm).map(view)


def _turned(values: Any, along_is_x: bool) -> Any:
    return values if along_is_x or np.isscalar(values) else values.T


@lru_cache(maxsize=8)
def _horn(off_axis: OffAxis, half: int, pitch_mm: float) -> FloatArray:
    """Emission off the axis on so many pixels to each side, float64 [2 half, 2 half]."""
    place = Axis.about_zero(half, pitch_mm).centres_mm()
    return np.asarray(np.interp(np.hypot(place, place[:, None]), off_axis.radius_mm, off_axis.relative_fluence))


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
