"""The photon fluence per MU with which the engine gives a model's calibration dose."""

from __future__ import annotations

import numpy as np

from dosecalc.commissioning.curves import Curve, Setup, depth_points
from dosecalc.commissioning.forward import Resolution, WaterTank, sample
from dosecalc.machine.model import Energy, Machine


def calibration_dose(machine: Machine, energy: Energy, resolution: Resolution, threads: int = 0) -> float:
    """Dose per MU at the calibration point as the engine gives it now, Gy/MU."""
    c = energy.calibration
    setup = Setup(c.ssd_mm, (c.field_mm, c.field_mm))
    depth = np.array([c.depth_mm])
    point = Curve(
        "depth_dose", energy.nominal_mv, energy.fluence_mode, (setup,), depth_points(depth), depth, np.ones(1),
        "relative", None, "", None, "", "calibration",
    )  # fmt: skip
    tank = WaterTank([point], resolution, threads)
    return float(sample(point, 0, tank.samplers(machine, energy), point.points_mm)[0])


def photons_per_mu(machine: Machine, energy: Energy, resolution: Resolution, threads: int = 0) -> float:
    """Photons per cm2 and MU that make the engine give ``gy_per_mu`` at the calibration point."""
    c = energy.calibration
    return c.photons_per_mu_cm2 * c.gy_per_mu / calibration_dose(machine, energy, resolution, threads)
