"""The dose engines by name, and what may be chosen within each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dosecalc.errors import InputError

#: largest gantry rotation that may share one transport, degrees: from, to, default
ARC_TOLERANCE_DEG = (0.5, 30.0, 5.0)


@dataclass(frozen=True)
class EngineKind:
    """A dose engine.

    Parameters
    ----------
    name : str
        As requests use it.
    description : str
        What it does, with its source.
    radiations : tuple of str
        DICOM radiation types that it computes.
    devices : tuple of str
        Device kinds that it runs on.
    options : mapping of str to (mapping of str to str)
        What may be chosen: for each of ``quantity`` (what the dose is reported to), ``cones`` (angular quadrature) and
        ``heterogeneity`` (how inhomogeneous matter is dealt with) the names with their descriptions, the default first.
    """

    name: str
    description: str
    radiations: tuple[str, ...]
    devices: tuple[str, ...]
    options: Mapping[str, Mapping[str, str]]


#: what a dose can be reported to
QUANTITIES = {
    "water_equivalent": "dose to water-equivalent medium of local density",
    "medium": "dose to medium",
    "water_in_medium": "dose to water in medium (dose to medium times the ratio of stopping powers)",
}

ENGINES = {
    e.name: e
    for e in (
        EngineKind(
            "collapsed_cone",
            "Collapsed-cone superposition for megavoltage photons (Ahnesjo 1989, Med Phys 16:577)",
            ("PHOTON",),
            ("cpu", "cuda"),
            {
                "quantity": QUANTITIES,
                "cones": {"standard": "about a hundred directions", "fine": "380 directions, four times the time"},
                "heterogeneity": {
                    "density_scaling": "all distances scale with density (O'Connor 1957)",
                    "electron_transport": "electrons by their own transport equation in the local matter; scattered "
                    "photons scale with density",
                },
            },
        ),
        EngineKind(
            "pencil_beam",
            "Pencil beam for megavoltage photons, from the point kernels of the collapsed cone (Ahnesjo, Saxner, "
            "Trepp 1992, Med Phys 19:263): for planning; lung and cavities are approximate",
            ("PHOTON",),
            ("cpu", "cuda"),
            {
                "quantity": QUANTITIES,
                "heterogeneity": {
                    "density_scaling": "depth along the ray, and widths across it that scale with the density before",
                    "radiological_depth": "depth along the ray alone; widths across it are those of water",
                },
            },
        ),
    )
}


def choose(engine: str, **wanted: str) -> dict[str, str]:
    """What was chosen of an engine's options, with the engine's default for what was left empty.

    Parameters
    ----------
    engine : str
    **wanted : str
        A name, or '', by option; see `EngineKind`.

    Raises
    ------
    InputError
        ``ENGINE_UNKNOWN``, ``QUANTITY_UNKNOWN``, ``CONES_UNKNOWN``, ``HETEROGENEITY_UNKNOWN``.
    """
    if engine not in ENGINES:
        raise InputError(
            "ENGINE_UNKNOWN", f"There is no engine {engine!r}; there is {', '.join(ENGINES)}.", field="engine"
        )
    chosen = {}
    for option, name in wanted.items():
        names = ENGINES[engine].options.get(option, {})
        if name and name not in names:
            raise InputError(
                f"{option.upper()}_UNKNOWN",
                f"The engine {engine} has no {option} {name!r}; it has {', '.join(names) or 'none'}.",
                field=option,
            )
        chosen[option] = name or next(iter(names), "")
    return chosen
