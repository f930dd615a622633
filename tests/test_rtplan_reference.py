"""All RT Plans of the reference data: read as they are, or refused for the right reason.

The figures of the table were taken from the objects by hand and with pydicom alone, not with dosecalc. Plans are known
by the beginning of their SHA-256, because their names hold identifiers.
"""

# ruff: noqa: E501 - a row of the table is a line

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from builders_accessories import shipped_with

from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.dicom.values import text
from dosecalc.errors import DicomError, MachineError, PlanError
from dosecalc.machine.accessories import MachineAccessories
from dosecalc.photon.fluence import check_geometry
from dosecalc.photon.modifiers import prepared
from dosecalc.plan import Plan, check_supported, gantry_sweep_deg, technique

_ROOT = os.environ.get("DOSECALC_REFERENCE", "")
pytestmark = pytest.mark.skipif(not _ROOT, reason="DOSECALC_REFERENCE is not set: no reference data")


class Row(NamedTuple):
    """What is known of one plan; ``refused`` is empty when all of it is modelled."""

    archive: str
    sha256: str
    system: str
    what: str
    refused: str
    techniques: str
    beams: int
    skipped: int
    control_points: int
    mu: float  # all beams, all fractions
    fractions: int
    energies: str
    mlc: str
    jaws: str


