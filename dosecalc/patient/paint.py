"""Density and material laid over each other on a grid, voxel by fractional voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PatientError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.contour_planes import structure_volume_cm3
from dosecalc.patient.density import Override, Overrides
from dosecalc.patient.hu import HuCurve
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.materials import AIR, AIR_DENSITY_G_CM3
from dosecalc.patient.structures import Structure

Mask = NDArray[np.float32]

#: a bolus whose CT is thinner than this is not in the image: it was drawn afterwards
THINNEST_IN_CT_G_CM3 = 0.3
#: above this the CT shows metal or an artefact rather than bone
DENSEST_TISSUE_HU = 2000.0
#: a voxel filled more than this is full: what is missing is rounding
FULL = 0.999


@dataclass(frozen=True, eq=False)
class Image:
    """A CT, Hounsfield units, and the curve that gives them a density."""

    hu: Volume
    curve: HuCurve

    def density(self, where: NDArray[np.bool_], stated: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Density of some voxels; where a density is stated in part, numbers beyond the curve do no harm.

        Raises
        ------
        PatientError
            Those of `HuCurve.density`, with the place of the voxel.
        """
        hu = self.hu.values[where]
        first, last = self.curve.points[0].hu, self.curve.points[-1].hu
        hu = np.where(stated[where], np.clip(hu, first, last), hu)
        try:
            return self.curve.density(hu)
        except PatientError as error:
            extreme = int(np.argmin(hu) if error.reason == "HU_BELOW_CURVE" else np.argmax(hu))
            k, j, i = (int(index[extreme]) for index in np.nonzero(where))
            grid = self.hu.grid
            place = f"x {grid.x_mm[i]:.1f}, y {grid.y_mm[j]:.1f}, z {grid.z_mm[k]:.1f} mm"
            raise PatientError(error.reason, error.message, **{**error.where, "voxel": place}) from None


