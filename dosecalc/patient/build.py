"""CT and structures to the patient that the dose engine sees."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from dosecalc.devices import offload
from dosecalc.errors import PatientError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.contour_planes import ContourPlane, contour_planes
from dosecalc.patient.ct import CtImage
from dosecalc.patient.density import OUTSIDE_KINDS, Overrides, resolve_overrides
from dosecalc.patient.hu import HuCurve, load_curve
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.materials import AIR, known_materials
from dosecalc.patient.model import Patient
from dosecalc.patient.paint import Image, Painter
from dosecalc.patient.structures import Structure, StructureSet
from dosecalc_kernels.offload import Offload

#: of the External's volume the CT must hold this share; what is missing would be air
LEAST_COVERED = 0.99
#: voxels of a density grid made from structures; 512 MiB of density
MOST_VOXELS = 2**27


def build_patient(
    ct: CtImage | None,
    structures: StructureSet | None,
    *,
    curve: HuCurve | None = None,
    density_overrides: Mapping[str, float] | None = None,
    bulk_spacing_mm: tuple[float, float, float] = (2.5, 2.5, 2.5),
    patient_position: str = "",
    device: str | Offload = "cpu",
) -> Patient:
    """Mass density and material from a CT through a calibration curve, from structures, or from both.

    - Outside the External is air, but for couches and fixations (types SUPPORT, FIXATION), with their stated density
      or, where they show in the CT, with that of the CT. Without an External the whole CT is the patient.
    - Boluses (type BOLUS) are no part of the density: they are kept as ``boluses``, for the beams that use them.
    - Stated densities go before the CT: those of the structure set (large structures first, so that small ones win),
      then ``density_overrides`` in their order (later ones win). The External's own density lies under all of these.
    - Voxels on a boundary hold both sides by volume, and the material that has more of the mass. On the External's
      boundary the CT has blended skin and air already: its density is kept, but capped at what the volume inside would
      weigh with the densest full voxel next to it, so that a head rest that touches the skin adds nothing.
    - Without a CT, or where the CT holds less than 99 % of the External, density comes from the structures alone if the
      External has a stated density, on a grid over its extent.

    Parameters
    ----------
    ct : CtImage or None
    structures : StructureSet or None
    curve : HuCurve, optional
        Calibration of the CT; the generic one by default, which a note then says.
    density_overrides : mapping of structure name to density, optional
        g/cm3; 0 is air, and takes a couch out.
    bulk_spacing_mm : (dx, dy, dz)
        Spacing of the grid when density comes from the structures alone.
    patient_position : str
        Recorded when there is no CT that states one.
    device : str or Offload
        Where masks of structures are made, as `dosecalc.devices.offload` takes it.

    Raises
    ------
    PatientError
        ``NO_DENSITY``, ``CT_TOO_SMALL``, ``FRAME_OF_REFERENCE_MISMATCH``, ``COUCH_WITHOUT_DENSITY``,
        ``BULK_GRID_TOO_LARGE``, those of the overrides (`resolve_overrides`), of the curve (`HuCurve.density`) and of
        the structures (``EXTERNAL_AMBIGUOUS``, ``CONTOUR_NOT_AXIAL``).
    """
    external = structures.external() if structures is not None else None
    chosen = (curve or load_curve()) if ct is not None else curve
    overrides = resolve_overrides(structures, external, density_overrides, chosen)
    notes = list(overrides.notes)
    if ct is not None and not _ct_holds(ct, structures, external, overrides, notes):
        ct = None
    grid = ct.hu.grid if ct is not None else _bulk_grid(external, overrides, bulk_spacing_mm)
    notes.append(_surroundings(external, ct))
    image, source = None, "bulk"
    if ct is not None and chosen is not None:
        image, source = Image(ct.hu, chosen), f"curve {chosen.name} sha256:{chosen.sha256[:12]}"
        if chosen.generic:
            notes.append(f"HU are converted by the generic curve {chosen.name!r}, not by one of the scanner.")
    kernels = offload(device)
    body = fractional_mask(external, grid, kernels) if external is not None else None
    painter = Painter(grid, body, _material_names(chosen, overrides), kernels)
    painter.fill_inside(image, overrides, notes)
    outside = _outside(structures, external, overrides, image)
    painter.fill_outside(tuple(s for s in outside if s.kind != "BOLUS"), image, overrides, notes)
    boluses = tuple(painter.bolus(s, image, overrides, notes) for s in outside if s.kind == "BOLUS")
    painter.fill_air()
    return Patient(
        density=Volume(grid, painter.density),
        material=painter.material,
        materials=painter.materials,
        patient_position=ct.patient_position if ct is not None else patient_position,
        structures=structures,
        frame_of_reference_uid=_frame(ct, structures),
        study_uid=ct.study_uid if ct is not None else None,
        density_source=source + (" with stated densities" if overrides.notes and image is not None else ""),
        notes=tuple(notes),
        boluses=boluses,
    )


def _frame(ct: CtImage | None, structures: StructureSet | None) -> str | None:
    return (ct.frame_of_reference_uid if ct else None) or (structures.frame_of_reference_uid if structures else None)


def _ct_holds(
    ct: CtImage, structures: StructureSet | None, external: Structure | None, overrides: Overrides, notes: list[str]
) -> bool:
    """Whether the CT holds the External; False when it does not and the structures' densities can stand in."""
    drawn_in = structures.frame_of_reference_uid if structures is not None else None
    if drawn_in and ct.frame_of_reference_uid and drawn_in != ct.frame_of_reference_uid:
        raise PatientError(
            "FRAME_OF_REFERENCE_MISMATCH",
            "The structures were not drawn in the CT's frame of reference; give the CT that they belong to.",
        )
    if external is None:
        return True
    share = _share_within(contour_planes(external), ct.hu.grid)
    if share >= LEAST_COVERED:
        if share < 1 - 1e-4:
            notes.append(f"{100 * (1 - share):.2f} % of {external.name!r} lies beyond the CT and is left out.")
        return True
    if overrides.background is None:
        raise PatientError(
            "CT_TOO_SMALL",
            f"The CT holds only {100 * share:.0f} % of {external.name!r}; add the missing slices, or give densities of "
            f"structures (--density '{external.name}=1.0, …').",
            structure=external.name,
        )
    notes.append(f"The CT holds only {100 * share:.0f} % of {external.name!r} and is not used.")
    return False