# fmt: off
PLANS = (
    Row("head-vmat",             "8aa6252e66", "Eclipse",    "two arcs, three setup beams",                  "",                         "VMAT",                  2,  3, 356,  1007.154,  2,  "6",      "MLCX 60", "ASYMX ASYMY"),
    Row("breast-sliding-window", "d518fc976a", "(removed)",  "four sliding windows of two energies",         "",                         "SLIDING_WINDOW",        4,  0, 384,  2569.0,    7,  "10, 6",  "MLCX 60", "ASYMX ASYMY"),
    Row("brain-imrt",            "4c39f79383", "RayStation", "step and shoot, nine setup beams",             "",                         "STEP_AND_SHOOT",        13, 9, 200,  24546.085, 5,  "6",      "MLCX 80", "ASYMX ASYMY"),
    Row("lung-imrt",             "bd06495935", "Monaco",     "dynamic, no X jaw",                            "",                         "SLIDING_WINDOW",        3,  0, 90,   4198.045,  3,  "6",      "MLCX 80", "ASYMY"),
    Row("plans-only",            "91aa9bc975", "Eclipse",    "sliding window, FFF",                          "",                         "SLIDING_WINDOW",        9,  0, 808,  22216.992, 5,  "10FFF",  "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "51365748b6", "Eclipse",    "sliding window, eleven beams",                 "",                         "SLIDING_WINDOW",        11, 0, 1175, 20205.51,  5,  "6",      "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "83b4d3eaa4", "Monaco",     "open fields with bolus",                       "",                         "STATIC",                2,  0, 4,    3250.0,    13, "6",      "MLCX 80", "ASYMY"),
    Row("plans-only",            "3feddc2017", "Monaco",     "open fields",                                  "",                         "STATIC",                2,  0, 4,    2880.0,    12, "6",      "MLCX 80", "ASYMY"),
    Row("plans-only",            "1e550ca0e7", "Monaco",     "field in field, two energies",                 "",                         "STEP_AND_SHOOT",        2,  0, 8,    5750.0,    25, "15, 6",  "MLCX 80", "ASYMY"),
    Row("plans-only",            "6a43bef532", "Monaco",     "three fraction groups, bolus in one",          "",                         "STATIC STEP_AND_SHOOT", 6,  0, 16,   11880.0,   50, "15, 6",  "MLCX 80", "ASYMY"),
    Row("plans-only",            "019b13a227", "Monaco",     "open fields with bolus",                       "",                         "STATIC",                2,  0, 4,    3250.0,    13, "6",      "MLCX 80", "ASYMY"),
    Row("plans-only",            "e8fcd7b8f2", "Monaco",     "open fields",                                  "",                         "STATIC",                2,  0, 4,    2880.0,    12, "6",      "MLCX 80", "ASYMY"),
    Row("plans-only",            "afb74c6991", "Monaco",     "field in field, two energies",                 "",                         "STEP_AND_SHOOT",        2,  0, 8,    5750.0,    25, "15, 6",  "MLCX 80", "ASYMY"),
    Row("plans-only",            "1d4e62afd4", "Monaco",     "three fraction groups, bolus in one",          "",                         "STATIC STEP_AND_SHOOT", 6,  0, 16,   11880.0,   50, "15, 6",  "MLCX 80", "ASYMY"),
    Row("plans-only",            "fb19b03516", "Eclipse",    "four arcs",                                    "",                         "VMAT",                  4,  0, 712,  17022.164, 35, "6",      "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "078213fc73", "Eclipse",    "field in field",                               "",                         "STEP_AND_SHOOT",        1,  0, 4,    200.0,     1,  "6",      "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "75c1a8f034", "Eclipse",    "two arcs, three setup beams",                  "",                         "VMAT",                  2,  3, 356,  1007.154,  2,  "6",      "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "93e30ce8a9", "Eclipse",    "four arcs",                                    "",                         "VMAT",                  4,  0, 712,  17022.164, 35, "6",      "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "95cac1ba5f", "Eclipse",    "nine partial arcs, FFF",                       "",                         "VMAT",                  9,  0, 866,  51811.684, 25, "6FFF",   "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "ca4ed3af75", "Eclipse",    "three full turns of 359.8 degrees, FFF",       "",                         "VMAT",                  3,  0, 534,  31851.859, 35, "6FFF",   "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "0c6a347e79", "iPlan",      "conformal arcs, leaves along Y, couch turned", "",                         "VMAT",                  3,  0, 33,   6350.0,    5,  "6",      "MLCY 26", "ASYMX ASYMY"),
    Row("plans-only",            "dd060279e7", "iPlan",      "conformal arcs, leaves along Y, couch turned", "",                         "VMAT",                  3,  0, 39,   5805.0,    5,  "6",      "MLCY 26", "ASYMX ASYMY"),
    Row("plans-only",            "f27d0eabe7", "iPlan",      "conformal arcs, leaves along Y, couch turned", "",                         "VMAT",                  3,  0, 39,   5665.0,    5,  "6",      "MLCY 26", "ASYMX ASYMY"),
    Row("plans-only",            "1115a02697", "iPlan",      "conformal arcs, leaves along Y, couch turned", "",                         "VMAT",                  3,  0, 33,   6500.0,    5,  "6",      "MLCY 26", "ASYMX ASYMY"),
    Row("plans-only",            "40a2414aa0", "iPlan",      "conformal arcs, leaves along Y, couch turned", "",                         "VMAT",                  3,  0, 33,   5275.0,    5,  "6",      "MLCY 26", "ASYMX ASYMY"),
    Row("plans-only",            "91f7f46f5c", "Eclipse",    "dual-layer MLC, imaging beams with MU",        "DELIVERY_TYPE_NOT_SUPPORTED", "STATIC VMAT",           4,  0, 360,  32775.236, 5,  "6FFF",   "MLCX 28", "X Y"),
    Row("plans-only",            "6a6d29d071", "Eclipse",    "field in field with bolus",                    "",                         "STEP_AND_SHOOT",        2,  0, 16,   2810.968,  12, "10",     "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "8bac385bd6", "Eclipse",    "open and field in field, two energies",        "",                         "STATIC STEP_AND_SHOOT", 4,  0, 20,   3082.802,  13, "10, 6",  "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "27110d6b58", "Eclipse",    "open fields",                                  "",                         "STATIC",                2,  0, 4,    5479.564,  25, "10",     "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "df71656e94", "Eclipse",    "open fields with bolus",                       "",                         "STATIC",                10, 0, 20,   2944.99,   12, "10, 6",  "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "d7feff9d25", "Eclipse",    "field in field, two energies",                 "",                         "STEP_AND_SHOOT",        2,  0, 16,   3098.056,  13, "10, 6",  "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "c762500f11", "Eclipse",    "open fields, 10 and 15 MV",                    "",                         "STATIC",                2,  0, 4,    5258.587,  25, "10, 15", "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "c71b6c9715", "Eclipse",    "electrons with applicator and cut-out",        "RADIATION_NOT_SUPPORTED",  "STATIC",                1,  0, 2,    6255.379,  25, "9",      "",        "X Y"),
    Row("plans-only",            "ed3228807b", "Eclipse",    "open fields with bolus",                       "",                         "STATIC",                10, 0, 20,   2944.99,   12, "10, 6",  "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "d54429a8cc", "Eclipse",    "field in field, two energies",                 "",                         "STEP_AND_SHOOT",        2,  0, 16,   3098.056,  13, "10, 6",  "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "900f9d3d59", "Eclipse",    "open fields, 10 and 15 MV",                    "",                         "STATIC",                2,  0, 4,    5258.587,  25, "10, 15", "MLCX 60", "ASYMX ASYMY"),
    Row("plans-only",            "7f7767fab3", "Eclipse",    "electrons with applicator and cut-out",        "RADIATION_NOT_SUPPORTED",  "STATIC",                1,  0, 2,    6255.379,  25, "9",      "",        "X Y"),
    Row("plans-more",            "405cecad75", "Pinnacle",   "step and shoot, three fraction groups",        "",                         "STEP_AND_SHOOT",        26, 0, 360,  33430.5,   49, "6",      "MLCX 40", "ASYMX ASYMY"),
    Row("plans-more",            "9c35369b3e", "Eclipse",    "portal dosimetry plan without an isocentre",   "ISOCENTRE_MISSING",        "",                      1,  0, 4,    100.0,     1,  "10",     "MLCX 60", "ASYMX ASYMY"),
    Row("plans-more",            "a2ba294a98", "Pinnacle",   "symmetric jaws, no MLC",                       "",                         "STATIC",                1,  0, 2,    200.0,     1,  "6",      "",        "X Y"),
    Row("plans-more",            "51011cf12a", "Pinnacle",   "symmetric jaws, no MLC",                       "",                         "STATIC",                1,  0, 2,    200.0,     1,  "6",      "",        "X Y"),
    Row("plans-more",            "008f821e3d", "Pinnacle",   "electrons with applicator",                    "RADIATION_NOT_SUPPORTED",  "STATIC",                1,  0, 2,    248.0,     1,  "9",      "",        "ASYMX ASYMY"),
    Row("plans-more",            "82105a0b12", "Pinnacle",   "symmetric jaws with MLC",                      "",                         "STATIC",                1,  0, 2,    200.0,     1,  "6",      "MLCX 60", "X Y"),
    Row("plans-more",            "0f1d4bad2a", "Pinnacle",   "hard wedge",                                   "",                         "STATIC",                1,  0, 2,    1000.0,    1,  "6",      "",        "X Y"),
    Row("plans-more",            "9cc0ef78d0", "Pinnacle",   "field in field, symmetric jaws",               "",                         "STEP_AND_SHOOT",        1,  0, 4,    200.0,     1,  "6",      "MLCX 60", "X Y"),
)
# fmt: on


