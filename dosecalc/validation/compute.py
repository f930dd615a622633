"""A Monte Carlo case as patient, plan and machine, and its dose by this engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosecalc.dose import Dose
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine.model import (
    Calibration,
    Energy,
    Jaws,
    Machine,
    OffAxis,
    PrimarySource,
    Spectrum,
)
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, Plan
from dosecalc.validation.case import Case
from dosecalc.validation.rebin import overlap, rebin

FloatArray = NDArray[np.float64]

#: voxels of the engine's grid across the beam and along it; slabs of the reference cases begin at even millimetres
ACROSS_MM, ALONG_MM = 2.5, 2.0


def compute_case(
    case: Case,
    across_mm: float = ACROSS_MM,
    along_mm: float = ALONG_MM,
    *,
    device: str = "auto",
    threads: int = 0,
    engine: str = "collapsed_cone",
    cones: str = "",
    heterogeneity: str = "",
) -> tuple[FloatArray, Dose]:
    """Dose of a case by an engine, averaged over the voxels of the reference.

    Parameters
    ----------
    case : Case
    across_mm, along_mm : float
        Voxels of the engine's own grid, across and along the beam.
    device : str
        As in `DoseSettings`.
    threads : int
        CPU threads, 0 for all.
    engine, cones, heterogeneity : str
        As in `DoseSettings`.

    Returns
    -------
    dose : float64 [z, y, x]
        Gy cm2 on the reference's voxels: dose to medium, as the Monte Carlo scores it.
    result : Dose
        What the engine returned, on its own grid.
    """
    patient = case_patient(case, across_mm, along_mm)
    settings = DoseSettings(
        engine=engine,
        cones=cones,
        heterogeneity=heterogeneity,
        grid=patient.density.grid,
        quantity="medium",
        device=device,
        threads=threads,
    )
    result = compute_dose(patient, case_plan(case), case_machine(case), settings)
    return in_case_frame(result.total_gy, result.grid, case), result


def case_patient(case: Case, across_mm: float, along_mm: float) -> Patient:
    """The phantom on a regular grid: density averaged by volume, the material that fills most of each voxel.

    Gantry 0, head first supine: the beam runs along patient +y. Case (x, y, z) is patient (x, -z, y).
    """
    grid = Grid.covering(
        (case.x_edges_cm[0] * 10, case.z_edges_cm[0] * 10, -case.y_edges_cm[-1] * 10),
        (case.x_edges_cm[-1] * 10, case.z_edges_cm[-1] * 10, -case.y_edges_cm[0] * 10),
        (across_mm, along_mm, across_mm),
    )
    target = _edges_in_case_frame(grid)
    source = (case.z_edges_cm, case.y_edges_cm, case.x_edges_cm)
    density = rebin(case.density, source, target)
    # voxels that reach beyond the phantom keep the density of the part inside, so that no mass is lost at its faces
    inside = [overlap(s, t).sum(1) for s, t in zip(source, target, strict=True)]
    density /= np.maximum(np.einsum("i,j,k->ijk", *inside), 1e-6)
    shares = np.stack([rebin(case.medium == m, source, target) for m in range(len(case.header.materials))])
    return Patient(
        Volume(grid, _to_patient(density).astype(np.float32)),
        np.ascontiguousarray(_to_patient(shares.argmax(0)).astype(np.uint8)),
        case.header.materials,
        "HFS",
        density_source=f"Monte Carlo case {case.name}",
    )


def case_plan(case: Case) -> Plan:
    """One open field with its isocentre on the front plane, 1 MU."""
    half_x, half_y = (side * 5 for side in case.field_cm)
    points = tuple(
        ControlPoint(
            i, float(i), 0.0, 0.0, 0.0, "NONE", (0.0, 0.0, 0.0), (-half_x, half_x), (-half_y, half_y)
        )
        for i in (0, 1)
    )  # fmt: skip
    beam = Beam(1, case.name, "", "PHOTON", _nominal_mv(case), "STANDARD", case.ssd_cm * 10, "HFS", None, points)
    return Plan(case.name, (beam,), (FractionGroup(1, 1, {1: 1.0}),))


def case_machine(case: Case) -> Machine:
    """The source of a case: a point with an even fluence, opaque jaws, one photon per cm2 and MU."""
    spectrum = case.header.spectrum
    of_case = f"Monte Carlo case {case.name}"
    reach = max(case.field_cm) * 5 + 10
    jaws = Jaws(transmission=0, limits_mm=(-reach, reach), source=of_case)
    energy = Energy(
        nominal_mv=_nominal_mv(case),
        fluence_mode="STANDARD",
        spectrum=Spectrum(
            edges_mev=(*spectrum.energy_low_MeV, spectrum.energy_high_MeV[-1]),
            photons_per_bin=spectrum.probability_per_bin,
            source=spectrum.reference,
        ),
        primary_source=PrimarySource(sigma_mm=0, source=of_case),
        extra_focal=None,
        off_axis=OffAxis(radius_mm=(0, 400), relative_fluence=(1, 1), softening="none", source=of_case),
        calibration=Calibration(
            gy_per_mu=1, depth_mm=1, ssd_mm=case.ssd_cm * 10, field_mm=100, photons_per_mu_cm2=1, source=of_case
        ),
    )
    return Machine(
        schema_version=1,
        name="monte-carlo-source",
        description=f"The source of {of_case}.",
        generic=True,
        sad_mm=case.ssd_cm * 10,
        jaw_x=jaws,
        jaw_y=jaws,
        mlc=None,
        energies=(energy,),
    )


def _nominal_mv(case: Case) -> float:
    return case.highest_mev


def _edges_in_case_frame(grid: Grid) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Boundaries of a patient grid's voxels along the case's z, y, x, cm, ascending."""
    return grid.edges_mm(1) / 10, -grid.edges_mm(2)[::-1] / 10, grid.edges_mm(0) / 10


def _to_patient(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Case [z, y, x] to patient [z, y, x]: patient z is case -y, patient y is case z."""
    return values[:, ::-1].transpose(1, 0, 2)


def in_case_frame(dose: NDArray[np.floating], grid: Grid, case: Case) -> FloatArray:
    """A dose on a grid of the patient, averaged over the voxels of a case: float64 [z, y, x] of the case."""
    return rebin(
        dose.transpose(1, 0, 2)[:, ::-1],
        _edges_in_case_frame(grid),
        (case.z_edges_cm, case.y_edges_cm, case.x_edges_cm),
    )
