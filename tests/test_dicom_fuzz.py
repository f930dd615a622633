"""Whatever is done to a DICOM file, reading it ends soon, in a DicomError, in a skipped file, or in a sound object.

Bytes are flipped and cut at random, and attributes are removed, emptied, and given absurd values of right and wrong VR
at every depth. What the readers still accept must be usable: finite, and no larger than the file warrants.
"""

from __future__ import annotations

import copy
import math
import random
import resource
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builders_dicom as build
import builders_rtplan as plans
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dosecalc.dicom.errors import DicomError
from dosecalc.dicom.study import Study, load_study

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom")  # it warns of what is done to its files here

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
KINDS = ("CT", "RTSTRUCT", "RTPLAN", "RTDOSE")

#: few and small examples: each is one whole study, and the suite must stay quick
FEW = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make(kind: str, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    if kind == "CT":
        return build.make_ct(np.zeros((2, 4, 5)), transfer_syntax=syntax)[1]
    if kind == "RTSTRUCT":
        return build.make_rtstruct([build.square(0), build.square(3)], transfer_syntax=syntax)
    if kind == "RTPLAN":
        beams = [plans.vmat_beam(4), plans.step_and_shoot_beam(2, number=2)]
        return plans.make_rtplan(beams, prescriptions_gy=[50], transfer_syntax=syntax)
    ds = build.make_rtdose(np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def other_slice() -> bytes:
    return build.to_bytes(build.make_ct(np.zeros((2, 4, 5)))[0])


def study_of(data: bytes) -> Study:
    """The study of one file, beside a sound CT slice so that a CT can come about."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fuzzed").write_bytes(data)
        (Path(folder) / "other").write_bytes(other_slice())
        return load_study(folder)


def assert_sound(study: Study) -> None:
    """Only deliberate errors, and only usable objects."""
    for problem in study.problems:
        assert isinstance(problem, DicomError)
        assert problem.reason != "READER_FAILED", problem
        assert "Phantom" not in str(problem) and "TEST-1" not in str(problem)
        assert problem.where.get("file")
    for ct in study.cts:
        assert np.all(np.isfinite(ct.hu.values)) and ct.hu.values.size < 1e6
    for dose in study.doses:
        assert np.all(np.isfinite(dose.volume.values)) and dose.volume.values.size < 1e6
    for one in study.structure_sets:
        for structure in one.structures:
            assert all(np.all(np.isfinite(c.points_mm)) for c in structure.contours)
    for plan in study.plans:
        for beam in plan.beams:
            assert math.isfinite(plan.total_mu(beam))
            for point in beam.control_points:
                assert math.isfinite(point.gantry_deg) and np.all(np.isfinite(point.isocentre_patient_mm))
                assert point.leaves_mm is None or np.all(np.isfinite(point.leaves_mm))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit"])
@pytest.mark.parametrize("kind", KINDS)
def test_untouched_objects_are_read(kind: str, syntax: str) -> None:
    study = study_of(build.to_bytes(make(kind, syntax)))
    assert not study.skipped
    assert [p for p in study.problems if p.reason != "CT_SINGLE_SLICE"] == []
    assert len(study.cts) + len(study.structure_sets) + len(study.plans) + len(study.doses) == 1


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit"])
@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere(kind: str, syntax: str) -> None:
    data = build.to_bytes(make(kind, syntax))
    chance = random.Random(f"{kind}{syntax}")
    for at in sorted(chance.sample(range(len(data)), 40)):
        assert_sound(study_of(data[:at]))


def test_a_cut_plan_never_loses_beams_in_silence() -> None:
    data = build.to_bytes(make("RTPLAN"))
    whole = study_of(data).plans[0]
    for at in range(len(data) - 1, len(data) // 3, -97):
        for plan in study_of(data[:at]).plans:
            assert len(plan.beams) == len(whole.beams)
            assert [len(b.control_points) for b in plan.beams] == [len(b.control_points) for b in whole.beams]


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(st.data())
def test_flipped_bytes(kind: str, data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    content = bytearray(build.to_bytes(make(kind, syntax)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(132, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    assert_sound(study_of(bytes(content)))


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(st.data())
def test_bytes_moved_about(kind: str, data: st.DataObject) -> None:
    content = build.to_bytes(make(kind, data.draw(st.sampled_from(SYNTAXES))))
    start = data.draw(st.integers(132, len(content) - 2))
    stop = data.draw(st.integers(start, min(len(content), start + 200)))
    piece = content[start:stop]
    edited = data.draw(
        st.sampled_from([content[:start] + content[stop:], content[:stop] + piece + content[stop:], content[start:]])
    )
    assert_sound(study_of(edited))


# ---- attributes: every one of an object, at every depth


#: tag, item, tag, item, ..., tag
Path_ = tuple[Any, ...]


def elements(ds: Dataset, path: Path_ = ()) -> Iterator[Path_]:
    """Paths to all elements; of a sequence's items the first and the last are enough."""
    for element in ds:
        here = (*path, element.tag)
        yield here
        if element.VR == "SQ":
            for index in sorted({0, len(element.value) - 1} - {-1}):
                yield from elements(element.value[index], (*here, index))


def holder(ds: Dataset, path: Path_) -> Dataset:
    """The dataset that holds the last step of a path."""
    for tag, index in zip(path[:-1:2], path[1::2], strict=True):
        ds = ds[tag].value[index]
    return ds


def remove(ds: Dataset, tag: BaseTag) -> None:
    del ds[tag]


def empty(ds: Dataset, tag: BaseTag) -> None:
    element = ds[tag]
    element.value = [] if element.VR == "SQ" else None


#: absurd contents by VR, as the bytes of a file
NUMBERS: dict[str, list[bytes]] = {
    "DS": b"-1 |0 |1e308 |-1E+300|1e-300|nan |inf |abc |1\\2\\3\\4\\5\\6\\7 |0.1.2 |--1 |  |1_0 |\x00\xff".split(b"|"),
    "IS": b"-1|0 |2147483647|-99999999999|1.5 |x |1\\2 |NaN |99999999999999999999999".split(b"|"),
    "US": [struct.pack("<H", v) for v in (0, 1, 255, 65535)] + [b"", b"\x01\x00\x02\x00", b"\x01"],
    "SS": [struct.pack("<h", v) for v in (-1, 0, 32767)],
    "FD": [struct.pack("<d", v) for v in (math.nan, math.inf, -1e300)] + [b"1234"],
    "OW": [b"", b"\x00\x00", bytes(100)],
}
TEXTS = [*b"|? |\\ |HFQ |1.2.3 |GY|\xc5\x1b$B|\\\\\\ |\xff\xfe| |1.2.840.10008.5.1.4.1.1.2 ".split(b"|"), b"x" * 70]
WRONG_VRS = ["UN", "FD", "LO", "US", "OB", "AT", "DS", "IS", "PN", "UI", "SH", "FL", "UT", "SQ"]


def put(ds: Dataset, tag: BaseTag, vr: str, content: bytes) -> None:
    """Set the bytes of an element, whatever pydicom thinks of them."""
    ds[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True, True)


def absurd(chance: random.Random) -> Callable[[Dataset, BaseTag], None]:
    def change(ds: Dataset, tag: BaseTag) -> None:
        vr = ds[tag].VR
        if vr == "SQ":
            ds[tag] = DataElement(tag, "SQ", [Dataset() for _ in range(chance.choice([1, 2, 300]))])
        else:
            put(ds, tag, vr, chance.choice(NUMBERS.get(vr, TEXTS)))

    return change


def wrong_vr(chance: random.Random) -> Callable[[Dataset, BaseTag], None]:
    def change(ds: Dataset, tag: BaseTag) -> None:
        vr = chance.choice(WRONG_VRS)
        if vr == "SQ":
            ds[tag] = DataElement(tag, "SQ", [Dataset()])
        else:
            put(ds, tag, vr, chance.choice([*NUMBERS["DS"], *NUMBERS["US"], *NUMBERS["FD"], *TEXTS]))

    return change


@pytest.mark.parametrize("change", ["remove", "empty", "absurd", "wrong_vr"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_in_turn(kind: str, change: str) -> None:
    chance = random.Random(f"{kind}{change}")
    changes = {"remove": remove, "empty": empty, "absurd": absurd(chance), "wrong_vr": wrong_vr(chance)}
    original = make(kind)
    paths = list(elements(original))
    # every attribute of the top level, and of the deep and repetitive ones a sample
    deep = [p for p in paths if len(p) > 1]
    paths = [p for p in paths if len(p) == 1] + chance.sample(deep, min(len(deep), 40))
    written = 0
    for path in paths:
        ds = copy.deepcopy(original)
        changes[change](holder(ds, path), path[-1])
        try:
            data = build.to_bytes(ds)
        except Exception:  # not even pydicom writes that; what it can write is enough
            continue
        written += 1
        assert_sound(study_of(data))
    assert written > len(paths) / 2


# ---- a tiny file must not make a large array


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("CT", {"Rows": 65535, "Columns": 65535}),
        ("CT", {"Rows": 65535, "Columns": 65535, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}),
        ("RTDOSE", {"Rows": 65535, "Columns": 65535, "NumberOfFrames": "1000000"}),
        ("RTDOSE", {"NumberOfFrames": "2147483647"}),
        ("RTDOSE", {"GridFrameOffsetVector": [0.0, 1e5]}),
        ("RTPLAN", {}),
    ],
)
def test_absurd_sizes_allocate_nothing(kind: str, change: dict[str, object]) -> None:
    ds = make(kind)
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    if kind == "RTPLAN":
        ds.BeamSequence[0].BeamLimitingDeviceSequence[-1].NumberOfLeafJawPairs = "2147483647"
        ds.BeamSequence[0].NumberOfControlPoints = "2147483647"
    data = build.to_bytes(ds)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_sound(study_of(data))
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 200  # the file has some kilobytes; what is claimed are gigabytes


def test_a_slice_far_away_makes_no_endless_grid() -> None:
    with tempfile.TemporaryDirectory() as folder:
        z = [0.0, 0.2, 0.4, 0.6, 9.0, 99000.0]
        for k, ds in enumerate(build.make_ct(np.zeros((6, 4, 5)), z_mm=z)):
            build.save(ds, Path(folder) / str(k))
        study = load_study(folder)
    assert not study.cts and study.problems[0].reason == "CT_SLICE_MISSING"


@FEW
@given(st.binary(max_size=600))
def test_random_bytes(content: bytes) -> None:
    assert_sound(study_of(content))
    assert_sound(study_of(bytes(128) + b"DICM" + content))


@FEW
@given(st.binary(max_size=300))
def test_random_bytes_in_a_zip(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.zip"
        path.write_bytes(b"PK\x03\x04" + content)
        try:
            assert_sound(load_study(path))
        except DicomError as error:
            assert error.reason == "ZIP_DAMAGED"
