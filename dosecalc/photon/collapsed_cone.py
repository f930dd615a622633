"""The collapsed-cone recipe: fluence maps, ray tracing and cone transport of one beam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import Cancelled
from dosecalc.geometry import Grid
from dosecalc.geometry.frames import axial_from_patient, bld_from_patient, source_patient_mm
from dosecalc.machine.model import Energy, Machine, Spectrum, spectrum_nodes
from dosecalc.patient.model import Patient
from dosecalc.photon import electron_dose, missing_scatter
from dosecalc.photon.cones import CONE_SETS, ConeSet, build_cones
from dosecalc.photon.contamination import ElectronDose
from dosecalc.photon.electron_dose import SecondaryElectrons
from dosecalc.photon.field_box import FLUENCE_CUTOFF, largest_tilt
from dosecalc.photon.fluence import HeadFluence
from dosecalc.photon.kept import Kept
from dosecalc.photon.kernel import poly_kernel
from dosecalc.photon.missing_scatter import Flights, MissingScatter, build_flights
from dosecalc.photon.modifiers import kernel_quality, modified_maps, open_beam_model
from dosecalc.photon.segments import TransportGroup, View, split_beam
from dosecalc.photon.spectral import SpectralModel
from dosecalc.photon.stopwatch import Stopwatch
from dosecalc.photon.wedges import FilteredMap
from dosecalc.plan import Beam
from dosecalc_kernels.cpu.collapsed_cone import VACUUM_G_CM3
from dosecalc_kernels.cuda.collapsed_cone import bytes_needed
from dosecalc_kernels.cuda.memory import digest
from dosecalc_kernels.registry import Backend, backend

#: what the electrons' own transport costs, in transports along cones (6 MV; for the progress only)
ELECTRONS_PER_TRANSPORT = 5.0
#: and what missing scatter costs in an arc through a head, where it costs most
MISSING_SCATTER_PER_TRANSPORT = 0.2

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CollapsedConeSettings:
    """Numerical choices of the engine; each is part of a result's identity.

    Parameters
    ----------
    fluence_pitch_mm : float
        Pixel of the fluence maps.
    view_tolerance_deg : float
        Largest rotation within one fluence map and ray tracing.
    transport_tolerance_deg : float
        Largest gantry rotation within one transport; only the tilt of the kernel is approximated by it (the manual,
        section 3.5, has the error for several values).
    quantity : 'water_equivalent' or 'medium'
    cones, heterogeneity : str
        See `dosecalc.photon.engines.ENGINES`.
    missing_scatter : bool
        Whether scatter that does not come back from outside the patient is taken away; see `MissingScatter`.
    """

    fluence_pitch_mm: float = 1.0
    view_tolerance_deg: float = 2.5
    transport_tolerance_deg: float = 5.0
    quantity: str = "water_equivalent"
    cones: str = "standard"
    heterogeneity: str = "density_scaling"
    missing_scatter: bool = True


class CollapsedCone:
    """The engine, prepared for one patient grid.

    Parameters
    ----------
    patient : Patient
        On the dose grid's lattice, large enough to hold all matter along the beams.
    settings : CollapsedConeSettings
    device : Backend, optional
        Where it computes; the CPU by default.
    passes : int
        In how many the cones are swept on a device: more take less of its memory, more time, and give the same bits.
    """

    def __init__(
        self, patient: Patient, settings: CollapsedConeSettings, device: Backend | None = None, passes: int = 1
    ) -> None:
        self.grid = patient.density.grid
        self.settings = settings
        self.stopwatch = Stopwatch()
        self._materials = patient.materials
        self.device = device or backend("cpu")
        density, material = patient.density.values, patient.material
        release = np.where(density > VACUUM_G_CM3, material.astype(np.int16), np.int16(-1))
        # the name under which a device keeps what is made of this patient for the next request
        self._key = "" if self.device.launcher is None else digest(density, material)
        self._density, self._material, self._release = self.device.kept_under(
            (self._key, "patient"), lambda: tuple(self.device.put(a) for a in (density, material, release))
        )
        self._electrons = ElectronDose(self.grid, self._density, self._release, self.device)
        self._add_terma = self.device.kernel("add_terma")
        dx, dy, dz = self.grid.spacing_mm
        spacing_cm = (dx / 10, dy / 10, dz / 10)
        options = {} if self.device.launcher is None else {"key": self._key, "passes": passes}
        self._transport = self.device.kernel("ConeTransport")(density, spacing_cm, **options)
        self._missing = None
        if settings.missing_scatter:
            self._missing = MissingScatter(density, spacing_cm, self.device, self._key, passes)
        self._bases: dict[bytes, tuple[Any, Any]] = {}
        self._secondary: SecondaryElectrons | None = None
        if settings.heterogeneity == "electron_transport":
            travelled = patient.materials if settings.quantity == "medium" else ("water",) * len(patient.materials)
            self._secondary = SecondaryElectrons(density, material, travelled, self.grid.spacing_mm, self.device)

    @staticmethod
    def device_bytes(grid: Grid, heterogeneity: str = "density_scaling", passes: int = 1) -> int:
        """Memory of a device that the engine takes for a grid: the transport's, and what lies there with it.

        Fluence maps and tables of cones and spectra are not in it: what is never given away is room for them.
        """
        # density, material, release, two basis densities and as many temporaries, dose of contamination
        # electrons
        own = bytes_needed(grid.shape, passes) + grid.size * (4 + 1 + 2 + 8 + 8 + 4)
        if heterogeneity == "electron_transport":
            own += electron_dose.device_bytes(grid.shape)
        dx, dy, dz = grid.spacing_mm
        return own + missing_scatter.device_bytes(grid.shape, (dx / 10, dy / 10, dz / 10), passes)

    def beam_dose(
        self,
        beam: Beam,
        machine: Machine,
        energy: Energy,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[NDArray[np.float32], dict[str, str]]:
        """Dose per MU of a beam on the grid, float32 [z, y, x], Gy/MU, and facts for the records.

        Raises
        ------
        Cancelled
        """
        s = self.settings
        groups = split_beam(beam, s.view_tolerance_deg, s.transport_tolerance_deg)
        reach = max(largest_tilt(beam, view, machine) for g in groups for view in g.views)
        quality = kernel_quality(beam, machine, energy)
        n_views = sum(len(g.views) for g in groups)
        # ray tracing of a view costs about a fifth of a transport
        # and the electrons' transport of its own several times as much as one
        of_missing = 0.0 if self._missing is None else MISSING_SCATTER_PER_TRANSPORT
        per_group = 1.0 + of_missing + (0.0 if self._secondary is None else ELECTRONS_PER_TRANSPORT)
        total = n_views * 0.2 + len(groups) * per_group
        done = 0.0

        def look(step: str) -> None:
            """Tell the caller where the work is, and ask whether it is still wanted."""
            _stop_if(cancelled)
            progress(min(done / total, 1.0), step)  # a sum of shares ends near one

        spectral, cones, basis = self._prepare(quality, energy, reach, lambda: look("kernels"))
        dose = self.device.zeros(self.grid.shape, np.float32)
        electrons = self.device.zeros(self.grid.shape if energy.electrons else (0,), np.float32)
        head = HeadFluence(beam, machine, energy, s.fluence_pitch_mm, self.device)
        for group in groups:
            kerma, scerma = (self.device.zeros(self.grid.shape, np.float32) for _ in range(2))
            for view in group.views:
                parts = []
                with self.stopwatch.measure("fluence"):
                    for part in modified_maps(head, view, spectral):
                        parts.append(part)
                        look("fluence")
                self._trace(parts, head, view, spectral, basis, kerma, scerma, electrons, look)
                done += 0.2
                look("ray tracing")
            turn, projection = self._axial(beam, group, machine)
            if self._secondary is not None:
                with self.stopwatch.measure("electron transport"):
                    for share in self._secondary.run(kerma, quality.spectrum, cones.max_tilt, turn, projection, dose):
                        _stop_if(cancelled)
                        progress((done + share * ELECTRONS_PER_TRANSPORT) / total, "electron transport")
                done += ELECTRONS_PER_TRANSPORT
                kerma = self.device.zeros(self.grid.shape, np.float32)
            with self.stopwatch.measure("transport"):
                self._transport.load(kerma, scerma)
                directions = cones.directions @ turn
                for n in self._transport.sweep(directions, cones.rates, cones.amplitudes, projection, cones.max_tilt):
                    _stop_if(cancelled)
                    progress((done + n / len(cones)) / total, "transport")
                transported = self._transport.dose()
            done += 1.0
            if self._missing is not None:
                with self.stopwatch.measure("missing scatter"):
                    flights = _flights(quality.spectrum, cones.max_tilt, lambda: look("missing scatter"))
                    missing = self._missing.dose(scerma, flights, turn, projection, lambda: look("missing scatter"))
                    # its voxels are coarse: far beside a beam it can be more than what is there
                    transported = self.device.xp.maximum(transported - missing, np.float32(0))
            dose += transported
            done += of_missing
        dose *= np.float32(energy.calibration.photons_per_mu_cm2)
        facts = {
            "views": str(n_views),
            "transports": str(len(groups)),
            "cones": str(len(cones)),
            "kernel_fit_residual_percent": f"{100 * _residual(cones, spectral):.2f}",
        }
        if energy.electrons is not None:
            dose += electrons * np.float32(energy.calibration.photons_per_mu_cm2)
        look("retrieval")
        with self.stopwatch.measure("transport"):
            result = self.device.get(dose)
        return result, facts

    def _prepare(
        self, quality: Energy, energy: Energy, reach: float, look: Callable[[], None]
    ) -> tuple[SpectralModel, ConeSet, tuple[Any, Any]]:
        with self.stopwatch.measure("kernel"):
            spectral = open_beam_model(quality, energy, self._materials, self.settings.quantity)
            look()
            cones = _cones(quality.spectrum, self.settings.cones, _tilt_class(reach), look)
            look()
            basis = self._basis(spectral.combination.astype(np.float32))
        return spectral, cones, basis

    def _basis(self, share: NDArray[np.float32]) -> tuple[Any, Any]:
        """The densities of both basis materials, kept for the next beam of the same energy."""
        key = share.tobytes()

        def made() -> tuple[Any, Any]:
            of_material = [self.device.put(share[:, n])[self._material] for n in (0, 1)]
            return self._density * of_material[0], self._density * of_material[1]

        if key not in self._bases:
            first, second = self.device.kept_under((self._key, "basis", key), made)
            self._bases = {key: (first, second)}
        return self._bases[key]

    def _trace(
        self,
        parts: list[FilteredMap],
        head: HeadFluence,
        view: View,
        spectral: SpectralModel,
        basis: tuple[Any, Any],
        kerma: Any,
        scerma: Any,
        electrons: Any,
        look: Callable[[str], None],
    ) -> None:
        """Add what a view releases, and the dose of the electrons that come with it where there is no wedge plate."""
        pitch, sad = self.settings.fluence_pitch_mm, head.machine.sad_mm
        position = head.beam.patient_position
        rotation = bld_from_patient(view.gantry_deg, view.collimator_deg, view.couch_deg, position)
        source = source_patient_mm(view.isocentre_patient_mm, rotation, sad)
        with self.stopwatch.measure("terma"):
            for part in parts:
                fluence, behind = part.fluence, part.spectral
                self._add_terma(
                    kerma, scerma, basis[0], basis[1], self._release,
                    np.array(self.grid.origin_mm), np.array(self.grid.spacing_mm),
                    source, rotation, sad, fluence.integral(self.device),
                    np.array([fluence.x_mm[0] - pitch / 2, fluence.y_mm[0] - pitch / 2]), pitch,
                    fluence.values.max() * FLUENCE_CUTOFF,
                    behind.mu_basis[0].astype(np.float32) * np.float32(np.log2(np.e)),
                    behind.mu_basis[1].astype(np.float32) * np.float32(np.log2(np.e)),
                    behind.release_kerma.astype(np.float32), behind.release_scerma.astype(np.float32),
                    np.array(behind.softening),
                )  # fmt: skip
                look("ray tracing")
        with self.stopwatch.measure("electrons"):
            for part in parts:
                if part.spectral is spectral:
                    self._electrons.add(electrons, part.fluence, head.energy, source, rotation, sad)

    def _axial(self, beam: Beam, group: TransportGroup, machine: Machine) -> tuple[FloatArray, FloatArray]:
        """Rotation from the patient to the axial frame, and the projection from voxel indices to that frame, cm.

        The cones stand in the axial frame, so that beams which are the same in the patient have the same dose however
        couch and collimator share the rotation.
        """
        bld = bld_from_patient(group.gantry_deg, 0.0, group.couch_deg, beam.patient_position)
        turn = axial_from_patient(bld)
        source = source_patient_mm(group.isocentre_patient_mm, bld, machine.sad_mm)
        # voxel indices to (x, y, depth)
        axes = turn * np.array(self.grid.spacing_mm) / 10
        origin = turn @ (np.array(self.grid.origin_mm) - source) / 10
        projection = np.column_stack([axes, origin])
        projection[2] *= -1
        return turn, projection


def _tilt_class(reach: float) -> float:
    """One of a few tilt ranges, so that cones are built once for many beams."""
    return next((t for t in (0.04, 0.06, 0.085, 0.115, 0.15, 0.2) if t >= reach), 0.25)


_CONES: Kept[ConeSet] = Kept(16)
_FLIGHTS: Kept[Flights] = Kept(16)


def _cones(spectrum: Spectrum, name: str, max_tilt: float, look: Callable[[], None]) -> ConeSet:
    def made() -> ConeSet:
        energies, photons = spectrum_nodes(spectrum)
        return build_cones(poly_kernel(energies, photons * energies), CONE_SETS[name], max_tilt, look)

    return _CONES.get((spectrum, name, max_tilt), made)


def _flights(spectrum: Spectrum, max_tilt: float, look: Callable[[], None]) -> Flights:
    def made() -> Flights:
        energies, photons = spectrum_nodes(spectrum)
        return build_flights(energies, photons * energies, max_tilt, look)

    return _FLIGHTS.get((spectrum, max_tilt), made)


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled()


def _residual(cones: ConeSet, spectral: SpectralModel) -> float:
    """Kernel energy that the exponentials misplace at most, as a share of all energy released in water."""
    kerma = float(spectral.release_kerma[0].sum())
    share = kerma / (kerma + float(spectral.release_scerma[0].sum()))
    return cones.residual_primary * share + cones.residual_scatter * (1 - share)
