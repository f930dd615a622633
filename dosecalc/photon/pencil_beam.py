"""The pencil-beam recipe: fluence maps, convolved maps, radiological depths and dose of one beam."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import Cancelled
from dosecalc.geometry.frames import bld_from_patient, source_patient_mm
from dosecalc.machine.model import Energy, Machine
from dosecalc.patient.model import Patient
from dosecalc.photon.contamination import ElectronDose
from dosecalc.photon.fluence import HeadFluence
from dosecalc.photon.modifiers import modified_maps
from dosecalc.photon.pencil_basis import (
    DEPTH_INDEX_PER_ROOT,
    LARGEST_SCALE_INDEX,
    LEAST_SCALE_INDEX,
    SCALES,
    mean_weights,
    pencil_basis,
)
from dosecalc.photon.pencil_fan import Fan, FanPhysics, corners_of, extent, trace
from dosecalc.photon.pencil_maps import basis_maps
from dosecalc.photon.segments import TransportGroup, View, split_beam
from dosecalc.photon.spectral import SpectralModel, spectral_model
from dosecalc.photon.stopwatch import Stopwatch
from dosecalc.photon.wedges import FilteredMap
from dosecalc.plan import Beam
from dosecalc_kernels.cpu.collapsed_cone import VACUUM_G_CM3
from dosecalc_kernels.registry import Backend, backend

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

#: where one ratio between materials has to stand for the whole spectrum, it is taken at this depth in water, g/cm2
_TYPICAL_DEPTH_GCM2 = 5.0
#: the least area over which a map is averaged, in pixels
_LEAST_BLUR = 0.1
#: an arc is cut into pieces of at most this before pieces are put together: what shares a direction is even in angle
_PIECE_DEG = 2.5


@dataclass(frozen=True)
class PencilBeamSettings:
    """Choices of the engine; each is part of a result's identity.

    Parameters
    ----------
    fluence_pitch_mm : float
        Pixel of the fluence maps.
    arc_tolerance_deg : float
        Largest gantry rotation within an arc that is taken to come from one direction.
    quantity : 'water_equivalent' or 'medium'
    heterogeneity : str
        See `dosecalc.photon.engines.ENGINES`.
    """

    fluence_pitch_mm: float = 1.0
    arc_tolerance_deg: float = 5.0
    quantity: str = "water_equivalent"
    heterogeneity: str = "density_scaling"


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What the views of a beam share: spectra, the density that is traced, and the fan's physics."""

    energy: Energy
    spectral: SpectralModel
    water: SpectralModel
    traced: Any
    physics: FanPhysics


