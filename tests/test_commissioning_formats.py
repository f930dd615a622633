"""Reading measurements in three formats, told apart by content; refusals name file, curve and what would mend it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders_commissioning import depth_dose, output_factors, profile

from dosecalc.commissioning.curves import Curve, Setup
from dosecalc.commissioning.formats import read_measurements
from dosecalc.commissioning.formats.own_csv import as_text
from dosecalc.errors import InputError

REFERENCE = os.environ.get("DOSECALC_REFERENCE")
SETUP = Setup(900.0, (100.0, 80.0))


def some_curves() -> list[Curve]:
    depths = np.arange(0.0, 301.0, 10.0)
    positions = np.arange(-80.0, 80.5, 2.5)
    leaves = Setup(900.0, (40.0, 40.0), "leaves", (60.0, 60.0))
    tpr_depths = np.array([15.0, 50.0, 100.0, 150.0, 200.0])
    tpr = replace(
        depth_dose(SETUP, tpr_depths, kind="tpr"), setups=tuple(Setup(1000.0 - d, (100.0, 80.0)) for d in tpr_depths)
    )
    curves = [
        depth_dose(SETUP, depths, detector_diameter_mm=5.5),
        profile(SETUP, "x", positions, 100.0, fluence_mode="FFF"),
        profile(leaves, "y", positions, 50.0, detector=""),
        output_factors((Setup(900.0, (50.0, 50.0)), SETUP), 100.0, unit="relative"),
        tpr,
    ]
    values = np.random.default_rng(7)
    return [replace(c, value=values.uniform(1, 100, len(c.value))) for c in curves]


def test_our_own_format_gives_back_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(as_text(some_curves()))
    read = read_measurements(tmp_path)
    assert len(read.curves) == 5
    for written, found in zip(some_curves(), read.curves, strict=True):
        for name in ("kind", "energy_mv", "fluence_mode", "setups", "unit", "axis", "detector", "detector_diameter_mm"):
            assert getattr(found, name) == getattr(written, name), name
        np.testing.assert_allclose(found.points_mm, written.points_mm, atol=1e-9)
        np.testing.assert_allclose(found.abscissa, written.abscissa, rtol=1e-9)
        np.testing.assert_allclose(found.value, written.value, rtol=1e-9)  # ten digits are written
    assert [c.name for c in read.curves] == [f"curve {n}" for n in range(1, 6)]
    assert set(read.sha256) == {"all.csv"}


W2CAD_PROFILE = """$NUMS 002
$STOM
# Detector: tiny chamber
%VERSION 02
%DETY CHA
%BMTY PHO
%FLSZ 100*080
%TYPE OPP
%AXIS Y
%PNTS 3
%SSD  0900
%DPTH 050
<+000.0 -010.0 +050.0 +050.0>
<+000.0 +000.0 +050.0 +100.0>
<+000.0 +010.0 +050.0 +049.0>
$ENOM
$STOM
%BMTY PHO
%FLSZ 100*080
%TYPE OPD
%AXIS Z
%PNTS 2
%SSD 1000
<+000.0 +000.0 +000.0 +050.0>
<+000.0 +000.0 +015.0 +100.0>
$ENOM
$ENOF
"""


def test_w2cad_is_read_with_its_axes(tmp_path: Path) -> None:
    file = tmp_path / "scan.asc"
    file.write_text(W2CAD_PROFILE)
    across, deep = read_measurements(file).curves
    assert (across.kind, across.axis, across.setups) == ("profile", "y", (Setup(900.0, (100.0, 80.0)),))
    assert across.points_mm.tolist() == [[0, -10, 50], [0, 0, 50], [0, 10, 50]]
    assert across.value.tolist() == [50, 100, 49]
    assert (across.detector, across.energy_mv) == ("tiny chamber", None)  # the format does not tell the energy
    assert (deep.kind, deep.setups[0].ssd_mm, deep.abscissa.tolist()) == ("depth_dose", 1000.0, [0, 15])


MCC = """BEGIN_SCAN_DATA
\tFORMAT=CC-Export V1.9
\tBEGIN_SCAN  1
\t\tMODALITY=X
\t\tENERGY=10.00
\t\tFILTER=FFF
\t\tSSD=900.00
\t\tFIELD_INPLANE=80.00
\t\tFIELD_CROSSPLANE=100.00
\t\tINPLANE_AXIS=Y
\t\tCROSSPLANE_AXIS=X
\t\tSCAN_CURVETYPE=INPLANE_PROFILE
\t\tSCAN_DEPTH=50.00
\t\tSCAN_OFFAXIS_CROSSPLANE=5.00
\t\tDETECTOR_NAME=pin point
\t\tDETECTOR_RADIUS=1.45
\t\tBEGIN_DATA
\t\t\t-10.00\t\t500.0E-03\t\t3.3
\t\t\t0.00\t\t1.0000E+00\t\t3.3
\t\tEND_DATA
\tEND_SCAN  1
\tBEGIN_SCAN  2
\t\tMODALITY=EL
\tEND_SCAN  2
END_SCAN_DATA
"""


def test_mcc_is_read_with_its_axes_and_electrons_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "scan.mcc"
    file.write_text(MCC)
    read = read_measurements(file)
    (curve,) = read.curves
    assert (curve.kind, curve.axis, curve.energy_mv, curve.fluence_mode) == ("profile", "y", 10.0, "FFF")
    assert curve.setups == (Setup(900.0, (100.0, 80.0)),)
    assert curve.points_mm.tolist() == [[5, -10, 50], [5, 0, 50]]
    assert curve.value.tolist() == [0.5, 1.0]
    assert (curve.detector, curve.detector_diameter_mm) == ("pin point", 2.9)
    assert [(x.curve, x.why) for x in read.left_out] == [("scan 2", "its modality is EL, not X (photons)")]


def test_other_files_are_passed_over_and_told(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(as_text(some_curves()))
    (tmp_path / "notes.txt").write_text("water was cold")
    read = read_measurements(tmp_path)
    assert [(x.file, x.why) for x in read.left_out] == [("notes.txt", "it is no measurement in a known format")]


def own(**changes: str) -> str:
    """A small file of ours with keys replaced, or dropped where the value is empty."""
    keys = {"kind": "depth_dose", "energy_mv": "6", "unit": "percent", "ssd_mm": "900", "field_x_mm": "100",
            "field_y_mm": "100"} | {k: v for k, v in changes.items() if k not in ("heading", "rows")}  # fmt: skip
    lines = [f"{k}: {v}" for k, v in keys.items() if v]
    lines += [changes.get("heading", "depth_mm,dose"), changes.get("rows", "0,50\n15,100\n100,65")]
    return "# dosecalc measurements 1\n" + "\n".join(line for line in lines if line) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "reason", "says"),
    [
        ("a.csv", "depth,dose\n0,50\n", "MEASUREMENT_FORMAT_UNKNOWN", "# dosecalc measurements 1"),
        ("a.csv", own(kind="depth"), "MEASUREMENT_KEY", "no kind 'depth'; there is depth_dose"),
        ("a.csv", own(kind=""), "MEASUREMENT_KEY", "begins with a line `kind:"),
        ("a.csv", own(colour="red"), "MEASUREMENT_KEY", "no 'colour'; it has kind"),
        ("a.csv", own(unit="Gy"), "MEASUREMENT_KEY", "percent or relative or arbitrary"),
        ("a.csv", own(ssd_mm=""), "MEASUREMENT_KEY", "lacks ssd_mm"),
        ("a.csv", own(ssd_mm="-900"), "MEASUREMENT_NUMBER", "must be positive"),
        ("a.csv", own(energy_mv=""), "MEASUREMENT_ENERGY_MISSING", "lacks energy_mv"),
        ("a.csv", own(jaws_x_mm="50"), "MEASUREMENT_KEY", "both jaws_x_mm and jaws_y_mm"),
        ("a.csv", own(heading="depth_cm,dose"), "MEASUREMENT_COLUMNS", "depth_mm,dose"),
        ("a.csv", own(heading="depth_mm;dose", rows="0;50,1"), "MEASUREMENT_COLUMNS", "decimals with a point"),
        ("a.csv", own(rows="0,50,1"), "MEASUREMENT_COLUMNS", "3 values, the heading 2"),
        ("a.csv", own(rows="0,fifty"), "MEASUREMENT_NUMBER", "'fifty' is no number for dose"),
        ("a.csv", own(rows="0,nan"), "MEASUREMENT_NUMBER", "'nan' is no number"),
        ("a.csv", own(rows=""), "MEASUREMENT_TOO_FEW_POINTS", "has no rows"),
        ("a.csv", own(rows="0,50\nssd_mm: 900"), "MEASUREMENT_KEY", "begin a new curve"),
        ("a.asc", W2CAD_PROFILE.replace("002", "003", 1), "MEASUREMENT_FORMAT", "declares 003 curves"),
        ("a.asc", W2CAD_PROFILE.replace("%PNTS 3", "%PNTS 4"), "MEASUREMENT_FORMAT", "declares 4 points, 3 follow"),
        ("a.asc", W2CAD_PROFILE.replace("%FLSZ 100*080", "%FLSZ 100", 1), "MEASUREMENT_KEY", "like 100*100"),
        ("a.asc", W2CAD_PROFILE.replace("%SSD  0900\n", ""), "MEASUREMENT_KEY", "lacks %SSD"),
        ("a.asc", W2CAD_PROFILE.replace("<+000.0 -010.0", "<+009.0 -010.0"), "MEASUREMENT_FORMAT", "leave the line"),
        ("a.mcc", MCC.replace("\tEND_SCAN  1\n", "").replace("\tEND_SCAN  2\n", ""), "MEASUREMENT_FORMAT", "cut short"),
        ("a.mcc", MCC.replace("500.0E-03", "5OO"), "MEASUREMENT_NUMBER", "'5OO' is no number"),
        ("a.mcc", MCC.replace("\t\tSSD=900.00\n", ""), "MEASUREMENT_KEY", "lacks SSD"),
        ("a.mcc", MCC.replace("FILTER=FFF", "FILTER=W"), "MEASUREMENT_KEY", "FF or FFF"),
        ("a.mcc", MCC.replace("MODALITY=X", "MODALITY=EL"), "MEASUREMENTS_NONE", "No depth dose"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_by_name(tmp_path: Path, name: str, text: str, reason: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_measurements(tmp_path)
    assert caught.value.reason == reason
    assert says in caught.value.message
    assert caught.value.where["file"] in (name, tmp_path.name)


def test_text_in_two_bytes_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(own(), encoding="utf-16")
    with pytest.raises(InputError, match="save it as UTF-8") as caught:
        read_measurements(tmp_path)
    assert caught.value.reason == "MEASUREMENT_FORMAT_UNKNOWN"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
def test_names_may_have_any_letters(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "djupdos Åsa.csv").write_bytes(own(detector="jonkammare Öst").encode(encoding))
    (curve,) = read_measurements(tmp_path).curves
    assert (curve.file, curve.detector) == ("djupdos Åsa.csv", "jonkammare Öst")


def test_energy_is_chosen_and_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "scan.asc").write_text(W2CAD_PROFILE)
    (tmp_path / "scan.mcc").write_text(MCC)
    read = read_measurements(tmp_path)
    with pytest.raises(InputError) as caught:
        read.of_quality(6.0, "STANDARD", assume_energy=False)
    assert caught.value.reason == "MEASUREMENT_ENERGY_MISSING"
    chosen = read.of_quality(6.0, "STANDARD", assume_energy=True)
    assert [c.file for c in chosen.curves] == ["scan.asc", "scan.asc"]
    assert {c.energy_mv for c in chosen.curves} == {6.0}
    assert "scan.mcc" not in chosen.used_sha256
    assert "it was measured at 10 MV FFF" in [x.why for x in chosen.left_out]


def test_what_the_user_names_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "scan.asc").write_text(W2CAD_PROFILE)
    read = read_measurements(tmp_path)
    assert [c.name for c in read.without(("scan.asc:curve 1",)).curves] == ["curve 2"]
    assert read.without(("scan.asc",)).curves == ()
    with pytest.raises(InputError) as caught:
        read.without(("scan.asc:curve 9",))
    assert caught.value.reason == "MEASUREMENT_UNKNOWN"


@pytest.mark.skipif(REFERENCE is None, reason="DOSECALC_REFERENCE does not name the reference data")
def test_real_scans_are_read_whole() -> None:
    folder = Path(str(REFERENCE)) / "measured"
    w2cad = read_measurements(folder / "scans-w2cad-asc")
    kinds = [c.kind for c in w2cad.curves]
    assert (kinds.count("depth_dose"), kinds.count("profile"), w2cad.left_out) == (14, 30, ())
    assert {c.setups[0].field_mm for c in w2cad.curves if c.kind == "depth_dose"} >= {(10.0, 10.0), (400.0, 400.0)}
    ptw = read_measurements(folder / "scans-ptw-mcc")
    assert sum(c.energy_mv == 6.0 for c in ptw.curves) == 7
    assert sum((c.energy_mv, c.fluence_mode) == (10.0, "FFF") for c in ptw.curves) == 4
    assert sum("EL" in x.why for x in ptw.left_out) == 6
