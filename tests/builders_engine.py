"""Small patients, beams and machines for tests of the engine, in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dosecalc.geometry import Grid, Volume
from dosecalc.machine.model import (
    Calibration,
    Energy,
    Jaws,
    Machine,
    Mlc,
    OffAxis,
    PrimarySource,
    Spectrum,
)
from dosecalc.patient.model import Patient
from dosecalc.photon.tables import published_spectra
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan


def bare_machine(mv=6, *, mlc=None, leaf_transmission=0.0, jaw_transmission=0.0, **changes):
    """A point source with a published spectrum: one photon per cm2 and MU at the isocentre, nothing in its way."""
    spectrum = published_spectra()[f"mohan{mv}"]
    jaws = Jaws(transmission=jaw_transmission, limits_mm=(-200, 200), source="test")
    energy = Energy(
        nominal_mv=mv,
        fluence_mode="STANDARD",
        spectrum=Spectrum(
            edges_mev=spectrum["edges_mev"], photons_per_bin=spectrum["photons_per_bin"], source=spectrum["source"]
        ),
        primary_source=PrimarySource(sigma_mm=0, source="test"),
        extra_focal=None,
        off_axis=OffAxis(radius_mm=(0, 300), relative_fluence=(1, 1), softening="none", source="test"),
        calibration=Calibration(
            gy_per_mu=1, depth_mm=100, ssd_mm=1000, field_mm=100, photons_per_mu_cm2=1, source="test"
        ),
    )
    leaves = None
    if mlc is not None:
        leaves = Mlc(
            name="test", axis=mlc.axis, boundaries_mm=tuple(mlc.boundaries_mm), transmission=leaf_transmission,
            tip_offset_mm=0, limits_mm=(-200, 200), source="test",
        )  # fmt: skip
    machine = Machine(
        schema_version=1, name="bare", description="test", generic=True, sad_mm=1000,
        jaw_x=jaws, jaw_y=jaws, mlc=leaves, energies=(energy,),
    )  # fmt: skip
    return machine.model_copy(update=changes) if changes else machine


def box(size_mm=(160.0, 160.0, 160.0), spacing_mm=(4.0, 4.0, 4.0), density=1.0, position="HFS", centre=(0.0, 0.0, 0.0)):
    """A homogeneous box of water of some density that fills its grid."""
    grid = Grid.covering(
        tuple(c - s / 2 for c, s in zip(centre, size_mm, strict=True)),
        tuple(c + s / 2 for c, s in zip(centre, size_mm, strict=True)),
        spacing_mm,
    )
    return Patient(
        Volume(grid, np.full(grid.shape, density, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), position
    )


def field(
    half_x=50.0, half_y=50.0, *, gantry=0.0, collimator=0.0, couch=0.0, isocentre=(0.0, 0.0, 0.0), number=1,
    position="HFS", mlc=None, leaves=None, mv=6.0,
):  # fmt: skip
    """A static beam; half widths may be pairs (lower, upper)."""
    jaw_x = half_x if isinstance(half_x, tuple) else (-half_x, half_x)
    jaw_y = half_y if isinstance(half_y, tuple) else (-half_y, half_y)
    points = tuple(
        ControlPoint(i, float(i), gantry, collimator, couch, "NONE", isocentre, jaw_x, jaw_y, leaves) for i in (0, 1)
    )
    return Beam(number, f"B{number}", "test", "PHOTON", mv, "STANDARD", 1000.0, position, mlc, points)


def dynamic(fractions, leaves, *, mlc, half_x=60.0, half_y=60.0, gantry=None, number=1):
    """A beam whose leaves (and gantry) change: meterset fractions and leaf positions per control point."""
    angles = gantry if gantry is not None else [0.0] * len(fractions)
    turning = gantry is not None
    points = tuple(
        ControlPoint(
            i, f, angles[i], 0.0, 0.0, "CW" if turning else "NONE", (0.0, 0.0, 0.0),
            (-half_x, half_x), (-half_y, half_y), np.asarray(leaves[i], float),
        )
        for i, f in enumerate(fractions)
    )  # fmt: skip
    return Beam(number, f"B{number}", "test", "PHOTON", 6.0, "STANDARD", 1000.0, "HFS", mlc, points)


def plan_of(*beams, mu=1.0, fractions=1):
    """A plan of beams with the same MU each (or a dict by number)."""
    metersets = mu if isinstance(mu, dict) else {b.number: mu for b in beams}
    return Plan("test", tuple(beams), (FractionGroup(1, fractions, metersets),))


def leaf_bank(axis="X", width=5.0, pairs=40):
    """An MLC of equal leaves, symmetric about the axis."""
    return MlcGeometry(axis, (np.arange(pairs + 1) - pairs / 2) * width)


def with_position(beam, position):
    """The same beam for another patient position."""
    return replace(beam, patient_position=position)