def _share_within(planes: tuple[ContourPlane, ...], grid: Grid) -> float:
    """Share of the volume of slabs that lies within a grid's box."""
    (x0, y0, z0), (x1, y1, z1) = grid.lower_mm, grid.upper_mm
    total = within = 0.0
    for plane in planes:
        thickness = max(0.0, min(plane.upper_mm, z1) - max(plane.lower_mm, z0))
        total += plane.volume_cm3
        within += float(shapely.clip_by_rect(plane.polygon, x0, y0, x1, y1).area) * thickness / 1000.0
    return within / total if total > 0 else 1.0


def _bulk_grid(external: Structure | None, overrides: Overrides, spacing_mm: tuple[float, float, float]) -> Grid:
    """A grid over everything that has a density, when the External has one."""
    if overrides.background is None and (external is not None or not overrides.inside):
        name = external.name if external is not None else "BODY"
        raise PatientError(
            "NO_DENSITY",
            f"There is no CT, and no density is stated for {name!r}; add the CT, or give densities of structures "
            f"(--density '{name}=1.0, …').",
            structure=name if external is not None else None,
        )
    inside = [external] if external is not None else [o.structure for o in overrides.inside]
    lower, upper = np.full(3, np.inf), np.full(3, -np.inf)
    for structure in (*inside, *(o.structure for o in overrides.outside)):
        for plane in contour_planes(structure):
            if plane.polygon.is_empty:
                continue
            x0, y0, x1, y1 = plane.polygon.bounds
            lower = np.minimum(lower, (x0, y0, plane.lower_mm))
            upper = np.maximum(upper, (x1, y1, plane.upper_mm))
    if not np.all(upper > lower):
        raise PatientError("NO_DENSITY", "The structures with a density enclose no volume; draw closed contours.")
    if float(np.prod(np.ceil((upper - lower) / spacing_mm))) > MOST_VOXELS:
        raise PatientError(
            "BULK_GRID_TOO_LARGE",
            f"The structures reach over {' x '.join(f'{v:.0f}' for v in upper - lower)} mm; at a spacing of "
            f"{spacing_mm} mm that is more than {MOST_VOXELS} voxels.",
        )
    return Grid.covering(tuple(lower.tolist()), tuple(upper.tolist()), spacing_mm)


def _surroundings(external: Structure | None, ct: CtImage | None) -> str:
    """What lies around the patient, for the notes."""
    if external is not None and ct is not None:
        return f"Outside {external.name!r} is air; whatever the CT shows there (couch, head rest) is left out."
    if external is not None:
        return f"Density is that of the structures alone; outside {external.name!r} is air."
    if ct is not None:
        return "There is no External: the whole CT is taken as the patient, with all that lies around."
    return "There is no External: the patient is what the structures with a density enclose."


def _material_names(curve: HuCurve | None, overrides: Overrides) -> tuple[str, ...]:
    """The curve's materials, air, and what overrides add, in order of density where the curve does not rule."""
    named = {o.material for o in (*overrides.inside, *overrides.outside)} | {AIR}
    if overrides.background is not None:
        named.add(overrides.background.material)
    first = curve.material_names if curve is not None else ()
    return (*first, *(m.name for m in known_materials() if m.name in named and m.name not in first))


def _outside(
    structures: StructureSet | None, external: Structure | None, overrides: Overrides, image: Image | None
) -> tuple[Structure, ...]:
    """Couches, fixations and boluses that enclose a volume; those with a stated density in its order, last."""
    every = structures.structures if structures is not None else ()
    stated = [o.structure for o in overrides.outside]
    if external is None and image is not None:
        return tuple(stated)  # the whole image is the patient, the others included
    silent = [s for s in every if s.kind in OUTSIDE_KINDS and not s.empty and s is not external and s not in stated]
    return (*silent, *stated)
