"""Densities that structures are given: by the caller's list, or by the structure set itself."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dosecalc.errors import InputError, PatientError
from dosecalc.patient.contour_planes import structure_volume_cm3
from dosecalc.patient.hu import HuCurve
from dosecalc.patient.materials import (
    AIR,
    AIR_DENSITY_G_CM3,
    HIGHEST_DENSITY_G_CM3,
    density_of_relative_electron_density,
    material_of_density,
)
from dosecalc.patient.structures import Structure, StructureSet

#: structures outside the External that stay there: what carries the patient, holds it, or is laid on it
OUTSIDE_KINDS = ("SUPPORT", "FIXATION", "BOLUS")

#: one entry: a name, quoted where it holds a comma, then a number
_NAME = r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^,]*?))"""
_ENTRY = re.compile(rf"\s*{_NAME}\s*=\s*(?P<value>[^,=]*?)\s*(?:,|$)")
#: far more than any list of structures; keeps the parser's time bounded
_LONGEST_LIST = 20000


@dataclass(frozen=True, eq=False)
class Override:
    """A structure whose density is stated.

    Parameters
    ----------
    structure : Structure
    density_g_cm3 : float
    material : str
        Name in the attenuation table.
    origin : str
        Who stated it, in words.
    """

    structure: Structure
    density_g_cm3: float
    material: str
    origin: str


@dataclass(frozen=True)
class Overrides:
    """All stated densities, in the order in which they are laid over each other.

    Parameters
    ----------
    background : Override or None
        That of the External: lies under all others, wherever it stands in the list.
    inside : tuple of Override
        Later ones win: first those of the structure set, large before small, then the caller's in their order.
    outside : tuple of Override
        Couches, fixations and boluses.
    notes : tuple of str
    """

    background: Override | None = None
    inside: tuple[Override, ...] = ()
    outside: tuple[Override, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, structure: Structure) -> Override | None:
        """The override of a structure, if it has one."""
        every = (*self.inside, *self.outside, *((self.background,) if self.background else ()))
        return next((o for o in every if o.structure is structure), None)


def parse_density_list(text: str) -> dict[str, float]:
    """Read ``BODY=1.0, Left lung=0.26, "Bone, skull"=1.6``.

    Names may hold spaces and any letters; one with a comma or an equals sign is put in quotes. Densities are in g/cm3
    with a decimal point; 0 means air. The order is kept.

    Raises
    ------
    InputError
        ``DENSITY_LIST_INVALID`` names the entry that cannot be read.
    """
    if len(text) > _LONGEST_LIST:
        raise _bad_entry(text[:40], f"begins a text of more than {_LONGEST_LIST} characters")
    found: dict[str, float] = {}
    position = 0
    while position < len(text):
        entry = _ENTRY.match(text, position)
        if entry is None or entry.end() == position:
            raise _bad_entry(text[position:].split(",")[0].strip(), "is not of the form NAME=DENSITY")
        name = entry["double"] or entry["single"] or entry["plain"] or ""
        if not name:
            raise _bad_entry(entry[0].strip(" ,"), "names no structure")
        if name in found:
            raise _bad_entry(name, "is given twice")
        found[name] = _density(entry["value"], name)
        position = entry.end()
    if not found:
        raise _bad_entry("", "is empty")
    return found


