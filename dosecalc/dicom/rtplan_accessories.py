"""Wedges, blocks and boluses of an RT Plan beam that are described well enough to be modelled.

One that is not becomes a `Modifier` that says what is lacking; `dosecalc.plan.support` refuses the beam for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.rtplan_context import within
from dosecalc.plan.accessories import BLOCK_KINDS, WEDGE_KINDS, Accessories, Block, Bolus, Wedge
from dosecalc.plan.model import Modifier

#: no block edge lies farther from the axis, at the isocentre plane
_FARTHEST_MM = 1000.0


@dataclass(frozen=True)
class BeamAccessories:
    """What `read_accessories` finds.

    Parameters
    ----------
    modelled : Accessories
    lacking : tuple of Modifier
        What is described too poorly to be modelled, or of a kind that is not.
    wedges_in : tuple of (frozenset of int)
        For each control point the numbers of the wedges that are in the beam from there on.
    """

    modelled: Accessories
    lacking: tuple[Modifier, ...]
    wedges_in: tuple[frozenset[int], ...]


def read_accessories(beam: Dataset, control_points: Sequence[Dataset], file: str) -> BeamAccessories:
    """The accessories of one item of the Beam Sequence.

    Parameters
    ----------
    beam : Dataset
    control_points : sequence of Dataset
        Items of its Control Point Sequence.
    file : str
        Name of the file, for messages.

    Raises
    ------
    RtPlanError
        ``WEDGE_UNDEFINED``, or what `values` finds wrong.
    """
    wedges, odd_wedges, wedges_in = _wedges(beam, control_points, file)
    blocks, odd_blocks = _blocks(beam, file)
    boluses, odd_boluses = _boluses(beam, file)
    factor = values.number(beam, "TotalBlockTrayFactor", file, None, minimum=0.0, maximum=1.0, error=RtPlanError)
    found = Accessories(wedges, blocks, boluses, factor)
    return BeamAccessories(found, (*odd_wedges, *odd_blocks, *odd_boluses), wedges_in)


def _text(item: Dataset, keyword: str, file: str) -> str:
    return values.text(item, keyword, file, "", error=RtPlanError)


def _count(beam: Dataset, keyword: str, file: str) -> int:
    return values.integer(beam, keyword, file, 0, minimum=0, error=RtPlanError)


def _wedges(
    beam: Dataset, control_points: Sequence[Dataset], file: str
) -> tuple[tuple[Wedge, ...], tuple[Modifier, ...], tuple[frozenset[int], ...]]:
    items = values.items(beam, "WedgeSequence", file, error=RtPlanError)
    read = [_wedge(item, file) for item in items]
    odd = [Modifier("WEDGE")] if not items and _count(beam, "NumberOfWedges", file) else []
    numbers = [wedge.number for wedge, _ in read]
    placed, wedges_in = _wedge_positions(control_points, frozenset(numbers), file)
    wedges: list[Wedge] = []
    for wedge, lacking in read:
        if not any(wedge.number in inside for inside in wedges_in):
            continue  # one that stays out of the beam
        if numbers.count(wedge.number) > 1:
            lacking = "a number of its own"
        elif wedge.kind == "MOTORIZED" and wedge.number not in placed:
            lacking = "a position at the first control point"
        if lacking:
            odd.append(Modifier("WEDGE", wedge.name, {"type": wedge.kind, "lacking": lacking}))
        else:
            wedges.append(wedge)
    return tuple(wedges), tuple(odd), wedges_in


def _wedge(item: Dataset, file: str) -> tuple[Wedge, str]:
    """A wedge, and what it lacks to be modelled."""
    kind = _text(item, "WedgeType", file).upper()
    angle = values.number(item, "WedgeAngle", file, None, minimum=0.0, maximum=90.0, error=RtPlanError)
    orientation = values.number(item, "WedgeOrientation", file, None, minimum=-360.0, maximum=360.0, error=RtPlanError)
    lacking = ""
    if kind not in WEDGE_KINDS:
        lacking = f"a type that is modelled ({', '.join(WEDGE_KINDS)})"
    elif not angle:
        lacking = "an angle"
    elif orientation is None:
        lacking = "an orientation"
    number = values.integer(item, "WedgeNumber", file, error=RtPlanError)
    return Wedge(number, kind, angle or 0.0, (orientation or 0.0) % 360.0, _text(item, "WedgeID", file)), lacking


def _wedge_positions(
    control_points: Sequence[Dataset], defined: frozenset[int], file: str
) -> tuple[frozenset[int], tuple[frozenset[int], ...]]:
    """The wedges that the first control point places, and for each control point those in the beam from there on.

    A wedge that the first control point does not place is in the beam: a plate is there or it is not planned.
    """
    placed: set[int] = set()
    inside = set(defined)
    result = []
    for i, item in enumerate(control_points):
        with within(control_point=i):
            for entry in values.items(item, "WedgePositionSequence", file, error=RtPlanError):
                number = values.integer(entry, "ReferencedWedgeNumber", file, error=RtPlanError)
                position = _text(entry, "WedgePosition", file).upper()
                if position not in ("IN", "OUT"):
                    raise values.invalid("WedgePosition", file, "is neither IN nor OUT", RtPlanError)
                if position == "IN" and number not in defined:
                    raise RtPlanError(
                        "WEDGE_UNDEFINED",
                        f"Wedge {number} is put into the beam, but the beam does not define it.",
                        file=file,
                        tag=values.tag_name("WedgeSequence"),
                    )
                (inside.add if position == "IN" else inside.discard)(number)
                if i == 0:
                    placed.add(number)
        result.append(frozenset(inside))
    return frozenset(placed), tuple(result)


def _blocks(beam: Dataset, file: str) -> tuple[tuple[Block, ...], tuple[Modifier, ...]]:
    items = values.items(beam, "BlockSequence", file, error=RtPlanError)
    if not items:
        return (), (Modifier("BLOCK"),) if _count(beam, "NumberOfBlocks", file) else ()
    blocks: list[Block] = []
    odd: list[Modifier] = []
    for item in items:
        name = _text(item, "BlockName", file)
        lacking = _lacking_of_block(item, file)
        if lacking:
            odd.append(Modifier("BLOCK", name, {"lacking": lacking}))
            continue
        outline = _outline(item, file)
        if not _encloses_an_area(outline):
            odd.append(Modifier("BLOCK", name, {"lacking": "an outline that does not cross itself"}))
            continue
        blocks.append(
            Block(
                _text(item, "BlockType", file).upper(),
                outline,
                values.number(item, "BlockTransmission", file, minimum=0.0, maximum=1.0, error=RtPlanError),
                name,
                _text(item, "BlockTrayID", file),
                values.number(item, "SourceToBlockTrayDistance", file, None, minimum=0.0, error=RtPlanError) or None,
            )
        )
    return tuple(blocks), tuple(odd)


def _lacking_of_block(item: Dataset, file: str) -> str:
    if _text(item, "BlockType", file).upper() not in BLOCK_KINDS:
        return "a block type"
    # straight sides throw a broad edge that depends on the thickness and on which face was drawn
    if _text(item, "BlockDivergence", file).upper() != "PRESENT":
        return "edges that follow the beam's divergence"
    if not values.present(item, "BlockTransmission"):
        return "a transmission"
    return "" if values.present(item, "BlockData") else "an outline"


def _outline(item: Dataset, file: str) -> NDArray[np.float64]:
    n = values.integer(item, "BlockNumberOfPoints", file, None, minimum=0, maximum=10**6, error=RtPlanError)
    flat = values.numbers(
        item,
        "BlockData",
        file,
        count=None if n is None else 2 * n,
        minimum=-_FARTHEST_MM,
        maximum=_FARTHEST_MM,
        error=RtPlanError,
    )
    if len(flat) % 2:
        raise values.invalid("BlockData", file, "holds an odd number of values", RtPlanError)
    outline = flat.reshape(-1, 2).copy()
    outline.flags.writeable = False
    return outline


def _encloses_an_area(outline: NDArray[np.float64]) -> bool:
    if len(outline) < 3:
        return False
    polygon = shapely.Polygon(outline)
    return bool(polygon.is_valid) and float(polygon.area) > 0


def _boluses(beam: Dataset, file: str) -> tuple[tuple[Bolus, ...], tuple[Modifier, ...]]:
    items = values.items(beam, "ReferencedBolusSequence", file, error=RtPlanError)
    if not items:
        return (), (Modifier("BOLUS"),) if _count(beam, "NumberOfBoli", file) else ()
    boluses: list[Bolus] = []
    odd: list[Modifier] = []
    for item in items:
        name = _text(item, "BolusID", file)
        number = values.integer(item, "ReferencedROINumber", file, None, error=RtPlanError)
        if number is None:
            odd.append(Modifier("BOLUS", name, {"lacking": "a structure number"}))
        elif all(b.structure_number != number for b in boluses):
            boluses.append(Bolus(number, name))
    return tuple(boluses), tuple(odd)
