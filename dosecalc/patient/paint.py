"""Density and material laid over each other on a grid, voxel by fractional voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PatientError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.bolus import BolusLayer
from dosecalc.patient.contour_planes import structure_volume_cm3
from dosecalc.patient.density import Overrides
from dosecalc.patient.hu import HuCurve
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.materials import AIR, AIR_DENSITY_G_CM3
from dosecalc.patient.structures import Structure
from dosecalc_kernels.offload import Offload

Mask = NDArray[np.float32]

#: a bolus whose CT is thinner than this is not in the image: it was drawn afterwards
THINNEST_IN_CT_G_CM3 = 0.3
#: the same for a couch, which may be a thin shell about foam
THINNEST_COUCH_IN_CT_G_CM3 = 0.05
#: share of a bolus that may lie inside the External: contours overlap by a voxel or so
MOST_INSIDE = 0.5
#: above this the CT shows metal or an artefact rather than bone
DENSEST_TISSUE_HU = 2000.0
#: a voxel filled more than this is full: what is missing is rounding
FULL = 0.999


@dataclass(frozen=True, eq=False)
class Image:
    """A CT, Hounsfield units, and the curve that gives them a density."""

    hu: Volume
    curve: HuCurve

    def density(self, where: NDArray[np.bool_], stated: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Density of some voxels, 0 elsewhere; where one is stated in part, numbers beyond the curve do no harm.

        Raises
        ------
        PatientError
            Those of `HuCurve.density`, with the place of the voxel.
        """
        density = np.zeros(where.shape, dtype=np.float32)
        first, last = self.curve.points[0].hu, self.curve.points[-1].hu
        for k, layer in enumerate(where):  # by layers, so that the float64 in between stay small
            hu = self.hu.values[k][layer]
            if stated is not None:
                hu = np.where(stated[k][layer], np.clip(hu, first, last), hu)
            try:
                density[k][layer] = self.curve.density(hu)
            except PatientError as error:
                raise self._placed(error, hu, k, layer) from None
        return density

    def _placed(self, error: PatientError, hu: NDArray[np.float32], k: int, layer: NDArray[np.bool_]) -> PatientError:
        extreme = int(np.argmin(hu) if error.reason == "HU_BELOW_CURVE" else np.argmax(hu))
        j, i = (int(index[extreme]) for index in np.nonzero(layer))
        grid = self.hu.grid
        place = f"x {grid.x_mm[i]:.1f}, y {grid.y_mm[j]:.1f}, z {grid.z_mm[k]:.1f} mm"
        return PatientError(error.reason, error.message, **{**error.where, "voxel": place})


