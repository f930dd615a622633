"""Fraction groups of an RT Plan: how often which beam is given, and with how many monitor units."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.rtplan_context import within
from dosecalc.plan import FractionGroup

#: more monitor units than any beam of any fraction
_MOST_MU = 1e6


def read_fraction_groups(plan: Dataset, file: str) -> tuple[FractionGroup, ...]:
    """All fraction groups, with every beam to which they give a meterset (setup beams and 0 MU too).

    Raises
    ------
    RtPlanError
        ``BRACHY_NOT_SUPPORTED``, ``FRACTIONS_MISSING``, ``BEAM_REFERENCE_DUPLICATE``, or what `values` finds wrong.
    """
    groups = []
    for i, item in enumerate(values.items(plan, "FractionGroupSequence", file, required=True, error=RtPlanError)):
        number = values.integer(item, "FractionGroupNumber", file, i + 1, error=RtPlanError)
        with within(fraction_group=number):
            groups.append(_read_group(item, number, file))
    return tuple(groups)


def without(group: FractionGroup, kept: Mapping[int, object]) -> FractionGroup:
    """The group with the metersets of the kept beams only."""
    return FractionGroup(group.number, group.fractions, {n: mu for n, mu in group.beam_mu.items() if n in kept})


def _read_group(item: Dataset, number: int, file: str) -> FractionGroup:
    if values.integer(item, "NumberOfBrachyApplicationSetups", file, 0, error=RtPlanError) > 0:
        raise RtPlanError("BRACHY_NOT_SUPPORTED", "A fraction group gives brachytherapy, which is not read.", file=file)
    fractions = values.integer(item, "NumberOfFractionsPlanned", file, 0, minimum=0, maximum=10_000, error=RtPlanError)
    if fractions == 0:
        raise RtPlanError(
            "FRACTIONS_MISSING",
            "The plan does not say how many fractions are planned, so the dose of the whole plan is not known; "
            "enter the number of fractions in the planning system.",
            file=file,
            tag=values.tag_name("NumberOfFractionsPlanned"),
        )
    beam_mu: dict[int, float] = {}
    for reference in values.items(item, "ReferencedBeamSequence", file, error=RtPlanError):
        beam = values.integer(reference, "ReferencedBeamNumber", file, error=RtPlanError)
        with within(beam=beam):
            mu = values.number(reference, "BeamMeterset", file, None, minimum=0.0, maximum=_MOST_MU, error=RtPlanError)
        if mu is None:
            continue
        if beam in beam_mu:
            raise RtPlanError(
                "BEAM_REFERENCE_DUPLICATE", "A fraction group gives one beam twice.", file=file, beam=beam
            )
        beam_mu[beam] = mu
    return FractionGroup(number, fractions, beam_mu)