def _density(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _bad_entry(f"{name}={text}", "does not end in a number") from None
    if not math.isfinite(value) or not 0 <= value <= HIGHEST_DENSITY_G_CM3:
        raise _bad_entry(f"{name}={text}", f"is not a density of 0 to {HIGHEST_DENSITY_G_CM3:g} g/cm3")
    return value


def _bad_entry(entry: str, why: str) -> InputError:
    return InputError(
        "DENSITY_LIST_INVALID",
        f"In the density list {entry!r} {why}; write it as 'BODY=1.0, Left lung=0.26' (g/cm3).",
        field="density",
        structure=entry.partition("=")[0] or None,
    )


def density_of_structure(structure: Structure) -> float | None:
    """The density that the structure set states for a structure, g/cm3; None when it states none.

    An absolute mass density goes before one relative to water (of 1 g/cm3), and that before a relative electron
    density, which is converted by `density_of_relative_electron_density`.

    Raises
    ------
    PatientError
        ``DENSITY_OUT_OF_RANGE``.
    """
    stated = structure.physical
    value = stated.get("MASS_DENSITY_G_CM3", stated.get("REL_MASS_DENSITY"))
    if value is None and "REL_ELEC_DENSITY" in stated:
        value = density_of_relative_electron_density(stated["REL_ELEC_DENSITY"])
    if value is not None and not 0 <= value <= HIGHEST_DENSITY_G_CM3:
        raise PatientError(
            "DENSITY_OUT_OF_RANGE",
            f"Structure {structure.name!r} states a density of {value:g} g/cm3; no matter has that.",
            structure=structure.name,
        )
    return value


def resolve_overrides(
    structures: StructureSet | None,
    external: Structure | None,
    requested: Mapping[str, float] | None,
    curve: HuCurve | None,
) -> Overrides:
    """Who overrides what, in a fixed order: the caller goes before the structure set, and that before the CT.

    Raises
    ------
    PatientError
        ``STRUCTURE_UNKNOWN``, ``STRUCTURE_AMBIGUOUS``, ``STRUCTURE_EMPTY``, ``DENSITY_OUT_OF_RANGE``.
    """
    asked = _requested(structures, requested or {}, curve)
    taken = {id(o.structure) for o in asked}
    stated = [o for o in _stated(structures, curve) if id(o.structure) not in taken]
    stated.sort(key=lambda o: (-structure_volume_cm3(o.structure), o.structure.number))
    ordered = [*stated, *asked]
    background = next((o for o in ordered if o.structure is external), None)
    inside = [o for o in ordered if o is not background and o.structure.kind not in OUTSIDE_KINDS]
    outside = [o for o in ordered if o is not background and o.structure.kind in OUTSIDE_KINDS]
    return Overrides(background, tuple(inside), tuple(outside), tuple(_note(o) for o in ordered))


def _requested(
    structures: StructureSet | None, requested: Mapping[str, float], curve: HuCurve | None
) -> list[Override]:
    if requested and structures is None:
        raise PatientError(
            "STRUCTURE_UNKNOWN", "Densities of structures were given, but there is no structure set.", field="density"
        )
    result: list[Override] = []
    for name, density in requested.items():
        structure = (structures or StructureSet(())).find(name)
        if structure.empty:
            raise PatientError(
                "STRUCTURE_EMPTY", f"Structure {name!r} has no closed contour to give a density to.", structure=name
            )
        if not math.isfinite(density) or not 0 <= density <= HIGHEST_DENSITY_G_CM3:
            raise PatientError(
                "DENSITY_OUT_OF_RANGE",
                f"Structure {name!r} is given {density:g} g/cm3; allowed are 0 to {HIGHEST_DENSITY_G_CM3:g}.",
                structure=name,
            )
        result.append(_override(structure, density, "on request", curve))
    return result


def _stated(structures: StructureSet | None, curve: HuCurve | None) -> list[Override]:
    result = []
    for structure in structures.structures if structures else ():
        density = None if structure.empty else density_of_structure(structure)
        if density is not None:
            result.append(_override(structure, density, "by the structure set", curve))
    return result


def _override(structure: Structure, density: float, origin: str, curve: HuCurve | None) -> Override:
    if density < AIR_DENSITY_G_CM3:
        return Override(structure, AIR_DENSITY_G_CM3, AIR, origin)
    material = material_of_density(density)
    if curve is not None and density <= curve.points[-1].density_g_cm3:
        material = curve.material_of(density)
    return Override(structure, density, material, origin)


def _note(override: Override) -> str:
    structure = override.structure
    unused = "; its stated composition is not used" if structure.composition else ""
    material = f"{override.material} of {override.density_g_cm3:.4g} g/cm3"
    return f"Structure {structure.name!r} is {material} {override.origin}{unused}."