class Painter:
    """Density and material under construction, from the top layer to the bottom one.

    Every voxel has a share inside the External and a share outside. A layer takes what it covers of the share that is
    left, so that two structures that touch within a voxel both get theirs, and one inside the other displaces it. The
    material is that of the layer with most mass.

    Parameters
    ----------
    grid : Grid
    body : float32 [z, y, x] or None
        Fraction of each voxel inside the External; None when there is none, and everything is inside.
    materials : tuple of str
    kernels : Offload
        That make masks of structures.
    """

    def __init__(self, grid: Grid, body: Mask | None, materials: tuple[str, ...], kernels: Offload) -> None:
        self._kernels = kernels
        self.grid = grid
        self.body = body
        self.materials = materials
        self.density = np.zeros(grid.shape, dtype=np.float32)
        self.material = np.full(grid.shape, materials.index(AIR), dtype=np.uint8)
        self._heaviest = np.zeros(grid.shape, dtype=np.float32)
        self._inside = np.ones(grid.shape, dtype=np.float32) if body is None else body.copy()
        self._outside = np.zeros(grid.shape, dtype=np.float32) if body is None else 1 - body

    def fill_inside(self, image: Image | None, overrides: Overrides, notes: list[str]) -> None:
        """Lay the structures inside, the last on top, over the External's density or the image."""
        for override in reversed(overrides.inside):
            mask = np.minimum(fractional_mask(override.structure, self.grid, self._kernels), self._inside)
            if not mask.any():
                notes.append(f"Structure {override.structure.name!r} has no voxel left to change.")
            self._lay(mask, override.density_g_cm3, override.material)
            self._inside -= mask
        if overrides.background is not None:
            self._lay(self._inside, overrides.background.density_g_cm3, overrides.background.material)
        elif image is not None:
            self._lay_image(image, notes)
        else:
            self._outside += self._inside

    def fill_outside(
        self, structures: tuple[Structure, ...], image: Image | None, overrides: Overrides, notes: list[str]
    ) -> None:
        """Lay couches and fixations, the last on top, where there is no patient."""
        for structure in reversed(structures):
            mask = fractional_mask(structure, self.grid, self._kernels)
            self._note_cut(structure, mask, notes)
            mask = np.minimum(mask, self._outside)
            override = overrides.of(structure)
            if override is not None:
                self._lay(mask, override.density_g_cm3, override.material)
            else:
                self._lay_from_image(structure, mask, image, notes)
            self._outside -= mask

    def fill_air(self) -> None:
        """Fill what is left outside."""
        self._lay(self._outside, AIR_DENSITY_G_CM3, AIR)

    def bolus(self, structure: Structure, image: Image | None, overrides: Overrides, notes: list[str]) -> BolusLayer:
        """A bolus where there is neither patient nor couch, for `with_boluses`; nothing is laid."""
        whole = fractional_mask(structure, self.grid, self._kernels)
        self._note_cut(structure, whole, notes)
        share = np.minimum(whole, self._outside)
        voxels = np.flatnonzero(share)
        override = overrides.of(structure)
        problem = None
        density = np.zeros(len(voxels), np.float32)
        material = np.zeros(len(voxels), np.uint8)
        total, outside = float(whole.sum(dtype=np.float64)), float(share.sum(dtype=np.float64))
        if total == 0:
            problem = PatientError(
                "BOLUS_OUTSIDE_CT",
                f"The bolus {structure.name!r} has no voxel on the patient's grid; give a CT that holds it, or state "
                f"its density (--density '{structure.name}=1.0') where there is no CT.",
                structure=structure.name,
            )
        elif outside < (1 - MOST_INSIDE) * total:
            problem = PatientError(
                "BOLUS_INSIDE_PATIENT",
                f"{100 * (1 - outside / total):.0f} % of the bolus {structure.name!r} lies inside the External or a "
                "couch, where every beam would see it; draw the External without the bolus.",
                structure=structure.name,
            )
        elif override is not None:
            density[:] = override.density_g_cm3
            material[:] = self.materials.index(override.material)
        else:
            in_ct = image.density(share > 0) if image is not None and len(voxels) else None
            if image is None or in_ct is None or _mean(in_ct, share) < THINNEST_IN_CT_G_CM3:
                problem = PatientError(
                    "BOLUS_WITHOUT_DENSITY",
                    f"Bolus {structure.name!r} has no stated density and does not show in a CT; give it one "
                    f"(--density '{structure.name}=1.0').",
                    structure=structure.name,
                )
            else:
                density = in_ct.reshape(-1)[voxels]
                material = image.curve.material_index(in_ct).reshape(-1)[voxels]
                notes.append(f"Bolus {structure.name!r} has the density of the CT.")
        room = self._outside.reshape(-1)[voxels]
        return BolusLayer(
            structure.number, structure.name, voxels, share.reshape(-1)[voxels], room, density, material, problem
        )

    def _lay(self, share: Mask, density: float | Mask, material: str | NDArray[np.uint8]) -> None:
        for k, layer in enumerate(share):  # by layers: what is in between stays small
            if not layer.any():
                continue
            mass = layer * (density[k] if isinstance(density, np.ndarray) else np.float32(density))
            self.density[k] += mass
            won = mass > self._heaviest[k]
            np.copyto(self._heaviest[k], mass, where=won)
            index = np.uint8(self.materials.index(material)) if isinstance(material, str) else material[k]
            np.copyto(self.material[k], index, where=won)

    def _lay_image(self, image: Image, notes: list[str]) -> None:
        where = np.ones(self.grid.shape, dtype=bool) if self.body is None else self.body > 0
        stated = self._inside < (1 if self.body is None else self.body)
        density = image.density(where, stated)
        if self.body is not None:
            _take_off_outside(density, self.body)
        self._lay(self._inside, density, image.curve.material_index(density))
        dense = int(np.count_nonzero((image.hu.values > DENSEST_TISSUE_HU) & where & ~stated))
        if dense:
            volume = dense * self.grid.voxel_volume_cm3
            notes.append(
                f"{volume:.2f} cm3 of the patient lie above {DENSEST_TISSUE_HU:g} HU and are taken as dense bone; "
                "metal needs a stated density."
            )

    def _lay_from_image(self, structure: Structure, mask: Mask, image: Image | None, notes: list[str]) -> None:
        """A couch that the CT shows has its density there; one that was drawn in afterwards is refused."""
        where = mask > 0
        density = image.density(where) if image is not None and where.any() else None
        if image is None or density is None or _mean(density, mask) < THINNEST_COUCH_IN_CT_G_CM3:
            raise PatientError(
                "COUCH_WITHOUT_DENSITY",
                f"Structure {structure.name!r} ({structure.kind.lower()}) has no stated density and does not show in a "
                f"CT; give it one, or 0 to leave it out (--density '{structure.name}=0').",
                structure=structure.name,
            )
        self._lay(mask, density, image.curve.material_index(density))
        notes.append(f"Structure {structure.name!r} ({structure.kind.lower()}) has the density of the CT.")

    def _note_cut(self, structure: Structure, mask: Mask, notes: list[str]) -> None:
        """Say how much of a structure outside the patient is not on the grid."""
        total = structure_volume_cm3(structure)
        present = float(mask.sum(dtype=np.float64)) * self.grid.voxel_volume_cm3
        if total > 0 and present < 0.999 * total:
            share = 100 * (1 - present / total)
            notes.append(f"{share:.1f} % of {structure.name!r} lies beyond the CT and is left out.")