class Painter:
    """Density and material under construction.

    Until `enclose`, the arrays hold what is inside the External; voxels wholly outside hold air.

    Parameters
    ----------
    grid : Grid
    body : float32 [z, y, x] or None
        Fraction of each voxel inside the External; None when there is none.
    materials : tuple of str
    """

    def __init__(self, grid: Grid, body: Mask | None, materials: tuple[str, ...]) -> None:
        self.grid = grid
        self.body = body
        self.materials = materials
        self.air = materials.index(AIR)
        self.density = np.full(grid.shape, AIR_DENSITY_G_CM3, dtype=np.float32)
        self.material = np.full(grid.shape, self.air, dtype=np.uint8)
        self.touched = np.ones(grid.shape, dtype=bool) if body is None else body > 0

    def fill(self, image: Image | None, overrides: Overrides, notes: list[str]) -> None:
        """Lay down the External's density or the image, then the structures inside."""
        masks = [(o, self._share_of_body(fractional_mask(o.structure, self.grid))) for o in overrides.inside]
        if overrides.background is not None:
            self.density[self.touched] = overrides.background.density_g_cm3
            self.material[self.touched] = self.materials.index(overrides.background.material)
        elif image is not None:
            stated = np.zeros(self.grid.shape, dtype=bool)
            for _, mask in masks:
                stated |= mask > 0
            self._fill_from(image, stated, notes)
        for override, mask in masks:
            if not mask.any():
                notes.append(f"Structure {override.structure.name!r} lies outside the patient and changes nothing.")
            self._lay(mask, override)

    def enclose(self) -> None:
        """Blend the inside with the air around it."""
        if self.body is not None:
            outside = np.where(self.touched, 1 - self.body, np.float32(0))
            self._blend(outside, np.float32(AIR_DENSITY_G_CM3), np.uint8(self.air))

    def lay_outside(
        self, structures: tuple[Structure, ...], image: Image | None, overrides: Overrides, notes: list[str]
    ) -> None:
        """Put couches, fixations and boluses where there is no patient."""
        for structure in structures:
            override = overrides.of(structure)
            if override is None and self.body is None and image is not None:
                continue  # the whole image is the patient, this included
            mask = fractional_mask(structure, self.grid)
            self._note_cut(structure, mask, notes)
            if self.body is not None:
                mask = np.minimum(mask, 1 - self.body)
            if override is not None:
                self._lay(mask, override)
            else:
                self._lay_from_image(structure, mask, image, notes)

    def _fill_from(self, image: Image, stated: NDArray[np.bool_], notes: list[str]) -> None:
        self.density[self.touched] = image.density(self.touched, stated)
        if self.body is not None:
            self._take_off_outside(self.body)
        self.material[self.touched] = image.curve.material_index(self.density[self.touched])
        dense = int(np.count_nonzero((image.hu.values > DENSEST_TISSUE_HU) & self.touched & ~stated))
        if dense:
            volume = dense * self.grid.voxel_volume_cm3
            notes.append(
                f"{volume:.2f} cm3 of the patient lie above {DENSEST_TISSUE_HU:g} HU and are taken as dense bone; "
                "metal needs a stated density."
            )

    def _take_off_outside(self, body: Mask) -> None:
        """Density of the inside alone, in voxels on the External's boundary.

        The image has blended inside and outside. Were the outside air, the inside would have all the mass; the cap
        keeps what is not air outside (a head rest that touches the skin) from being squeezed into the patient.
        """
        edge = np.nonzero((body > 0) & (body < FULL))
        share = body[edge]
        densest = _densest_full_neighbour(self.density, body, edge)
        inside = (self.density[edge] - (1 - share) * np.float32(AIR_DENSITY_G_CM3)) / share
        # with nothing but boundary around, skin is taken as water
        cap = np.where(densest > 0, densest, np.maximum(np.float32(1.0), self.density[edge]))
        self.density[edge] = np.clip(inside, np.float32(AIR_DENSITY_G_CM3), cap)

    def _share_of_body(self, mask: Mask) -> Mask:
        """The fraction of each voxel's part inside the External that a structure fills."""
        if self.body is None:
            return mask
        shared = np.zeros_like(mask)
        np.divide(mask, self.body, out=shared, where=self.body > 1e-6)
        return np.minimum(shared, 1, out=shared)

    def _lay(self, share: Mask, override: Override) -> None:
        material = np.uint8(self.materials.index(override.material))
        self._blend(share, np.float32(override.density_g_cm3), material)

    def _blend(self, share: Mask, density: np.float32 | Mask, material: np.uint8 | NDArray[np.uint8]) -> None:
        """Replace a share of each voxel; the material becomes the new one where it has more of the mass."""
        at = np.flatnonzero(share > 0)
        part = share.reshape(-1)[at]
        voxels, materials = self.density.reshape(-1), self.material.reshape(-1)
        new = part * (density.reshape(-1)[at] if density.ndim else density)
        old = (1 - part) * voxels[at]
        voxels[at] = new + old
        won = new > old
        materials[at[won]] = material.reshape(-1)[at[won]] if material.ndim else material

    def _lay_from_image(self, structure: Structure, mask: Mask, image: Image | None, notes: list[str]) -> None:
        """A bolus that lay on the patient in the scanner has its density in the CT; anything else is refused."""
        if structure.kind != "BOLUS":
            raise PatientError(
                "COUCH_WITHOUT_DENSITY",
                f"Structure {structure.name!r} ({structure.kind.lower()}) has no stated density; give it one, or 0 to "
                f"leave it out (--density '{structure.name}=0').",
                structure=structure.name,
            )
        where = mask > 0
        if not where.any():
            return
        density = np.zeros(self.grid.shape, dtype=np.float32)
        if image is not None:
            density[where] = image.density(where, np.zeros(self.grid.shape, dtype=bool))
        if image is None or float(np.average(density[where], weights=mask[where])) < THINNEST_IN_CT_G_CM3:
            raise PatientError(
                "BOLUS_WITHOUT_DENSITY",
                f"Bolus {structure.name!r} has no stated density and does not show in a CT; give it one, or 0 to leave "
                f"it out (--density '{structure.name}=0').",
                structure=structure.name,
            )
        self._blend(mask, density, image.curve.material_index(density))
        notes.append(f"Bolus {structure.name!r} has the density of the CT, for every beam.")

    def _note_cut(self, structure: Structure, mask: Mask, notes: list[str]) -> None:
        """Say how much of a structure outside the patient is not on the grid."""
        total = structure_volume_cm3(structure)
        present = float(mask.sum(dtype=np.float64)) * self.grid.voxel_volume_cm3
        if total > 0 and present < 0.999 * total:
            notes.append(
                f"{100 * (1 - present / total):.1f} % of {structure.name!r} lies beyond the CT and is left out."
            )


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
