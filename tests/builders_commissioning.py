"""Synthetic measurements: what a known model gives in water, read with noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dosecalc.commissioning.curves import Curve, Setup, depth_points, equivalent_square_mm, profile_points
from dosecalc.commissioning.forward import Resolution, WaterTank, sample
from dosecalc.commissioning.parameters import Model
from dosecalc.commissioning.prepare import Uncertainty


def depth_dose(setup: Setup, depth_mm: np.ndarray, **changes: object) -> Curve:
    """A depth dose whose values are still to be filled in."""
    return _blank("depth_dose", (setup,), depth_points(depth_mm), depth_mm, changes)


def profile(setup: Setup, axis: str, position_mm: np.ndarray, depth_mm: float, **changes: object) -> Curve:
    """A profile whose values are still to be filled in."""
    points = profile_points(axis, position_mm, depth_mm)
    return _blank("profile", (setup,), points, position_mm, {"axis": axis, **changes})


def output_factors(setups: tuple[Setup, ...], depth_mm: float, **changes: object) -> Curve:
    """Output factors whose values are still to be filled in."""
    sides = np.array([equivalent_square_mm(s.field_mm) for s in setups])
    return _blank("output_factors", setups, depth_points(np.full(len(setups), depth_mm)), sides, changes)


def _blank(
    kind: str, setups: tuple[Setup, ...], points: np.ndarray, x: np.ndarray, changes: dict[str, object]
) -> Curve:
    blank = Curve(
        kind, 6.0, "STANDARD", setups, points, np.asarray(x, float), np.ones(len(x)), "arbitrary", None, "synthetic",
        None, "synthetic.csv", "curve 1",
    )  # fmt: skip
    return replace(blank, **changes)


def edge_positions(half_mm: float) -> np.ndarray:
    """Positions of a profile: close in the penumbrae, wide elsewhere."""
    near = np.arange(-12.0, 12.1, 1.5)
    side = np.concatenate([np.arange(0.0, half_mm - 13.0, 6.0), half_mm + near, half_mm + np.arange(16.0, 45.0, 6.0)])
    return np.unique(np.round(np.concatenate([-side, side]), 3))


def measured(
    curves: list[Curve],
    model: Model,
    resolution: Resolution,
    noise: Uncertainty,
    seed: int,
    engine: str = "collapsed_cone",
) -> list[Curve]:
    """Values of the curves by an engine with a model, with dose and position errors of normal distribution."""
    random = np.random.default_rng(seed)
    tank = WaterTank(curves, resolution, 1, engine)
    samplers = tank.samplers(model.machine, model.energy)
    out = []
    for i, curve in enumerate(curves):
        moved = curve.points_mm.copy()
        if curve.kind != "output_factors":
            column = {"x": 0, "y": 1, None: 2}[curve.axis]
            moved[:, column] += random.normal(0.0, noise.position_mm, len(moved))
        value = sample(curve, i, samplers, moved)
        value += np.hypot(noise.dose * value, noise.floor * value.max()) * random.normal(size=len(value))
        out.append(replace(curve, value=100 * value / value.max(), file=f"synthetic-{i}.csv"))
    return out