@cache
def plans_of(archive: str) -> dict[str, bytes]:
    """Every RT Plan of an archive by the beginning of its SHA-256."""
    path = Path(_ROOT) / "dicom" / f"{archive}.zip"
    if not path.is_file():
        pytest.skip(f"{archive}.zip is not in the reference data")
    found = {}
    with zipfile.ZipFile(path) as members:
        for member in members.infolist():
            data = b"" if member.is_dir() else members.read(member)
            try:
                modality = text(parse(data, "member"), "Modality", "member", "")
            except DicomError:
                continue
            if modality == "RTPLAN":
                found[hashlib.sha256(data).hexdigest()[:10]] = data
    return found


@cache
def read(archive: str, sha256: str) -> Plan:
    return read_rtplan(parse(plans_of(archive)[sha256], sha256), sha256)


READABLE = [row for row in PLANS if row.refused != "ISOCENTRE_MISSING"]


def _id(row: Row) -> str:
    return f"{row.archive}-{row.sha256}-{row.what.replace(' ', '-')}"


@pytest.mark.parametrize("row", READABLE, ids=_id)
def test_read(row: Row) -> None:
    plan = read(row.archive, row.sha256)
    assert len(plan.beams) == row.beams
    assert len(plan.skipped_beams) == row.skipped
    assert sum(len(b.control_points) for b in plan.beams) == row.control_points
    # the table has three digits behind the point
    assert sum(plan.total_mu(b) for b in plan.beams) == pytest.approx(row.mu, abs=5e-4)
    assert plan.fractions == row.fractions
    energies = {f"{b.energy_mv:g}" + ("FFF" if b.fluence_mode == "FFF" else "") for b in plan.beams}
    assert energies == set(row.energies.split(", "))
    mlcs = {f"MLC{b.mlc.axis} {b.mlc.n_pairs}" for b in plan.beams if b.mlc is not None}
    assert mlcs == ({row.mlc} if row.mlc else set())
    axes = {axis for axis in "XY" if any(jaw.endswith(axis) for jaw in row.jaws.split())}
    for beam in plan.beams:
        for point in beam.control_points:
            assert (point.jaw_x_mm is not None) == ("X" in axes)
            assert (point.jaw_y_mm is not None) == ("Y" in axes)
    assert {technique(b) for b in plan.beams} == set(row.techniques.split())