class PencilBeam:
    """The engine, prepared for one patient grid.

    Parameters
    ----------
    patient : Patient
        On the dose grid's lattice, large enough to hold all matter along the beams.
    settings : PencilBeamSettings
    device : Backend, optional
        Where it computes; the CPU by default.
    """

    def __init__(self, patient: Patient, settings: PencilBeamSettings, device: Backend | None = None) -> None:
        self.grid = patient.density.grid
        self.settings = settings
        self.stopwatch = Stopwatch()
        self.device = device or backend("cpu")
        self._materials = patient.materials
        self._density = patient.density.values
        self._material = patient.material
        release = np.where(self._density > VACUUM_G_CM3, self._material.astype(np.int16), np.int16(-1))
        self._release = self.device.put(release)
        self._corners = corners_of(release >= 0, self.grid)
        self._electrons = ElectronDose(self.grid, self._density, self._release, self.device)

    @staticmethod
    def device_bytes(shape: tuple[int, int, int]) -> int:
        """Memory of a device that the engine takes for a grid."""
        # traced density, release, dose; density and dose of contamination electrons; the fan has about as many nodes as
        # the grid has voxels, four values each, and up to twice as many for an oblique beam; maps, their transforms and
        # tables stay below 128 MiB
        return math.prod(shape) * (4 + 2 + 4 + 8 + 2 * 16) + 128 * 2**20

    def beam_dose(
        self,
        beam: Beam,
        machine: Machine,
        energy: Energy,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[Float32Array, dict[str, str]]:
        """Dose per MU of a beam on the grid, float32 [z, y, x], Gy/MU, and facts for the records.

        Raises
        ------
        Cancelled
        GeometryError
            ``PATIENT_TOO_DEEP`` when a ray passes more than the kernels cover.
        """
        tolerance = self.settings.arc_tolerance_deg
        groups = split_beam(beam, min(_PIECE_DEG, tolerance), tolerance)
        views = [view for group in groups for view in _together(group)]
        with self.stopwatch.measure("kernel"):
            prepared = self._prepare(energy)
        dose = self.device.zeros(self.grid.shape, np.float32)
        electrons = self.device.zeros(self.grid.shape if energy.electrons else (0,), np.float32)
        head = HeadFluence(beam, machine, energy, self.settings.fluence_pitch_mm, self.device)
        for n, view in enumerate(views):
            if cancelled():
                raise Cancelled()
            self._add_view(dose, electrons, head, view, prepared)
            progress((n + 1) / len(views), "pencil beams")
        if energy.electrons is not None:
            dose += electrons
        dose *= np.float32(energy.calibration.photons_per_mu_cm2)
        facts = {
            "views": str(len(views)),
            "kernel_fit_residual_percent": f"{100 * pencil_basis(energy.spectrum).residual:.2f}",
        }
        return self.device.get(dose), facts

    def _prepare(self, energy: Energy) -> _Prepared:
        spectral = spectral_model(energy, self._materials, self.settings.quantity)
        water = spectral_model(energy, ("water",), "water_equivalent")
        kernel = pencil_basis(energy.spectrum).kernel
        # density of water that attenuates as the material does; bone hardens a spectrum more, which is left out
        share = (spectral.combination @ (1.0, _bone_to_water(water))).astype(np.float32)
        physics = FanPhysics(
            self.settings.heterogeneity == "density_scaling",
            (kernel.primary_range, kernel.scatter_range),
            spectral.softening,
            kernel.depths_gcm2,
            kernel.terma,
        )
        return _Prepared(energy, spectral, water, self.device.put(self._density * share[self._material]), physics)

    def _add_view(self, dose: Any, electrons: Float32Array, head: HeadFluence, view: View, prepared: _Prepared) -> None:
        beam, sad, energy = head.beam, head.machine.sad_mm, prepared.energy
        with self.stopwatch.measure("fluence"):
            parts = list(modified_maps(head, view, prepared.spectral))
        rotation = bld_from_patient(view.gantry_deg, view.collimator_deg, view.couch_deg, beam.patient_position)
        source = source_patient_mm(view.isocentre_patient_mm, rotation, sad)
        reach = extent(self._corners, source, rotation, sad)
        if reach is None:
            return
        with self.stopwatch.measure("ray tracing"):
            fan = trace(
                self.device, prepared.traced, self.grid, source, rotation, sad, reach, prepared.physics, beam.label
            )
        for part in parts:
            self._add_part(dose, part, prepared, fan, source, rotation, sad, reach)
        with self.stopwatch.measure("electrons"):
            for part in parts:
                if part.spectral is prepared.spectral:
                    self._electrons.add(electrons, part.fluence, energy, source, rotation, sad)

    def _add_part(
        self,
        dose: Any,
        part: FilteredMap,
        prepared: _Prepared,
        fan: Fan,
        source: FloatArray,
        rotation: FloatArray,
        sad_mm: float,
        reach: FloatArray,
    ) -> None:
        """Add the dose of one fluence map with its spectrum."""
        spectrum = prepared.energy.spectrum
        with self.stopwatch.measure("kernel"):
            survive = _survivors(part.spectral, prepared.spectral)
            primary, scatter = mean_weights(spectrum, survive, self._voxel_gcm2(rotation))
            medium = _released(part.spectral) / (
                _released(prepared.water) if survive is None else _released(_behind(prepared.water, survive))
            )
        with self.stopwatch.measure("convolution"):
            rates = pencil_basis(spectrum).rates_cm
            half_x, half_y = (float(r) for r in np.abs(reach[:2]).max(1))
            blur = self._blur(rotation, sad_mm / float(reach[2].mean()))
            maps = basis_maps(part.fluence, rates, blur, (half_x, half_y), sad_mm, self.device)
        with self.stopwatch.measure("dose"):
            put = self.device.put
            self.device.kernel("add_pencil_dose")(
                dose, self._release, np.array(self.grid.origin_mm), np.array(self.grid.spacing_mm), source, rotation,
                sad_mm, fan.values, fan.first_mm, fan.pitch_mm, fan.first_depth_mm, fan.step_mm,
                maps.near, np.array(maps.near_first_mm), maps.near_pitch_mm,
                maps.far, np.array(maps.far_first_mm), maps.far_pitch_mm,
                put(primary), put(scatter), DEPTH_INDEX_PER_ROOT, LEAST_SCALE_INDEX,
                (LARGEST_SCALE_INDEX - LEAST_SCALE_INDEX) / (SCALES - 1), medium,
            )  # fmt: skip

    def _blur(self, rotation: FloatArray, magnification: float) -> tuple[float, float]:
        """Sides (x, y) of the rectangle over which maps are averaged, mm, isocentre plane, BLD axes.

        With the linear interpolation between pixels, which adds the variance of two pixels' width, it averages over a
        rectangle with the area of a voxel's shadow, as the ray tracing of the collapsed cone does.
        """
        spacing = np.array(self.grid.spacing_mm)
        sides = np.abs(rotation[:2]) @ spacing
        area = float(np.abs(rotation[2]) @ (spacing.prod() / spacing))
        shadow = sides * np.sqrt(area / sides.prod()) * magnification
        pixel = self.settings.fluence_pitch_mm
        x, y = np.sqrt(np.maximum(shadow**2 - 2 * pixel**2, _LEAST_BLUR * pixel**2))
        # to a tenth of a millimetre, so that the views of an arc share what is made for it
        return round(float(x), 1), round(float(y), 1)

    def _voxel_gcm2(self, rotation: FloatArray) -> float:
        """Thickness of a voxel of water along the beam: of a layer as thick as the voxel is on average."""
        return round(float(np.sqrt(np.sum((rotation[2] * self.grid.spacing_mm) ** 2))), 1) / 10


def _together(group: TransportGroup) -> Iterator[View]:
    """The views of a group as one, or one for each collimator angle where the collimator turns."""
    for _, same in groupby(group.views, key=lambda v: round(v.collimator_deg, 2)):
        views = list(same)
        gantry = float(np.average([v.gantry_deg for v in views], weights=[v.weight for v in views]))
        yield replace(views[0], gantry_deg=gantry, segments=tuple(s for v in views for s in v.segments))


def _survivors(behind: SpectralModel, open_beam: SpectralModel) -> tuple[float, ...] | None:
    """Share of the photons of each energy that is left behind a plate; None for the open beam."""
    if behind is open_beam:
        return None
    return tuple(behind.release_kerma[0] / open_beam.release_kerma[0])


def _behind(water: SpectralModel, survive: tuple[float, ...]) -> SpectralModel:
    return replace(
        water, release_kerma=water.release_kerma * survive, release_scerma=water.release_scerma * np.array(survive)
    )


def _bone_to_water(water: SpectralModel) -> float:
    """Attenuation of cortical bone relative to water, per mass, for what water releases of the spectrum at depth."""
    mu_water, mu_bone = water.mu_basis
    weight = (water.release_kerma[0] + water.release_scerma[0]) * np.exp(-_TYPICAL_DEPTH_GCM2 * mu_water)
    return float((weight * mu_bone).sum() / (weight * mu_water).sum())


def _released(spectral: SpectralModel) -> Float32Array:
    """What each material releases at depth in water, as kerma and as scerma: float32 [materials, 2]."""
    survive = np.exp(-_TYPICAL_DEPTH_GCM2 * spectral.mu_basis[0])
    both = [(r * survive).sum(1) for r in (spectral.release_kerma, spectral.release_scerma)]
    return np.stack(both, 1).astype(np.float32)
