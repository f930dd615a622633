"""The four test geometries of AAPM Task Group 119, drawn in a block of water.

Ezzell et al. 2009, IMRT commissioning: multiple institution planning and dosimetry comparisons, a report from AAPM Task
Group 119, Med Phys 36:5359. The report gives the sizes that stand below; what it shows only in figures is our
construction, and `docs/phantoms.md` says what.
"""

from __future__ import annotations

from dataclasses import dataclass

import shapely

from dosecalc_phantoms.conformal_plan import ConformalPlan
from dosecalc_phantoms.model import Drawn
from dosecalc_phantoms.solids import Cut, Ellipsoid, Grown, Outline, Prism, Solid, disc, ellipse, ring_sector

_RED, _ORANGE, _YELLOW = (220, 40, 40), (240, 140, 30), (230, 210, 40)
_BLUE, _CYAN, _GREEN, _BROWN = (40, 90, 220), (40, 180, 200), (60, 160, 60), (150, 110, 60)

#: the report's beam arrangements: seven fields at intervals of 50 degrees, nine at intervals of 40
SEVEN_FIELDS = (0.0, 50.0, 100.0, 150.0, 210.0, 260.0, 310.0)
NINE_FIELDS = tuple(float(g) for g in range(0, 360, 40))


@dataclass(frozen=True)
class Tg119Case:
    """One of the tests.

    Parameters
    ----------
    name, description : str
    structures : tuple of (English name, Swedish name, kind, shape, colour)
        The isocentre is the origin.
    plan : ConformalPlan
        By the English names.
    """

    name: str
    description: str
    structures: tuple[tuple[str, str, str, Solid, tuple[int, int, int]], ...]
    plan: ConformalPlan

    def drawn(self, language: str) -> dict[str, Drawn]:
        """The structures by their English names, labelled in a language."""
        return {
            english: Drawn(swedish if language == "sv" else english, kind, shape, colour)
            for english, swedish, kind, shape, colour in self.structures
        }


def _multi_target() -> Tg119Case:
    circle = disc((0.0, 0.0), 20.0)
    return Tg119Case(
        "tg119-multi-target",
        "TG-119 multi-target: three cylinders of 4 cm in a row, at 100, 50 and 25 % of the dose",
        (
            ("Central target", "Mellersta mål", "PTV", Prism(circle, -20.0, 20.0), _RED),
            ("Superior target", "Övre mål", "PTV", Prism(circle, 20.0, 60.0), _ORANGE),
            ("Inferior target", "Nedre mål", "PTV", Prism(circle, -60.0, -20.0), _YELLOW),
        ),
        ConformalPlan(
            SEVEN_FIELDS,
            (
                (0.25, ("Central target", "Superior target", "Inferior target")),
                (0.25, ("Central target", "Superior target")),
                (0.5, ("Central target",)),
            ),
        ),
    )


def _prostate() -> Tg119Case:
    # pressed half a millimetre into the prostate: then 39 % of it lie in the PTV on the widest slice ("about 1/3")
    rectum = Prism(disc((0.0, 20.0), 7.5), -50.0, 50.0)
    ctv = Cut(Ellipsoid((0.0, 0.0, 0.0), (20.0, 13.0, 32.5)), (rectum,))
    bladder = Ellipsoid((0.0, 0.0, 57.5), (25.0, 20.0, 25.0))
    return Tg119Case(
        "tg119-prostate",
        "TG-119 mock prostate: an indented ellipsoid with 6 mm margin, rectum and bladder",
        (
            ("Prostate CTV", "CTV prostata", "CTV", ctv, _ORANGE),
            ("Prostate PTV", "PTV prostata", "PTV", Grown(ctv, 6.0), _RED),
            ("Rectum", "Rektum", "ORGAN", rectum, _BROWN),
            ("Bladder", "Urinblåsa", "ORGAN", bladder, _BLUE),
        ),
        ConformalPlan(SEVEN_FIELDS, ((1.0, ("Prostate PTV",)),), ("Rectum",)),
    )


def _head_and_neck() -> Tg119Case:
    skin, cord = ellipse((0.0, 0.0), (60.0, 75.0)), disc((0.0, 25.0), 7.5)
    parotids = [Prism(ellipse((x, -5.0), (14.0, 20.0)), 10.0, 50.0) for x in (46.0, -46.0)]
    ptv = Cut(Prism(_neck_outline(skin, cord), -50.0, 50.0), tuple(parotids))
    return Tg119Case(
        "tg119-head-and-neck",
        "TG-119 mock head and neck: a horseshoe around the cord, 6 mm below the skin, with parotids",
        (
            ("HN PTV", "PTV huvud-hals", "PTV", ptv, _RED),
            ("Cord", "Ryggmärg", "ORGAN", Prism(cord, -100.0, 100.0), _BLUE),
            ("Parotid left", "Parotis vänster", "ORGAN", parotids[0], _CYAN),
            ("Parotid right", "Parotis höger", "ORGAN", parotids[1], _GREEN),
            ("Skin", "Hud fantom", "CONTROL", Prism(skin, -100.0, 100.0), _BROWN),
        ),
        ConformalPlan(NINE_FIELDS, ((1.0, ("HN PTV",)),), ("Cord",)),
    )


def _neck_outline(skin: Outline, cord: Outline) -> Outline:
    """6 mm below the skin, 15 mm from the cord, reaching back on both sides of it to the posterior nodes."""
    inside = shapely.Polygon(skin).buffer(-6.0, quad_segs=32).intersection(shapely.box(-100.0, -100.0, 100.0, 45.0))
    kept_free = shapely.Polygon(cord).buffer(15.0, quad_segs=32)
    behind = shapely.box(-22.5, 25.0, 22.5, 100.0)
    horseshoe = inside.difference(shapely.union_all([kept_free, behind]))
    return tuple((float(x), float(y)) for x, y in horseshoe.exterior.coords[:-1])


def _c_shape() -> Tg119Case:
    return Tg119Case(
        "tg119-c-shape",
        "TG-119 C-shape: a ring sector of 1.5 to 3.7 cm radius around a core of 1 cm radius",
        (
            ("C-shape PTV", "PTV C-form", "PTV", Prism(ring_sector(15.0, 37.0, 120.0), -40.0, 40.0), _RED),
            ("Core", "Kärna", "ORGAN", Prism(disc((0.0, 0.0), 10.0), -50.0, 50.0), _BLUE),
        ),
        ConformalPlan(NINE_FIELDS, ((1.0, ("C-shape PTV",)),), ("Core",)),
    )


TG119_CASES: dict[str, Tg119Case] = {c.name: c for c in (_multi_target(), _prostate(), _head_and_neck(), _c_shape())}