@pytest.mark.parametrize("row", PLANS, ids=_id)
def test_modelled_or_refused_for_the_right_reason(row: Row) -> None:
    if row.refused == "ISOCENTRE_MISSING":
        with pytest.raises(RtPlanError) as unread:
            read(row.archive, row.sha256)
        assert unread.value.reason == row.refused
        assert unread.value.where["beam"].startswith("1")
        return
    plan = read(row.archive, row.sha256)
    if not row.refused:
        check_supported(plan)
        return
    with pytest.raises(PlanError) as refused:
        check_supported(plan)
    assert refused.value.reason == row.refused
    assert any(beam.label in refused.value.where["beam"] for beam in plan.beams)


def test_the_table_is_complete() -> None:
    for archive in {row.archive for row in PLANS}:
        assert set(plans_of(archive)) == {row.sha256 for row in PLANS if row.archive == archive}


@pytest.mark.parametrize("archive", ["proton-box-sobp", "proton-box-ramp"])
def test_ion_plans_are_refused(archive: str) -> None:
    for sha256 in plans_of(archive):
        with pytest.raises(RtPlanError) as caught:
            read(archive, sha256)
        assert caught.value.reason == "ION_PLAN_NOT_SUPPORTED"


@pytest.mark.parametrize(
    ("archive", "sha256", "turns"),
    [
        ("head-vmat", "8aa6252e66", [358.0, -358.0]),
        # from 180.1 to 179.9 and back
        ("plans-only", "ca4ed3af75", [359.8, -359.8, -359.8]),
        ("plans-only", "0c6a347e79", [60.0, -120.0, -120.0]),
        ("plans-only", "91f7f46f5c", [0.0, 0.0, -355.2, 355.2]),
    ],
)
def test_arcs_turn_as_far_as_their_ends_say(archive: str, sha256: str, turns: list[float]) -> None:
    got = [float(gantry_sweep_deg(beam).sum()) for beam in read(archive, sha256).beams]
    # angles are given to a tenth of a degree and add up
    np.testing.assert_allclose(got, turns, atol=1e-6)


