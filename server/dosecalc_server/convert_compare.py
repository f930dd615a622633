"""Comparisons between the wire and the server's own types; what comes from the wire is checked here before use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dosecalc_api.v1 import compare_pb2, geometry_pb2
from dosecalc_server.compare_request import ComparisonRequest, DoseFile
from dosecalc_server.config import Limits
from dosecalc_server.convert import Checker, device_from_wire, grid_to_wire, vector_to_wire
from dosecalc_server.request import ExactGrid

_MOST_CRITERIA = 8
_MOST_NAMES = 1000
_LARGEST_GY = 1e6
_DEFAULT_THRESHOLD, _DEFAULT_MAX_GAMMA, _DEFAULT_SAMPLING = 10.0, 2.0, 10


def options_from_wire(
    message: compare_pb2.CompareRequest,
    reference: DoseFile,
    evaluated: DoseFile,
    rtstruct: str | None,
    devices: tuple[str, ...],
) -> ComparisonRequest:
    """A checked request for doses that were found already; ``devices`` are those of the server.

    Raises
    ------
    RequestError
        With a violation for every field that is wrong.
    """
    check = Checker()
    check.require(len(message.criteria) <= _MOST_CRITERIA, "criteria", f"at most {_MOST_CRITERIA}")
    for n, c in enumerate(message.criteria):
        for field, value in (("dose_percent", c.dose_percent), ("distance_mm", c.distance_mm)):
            check.require(0 < value <= 100, f"criteria[{n}].{field}", "must be above 0 and at most 100")
    threshold = message.threshold_percent if message.HasField("threshold_percent") else _DEFAULT_THRESHOLD
    check.require(0 <= threshold <= 100, "threshold_percent", "must be from 0 to 100")
    normalisation = message.normalisation_gy
    check.require(0 <= normalisation <= _LARGEST_GY, "normalisation_gy", "must be above 0, or 0 for the maximum")
    max_gamma = message.max_gamma if message.HasField("max_gamma") else _DEFAULT_MAX_GAMMA
    check.require(0 < max_gamma <= 10, "max_gamma", "must be above 0 and at most 10")
    check.require(0 <= message.sampling <= 50, "sampling", "must be from 1 to 50, or 0 for 10")
    check.require(not (message.exact and message.sampling), "sampling", "must not be given together with exact")
    check.require(len(message.structure_names) <= _MOST_NAMES, "structure_names", f"at most {_MOST_NAMES}")
    check.require(
        rtstruct is not None or not message.structure_names, "structure_names", "must not be given without an RTSTRUCT"
    )
    device = device_from_wire(check, message.device, "device", devices)
    check.finish()
    return ComparisonRequest(
        reference=reference,
        evaluated=evaluated,
        criteria=tuple((c.dose_percent, c.distance_mm) for c in message.criteria) or ((2.0, 2.0),),
        local=message.local,
        threshold_percent=threshold,
        normalisation_gy=normalisation or None,
        max_gamma=max_gamma,
        sampling=None if message.exact else message.sampling or _DEFAULT_SAMPLING,
        rtstruct=rtstruct,
        structure_names=tuple(message.structure_names),
        ignore_frame=message.ignore_frame,
        ignore_type=message.ignore_type,
        picture=message.picture,
        gamma_maps=message.gamma_maps,
        difference_map=message.difference_map,
        device=device,
    )


def inline_grid(message: compare_pb2.InlineDose, field: str, limits: Limits) -> ExactGrid:
    """The grid of a dose that was sent along, and whether its values are doses.

    Raises
    ------
    RequestError
    """
    check, grid = Checker(), message.grid
    shape = grid.size_z, grid.size_y, grid.size_x
    check.require(all(1 <= n <= 10_000 for n in shape), f"{field}.grid", "must have sizes from 1 to 10000")
    check.require(math.prod(shape) <= limits.max_grid_voxels, f"{field}.grid", "has too many voxels")
    origin, spacing = _triple(grid.origin_mm), _triple(grid.spacing_mm)
    check.require(all(abs(v) <= 10_000 for v in origin), f"{field}.grid.origin_mm", "must be from -10000 to 10000 mm")
    check.require(
        all(0 < v <= 1000 for v in spacing), f"{field}.grid.spacing_mm", "must be above 0 and at most 1000 mm"
    )
    fits = len(message.dose_gy_float32) == 4 * math.prod(shape)
    check.require(fits, f"{field}.dose_gy_float32", "must have four bytes for each voxel of the grid")
    if fits:
        dose = np.frombuffer(message.dose_gy_float32, "<f4")
        good = bool(np.all((dose >= 0) & (dose <= _LARGEST_GY)))
        check.require(good, f"{field}.dose_gy_float32", f"must hold numbers from 0 to {_LARGEST_GY:g}")
    check.finish()
    return origin, spacing, shape


def comparison_to_wire(summary: dict[str, Any]) -> compare_pb2.Comparison:
    """What `dosecalc_server.comparison` found, as a message."""
    found = summary["comparison"]
    settings = found["settings"]
    return compare_pb2.Comparison(
        grid=grid_to_wire(summary["grid"]),
        local=settings["local"],
        normalisation_gy=settings["normalisation_gy"],
        threshold_gy=settings["threshold_gy"],
        max_gamma=settings["max_gamma"],
        sampling=settings["sampling"] or 0,
        reference_max_gy=found["reference_max_gy"],
        evaluated_max_gy=found["evaluated_max_gy"],
        points_above_threshold=found["points_above_threshold"],
        points_without_gamma=found["points_without_gamma"],
        gamma=[_gamma(g, g) for g in found["gamma"]],
        worst_mm=vector_to_wire(tuple(found["worst_mm"])),
        difference=compare_pb2.DoseDifference(**_present(found["difference"])),
        structures=[_structure(s, found["gamma"]) for s in found["structures"]],
        notes=found["notes"],
    )


def _structure(found: dict[str, Any], criteria: list[dict[str, Any]]) -> compare_pb2.StructureComparison:
    dvh = found["dvh"]
    return compare_pb2.StructureComparison(
        structure_name=found["name"],
        structure_number=found["number"],
        kind=found["kind"],
        gamma=[_gamma(c, g) for c, g in zip(criteria, found["gamma"], strict=True)],
        difference=compare_pb2.DoseDifference(**_present(found["difference"])),
        reference_statistics=_present(dvh["reference"]),
        evaluated_statistics=_present(dvh["evaluated"]),
        dvh_difference_statistics=_present(dvh["difference"] or {}),
        notes=found["notes"],
    )


def _gamma(criterion: dict[str, Any], figures: dict[str, Any]) -> compare_pb2.GammaStatistics:
    gammas = {f"{name}_gamma": figures[name] for name in ("mean", "median", "p95", "p99", "max")}
    return compare_pb2.GammaStatistics(
        criterion=compare_pb2.GammaCriterion(
            dose_percent=criterion["dose_percent"], distance_mm=criterion["distance_mm"]
        ),
        points=int(figures["points"]),
        **_present({"pass_rate_percent": figures["pass_rate_percent"], **gammas}),
    )


def _present(figures: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in figures.items() if v is not None}


def _triple(vector: geometry_pb2.Vector3) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z
