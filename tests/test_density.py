"""Stated densities: the caller's list, the structure set's, and which goes before which."""

from __future__ import annotations

import pytest
from builders_structures import box
from hypothesis import given, settings
from hypothesis import strategies as st

from dosecalc.errors import InputError, PatientError
from dosecalc.patient.density import density_of_structure, parse_density_list, resolve_overrides
from dosecalc.patient.structures import Structure, StructureSet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BODY=1.0,Lungs=0.26", {"BODY": 1.0, "Lungs": 0.26}),
        (" BODY = 1 , Vänster lunga = .26 ", {"BODY": 1.0, "Vänster lunga": 0.26}),
        ('"Bone, skull"=1.6,BODY=1', {"Bone, skull": 1.6, "BODY": 1.0}),
        ("'A=B, C'=1", {"A=B, C": 1.0}),
        ("LUNGS-ITV's=0.26", {"LUNGS-ITV's": 0.26}),
        ("Skalle (ben)=1.6", {"Skalle (ben)": 1.6}),
        ("PTV=0.5=1.1", {"PTV=0.5": 1.1}),
        ("Couch=0", {"Couch": 0.0}),
        ("BODY=1.0,", {"BODY": 1.0}),
    ],
)
def test_lists_that_people_write(text: str, expected: dict[str, float]) -> None:
    found = parse_density_list(text)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ""),
        (",", ""),
        ("BODY", "BODY"),
        ("BODY=1,0", "0"),
        ("=1.0", "=1.0"),
        ("BODY=heavy", "BODY=heavy"),
        ("BODY=", "BODY="),
        ("BODY=-1", "BODY=-1"),
        ("BODY=nan", "BODY=nan"),
        ("BODY=1e9", "BODY=1e9"),
        ("BODY=1,BODY=2", "BODY"),
        ("x" * 30000 + "=1", "xxx"),
    ],
)
def test_a_wrong_list_names_the_entry(text: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_density_list(text)
    assert caught.value.reason == "DENSITY_LIST_INVALID"
    assert named in caught.value.message


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="aå \"'=,.01-", max_size=40))
def test_any_text_is_a_list_or_an_input_error(text: str) -> None:
    try:
        found = parse_density_list(text)
    except InputError:
        return
    assert found and all(name and 0 <= density <= 25 for name, density in found.items())


BODY = box((-50, -50, -50), (50, 50, 50), step_mm=10, name="BODY", kind="EXTERNAL", number=1)
LUNG = box((-40, -40, -40), (0, 40, 40), step_mm=10, name="Lunga", number=2, physical={"REL_MASS_DENSITY": 0.3})
TUMOUR = box((-30, -10, -10), (-10, 10, 10), step_mm=10, name="GTV", number=3, physical={"REL_ELEC_DENSITY": 1.0})
COUCH = box((-50, 60, -50), (50, 70, 50), step_mm=10, name="Brits", kind="SUPPORT", number=4)
SET = StructureSet((TUMOUR, LUNG, BODY, COUCH))


def test_the_structure_set_lays_small_over_large() -> None:
    overrides = resolve_overrides(SET, BODY, None, None)
    assert [(o.structure.name, o.density_g_cm3, o.material) for o in overrides.inside] == [
        ("Lunga", 0.3, "lung_icru44"),
        ("GTV", 1.0, "water"),
    ]
    assert overrides.background is None and overrides.outside == ()
    assert len(overrides.notes) == 2


def test_the_caller_goes_before_the_structure_set_in_the_order_given() -> None:
    overrides = resolve_overrides(SET, BODY, {"GTV": 1.05, "lunga": 0.2, "BODY": 1.0, "Brits": 0.1}, None)
    assert [(o.structure.name, o.density_g_cm3) for o in overrides.inside] == [("GTV", 1.05), ("Lunga", 0.2)]
    assert overrides.background is not None and overrides.background.density_g_cm3 == 1.0
    assert [o.structure.name for o in overrides.outside] == ["Brits"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(PatientError) as caught:
        resolve_overrides(SET, BODY, {"Lungor": 0.26}, None)
    assert caught.value.reason == "STRUCTURE_UNKNOWN"
    for name in ("Lungor", "Lunga", "GTV", "BODY"):
        assert name in caught.value.message
    with pytest.raises(PatientError):
        resolve_overrides(None, None, {"BODY": 1.0}, None)


@pytest.mark.parametrize("density", [-0.1, 30.0, float("nan"), float("inf")])
def test_no_impossible_densities(density: float) -> None:
    with pytest.raises(PatientError) as caught:
        resolve_overrides(SET, BODY, {"GTV": density}, None)
    assert caught.value.reason == "DENSITY_OUT_OF_RANGE"
    with pytest.raises(PatientError):
        density_of_structure(Structure(1, "x", physical={"REL_MASS_DENSITY": density, "REL_ELEC_DENSITY": 1.0}))


def test_an_empty_structure_cannot_be_given_a_density() -> None:
    with pytest.raises(PatientError) as caught:
        resolve_overrides(StructureSet((Structure(1, "Tom"),)), None, {"Tom": 1.0}, None)
    assert caught.value.reason == "STRUCTURE_EMPTY"


def test_mass_density_goes_before_electron_density() -> None:
    both = {"REL_ELEC_DENSITY": 0.99, "REL_MASS_DENSITY": 1.02}
    assert density_of_structure(Structure(1, "x", physical=both)) == 1.02
    assert density_of_structure(Structure(1, "x", physical={"REL_ELEC_DENSITY": 1.0})) == 1.0
    assert density_of_structure(Structure(1, "x", physical={"EFFECTIVE_Z": 7.0})) is None
