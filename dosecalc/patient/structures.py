"""Structures as the contours that were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PatientError


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour.

    Parameters
    ----------
    points_mm : float64 [n, 3]
        Vertices, patient frame; not repeated at the end.
    kind : str
        DICOM contour geometric type: ``CLOSED_PLANAR``, ``CLOSEDPLANAR_XOR``, ``POINT``, ``OPEN_PLANAR``,
        ``OPEN_NONPLANAR``. Only the closed ones enclose a volume.
    """

    points_mm: NDArray[np.float64]
    kind: str = "CLOSED_PLANAR"

    @property
    def closed(self) -> bool:
        """Whether it bounds an area."""
        return self.kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True, eq=False)
class Structure:
    """A region of interest.

    Parameters
    ----------
    number, name : int, str
        ROI number and name.
    kind : str
        RT ROI Interpreted Type in upper case (``EXTERNAL``, ``PTV``, ``ORGAN``, ``SUPPORT``, ``BOLUS``, …) or ``""``.
    contours : tuple of Contour
    physical : mapping of str to float
        RT ROI Physical Properties that were given, by DICOM name: ``REL_MASS_DENSITY``, ``REL_ELEC_DENSITY``,
        ``EFFECTIVE_Z``, …; values relative to water. Also ``MASS_DENSITY_G_CM3`` where stated absolutely.
    composition : mapping of element symbol to mass fraction
        Where the object states one.
    color_rgb : (r, g, b) or None
    plane_spacing_mm : float or None
        Distance of the image slices that it was drawn on, as far as its structure set tells; thickness of a lone plane.
    """

    number: int
    name: str
    kind: str = ""
    contours: tuple[Contour, ...] = ()
    physical: Mapping[str, float] = field(default_factory=dict)
    composition: Mapping[str, float] = field(default_factory=dict)
    color_rgb: tuple[int, int, int] | None = None
    plane_spacing_mm: float | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no closed contour, so no volume."""
        return not any(c.closed for c in self.contours)


@dataclass(frozen=True, eq=False)
class StructureSet:
    """The structures of one RTSTRUCT."""

    structures: tuple[Structure, ...]
    label: str = ""
    sop_instance_uid: str | None = None
    frame_of_reference_uid: str | None = None
    notes: tuple[str, ...] = ()

    def find(self, name: str) -> Structure:
        """The structure of this name (exact, then without regard to case).

        Raises
        ------
        PatientError
            ``STRUCTURE_UNKNOWN`` or ``STRUCTURE_AMBIGUOUS``.
        """
        hits = [s for s in self.structures if s.name == name]
        hits = hits or [s for s in self.structures if s.name.casefold() == name.casefold()]
        if not hits:
            known = ", ".join(repr(s.name) for s in self.structures) or "none"
            why = f"There is no structure {name!r}; there are {known}."
            raise PatientError("STRUCTURE_UNKNOWN", why, structure=name)
        if len(hits) > 1:
            raise PatientError("STRUCTURE_AMBIGUOUS", f"{len(hits)} structures are called {name!r}.", structure=name)
        return hits[0]

    def external(self) -> Structure | None:
        """The patient's outline: by type EXTERNAL first, then by one of the usual names; None when there is none.

        Raises
        ------
        PatientError
            ``EXTERNAL_AMBIGUOUS`` when several non-empty structures qualify equally.
        """
        usual = {"external", "body", "skin", "outline", "patient", "ytterkontur", "kropp", "hud"}
        for hits in (
            [s for s in self.structures if s.kind == "EXTERNAL" and not s.empty],
            [s for s in self.structures if s.name.strip().casefold() in usual and not s.empty],
        ):
            if len(hits) == 1:
                return hits[0]
            if len(hits) > 1:
                names = ", ".join(repr(s.name) for s in hits)
                why = f"Several structures could be the External: {names}; keep one."
                raise PatientError("EXTERNAL_AMBIGUOUS", why, structure=names)
        return None