def test_the_hard_wedge_is_found_in_a_machine_model_or_refused() -> None:
    (beam,) = read("plans-more", "0f1d4bad2a").beams
    machine = shipped_with("STANDARD")
    energy = machine.energy(6.0, "STANDARD")
    assert energy is not None
    (wedge,) = prepared(beam, machine, energy).accessories.wedges
    assert (wedge.kind, wedge.angle_deg, wedge.orientation_deg) == ("STANDARD", 45.0, 180.0)
    bare = machine.model_copy(update={"accessories": MachineAccessories()})
    with pytest.raises(MachineError) as caught:
        prepared(beam, bare, energy)
    assert caught.value.reason == "WEDGE_UNKNOWN" and beam.label in caught.value.where["beam"]


def test_boluses_belong_to_the_beams_that_reference_them() -> None:
    with_bolus = {
        r.sha256: [b.number for b in read(r.archive, r.sha256).beams if b.accessories.boluses] for r in READABLE
    }
    assert sum(bool(beams) for beams in with_bolus.values()) == 7
    # three fraction groups, a bolus in one of them: two of six beams
    assert len(with_bolus["6a43bef532"]) == 2 and len(read("plans-only", "6a43bef532").beams) == 6


def test_imaging_beams_are_told_and_both_leaf_layers_are_read() -> None:
    plan = read("plans-only", "91f7f46f5c")
    with pytest.raises(PlanError) as caught:
        check_supported(plan)
    assert caught.value.where["reasons"] == "DELIVERY_TYPE_NOT_SUPPORTED"
    layers = {(b.mlc.n_pairs, b.second_mlc.n_pairs) for b in plan.beams if b.mlc and b.second_mlc}
    assert layers == {(28, 29)}
    for beam in plan.beams:
        # only a machine model with two layers computes it
        with pytest.raises(MachineError) as mismatch:
            check_geometry(beam, shipped_with("STANDARD"))
        assert mismatch.value.where["beam"] == beam.label


def test_figures_of_another_program() -> None:
    """DVHA-MLCA's own reading of the three-group Pinnacle plan, which lies beside it."""
    archive = Path(_ROOT) / "dicom" / "plans-more.zip"
    if not archive.is_file():
        pytest.skip("plans-more.zip is not in the reference data")
    with zipfile.ZipFile(archive) as members:
        (beams_name,) = [n for n in members.namelist() if n.endswith("mlca_beam_summary.json")]
        (groups_name,) = [n for n in members.namelist() if n.endswith("mlca_plan_summary.json")]
        beams, groups = json.loads(members.read(beams_name)), json.loads(members.read(groups_name))
    plan = read("plans-more", "405cecad75")
    for group, theirs in zip(plan.fraction_groups, groups, strict=True):
        assert group.fractions == int(theirs["Fractions"])
        assert sum(group.beam_mu.values()) == pytest.approx(float(theirs["Plan MUs"]), abs=0.06)  # one digit is given
        assert len(group.beam_mu) == int(theirs["Beam Count(s)"])
    for key, theirs in beams.items():
        points = plan.beams[int(key)].control_points
        np.testing.assert_allclose([p.meterset_fraction for p in points], theirs["cum_mu_frac"], atol=1e-9)
        assert [p.gantry_deg for p in points] == theirs["gantry"]
        assert [p.collimator_deg for p in points] == theirs["collimator"]
        assert [p.couch_deg for p in points] == theirs["couch"]
        for side, name in ((0, "1"), (1, "2")):
            assert [p.jaw_x_mm[side] for p in points if p.jaw_x_mm] == theirs[f"jaw_x{name}"]
            assert [p.jaw_y_mm[side] for p in points if p.jaw_y_mm] == theirs[f"jaw_y{name}"]