def _mean(density: NDArray[np.float32], share: Mask) -> float:
    return float(np.average(density, weights=share))


def _take_off_outside(density: NDArray[np.float32], body: Mask) -> None:
    """Turn the density of voxels on the External's boundary into that of the part inside.

    The image has blended inside and outside. Were the outside air, the inside would have all the mass; the cap keeps
    what is not air outside (a head rest that touches the skin) from being squeezed into the patient.
    """
    edge = np.nonzero((body > 0) & (body < FULL))
    share = body[edge]
    densest = _densest_full_neighbour(density, body, edge)
    inside = (density[edge] - (1 - share) * np.float32(AIR_DENSITY_G_CM3)) / share
    # with nothing but boundary around, skin is taken as water
    cap = np.where(densest > 0, densest, np.maximum(np.float32(1.0), density[edge]))
    density[edge] = np.clip(inside, np.float32(AIR_DENSITY_G_CM3), cap)


def _densest_full_neighbour(
    density: NDArray[np.float32], body: Mask, edge: tuple[NDArray[np.intp], ...]
) -> NDArray[np.float32]:
    """For some voxels the highest density among the 26 around that lie wholly inside; 0 where none does."""
    best = np.zeros(len(edge[0]), dtype=np.float32)
    last = [n - 1 for n in density.shape]
    for dz in (-1, 0, 1):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at = tuple(np.clip(i + d, 0, n) for i, d, n in zip(edge, (dz, dy, dx), last, strict=True))
                np.maximum(best, np.where(body[at] >= FULL, density[at], 0), out=best)
    return best
