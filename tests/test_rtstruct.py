"""RT Structure Sets: names, contours, types and densities as written, and damage told as damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders_dicom import save, to_bytes
from builders_structures import box, circle, contour, make_rtstruct, prism, rectangle
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dosecalc.dicom.errors import RtStructError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.errors import DicomError
from dosecalc.patient.contour_planes import contour_planes, structure_volume_cm3
from dosecalc.patient.structures import Contour, Structure, StructureSet

#: pydicom warns of every value that it finds odd; here the values are odd on purpose
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

BODY = box((-20, -20, -20), (20, 20, 20), step_mm=4, name="BODY", kind="EXTERNAL", number=1)
TUMOUR = prism([circle(8), circle(3)], np.arange(-6, 7, 2.0), name="Tumör", kind="PTV", number=2)


def _read(ds: Dataset) -> StructureSet:
    """As from a file: values undecoded."""
    return read_rtstruct(parse(to_bytes(ds), "rs.dcm"), "rs.dcm")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_what_was_written_is_read(syntax: str, tmp_path: Path) -> None:
    ds = make_rtstruct([BODY, TUMOUR])
    ds.file_meta.TransferSyntaxUID = syntax
    structures = read_rtstruct(save(ds, tmp_path / "any name"))
    assert [(s.number, s.name, s.kind) for s in structures.structures] == [(1, "BODY", "EXTERNAL"), (2, "Tumör", "PTV")]
    assert structures.external() is structures.structures[0]
    assert structures.notes == ()
    assert structures.structures[0].color_rgb == (255, 128, 0)
    # coordinates were written to 0.1 um
    np.testing.assert_allclose(structures.structures[1].contours[3].points_mm, TUMOUR.contours[3].points_mm, atol=1e-4)
    assert structure_volume_cm3(structures.structures[0]) == pytest.approx(64.0)


def test_a_dataset_in_memory_is_read_as_well() -> None:
    assert [s.name for s in read_rtstruct(make_rtstruct([BODY, TUMOUR])).structures] == ["BODY", "Tumör"]


@pytest.mark.parametrize(
    ("charset", "encoding", "noted"),
    [
        ("ISO_IR 100", "latin-1", False),
        ("ISO_IR 192", "utf-8", False),
        (None, "utf-8", True),
        (None, "latin-1", True),
        ("ISO_IR 100", "utf-8", True),
        ("ISO_IR 192", "latin-1", True),
    ],
)
def test_swedish_names_in_any_character_set(charset: str | None, encoding: str, noted: bool) -> None:
    names = ["Vänster öga", "Hjärna", "Ryggmärg PRV", "ÅÄÖ"]
    structures = [box((0, 0, 0), (5, 5, 5), name=f"NAME{i}", number=i) for i in range(4)]
    raw = to_bytes(make_rtstruct(structures, charset="ISO_IR 192" if charset else None))
    for i, name in enumerate(names):
        written = name.encode(encoding)
        raw = _swap_name(raw, f"NAME{i} ".encode(), written)
    if charset == "ISO_IR 100":
        raw = raw.replace(b"ISO_IR 192", b"ISO_IR 100")
    read = read_rtstruct(parse(raw, "rs.dcm"))
    assert [s.name for s in read.structures] == names
    assert bool(read.notes) == noted


def _swap_name(raw: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the value of an explicit-VR ROIName; lengths of sequences around it are corrected."""
    new += b" " * (len(new) % 2)
    head = b"\x06\x30\x26\x00LO"
    before = head + len(old).to_bytes(2, "little") + old
    assert raw.count(before) == 1
    return _longer(raw, raw.index(before), before, head + len(new).to_bytes(2, "little") + new)


def _longer(raw: bytes, at: int, before: bytes, after: bytes) -> bytes:
    """Swap bytes at a place and correct the defined lengths of the item and sequence around it."""
    grown = len(after) - len(before)
    out = bytearray(raw[:at] + after + raw[at + len(before) :])
    for tag, length_at in ((b"\xfe\xff\x00\xe0", 4), (b"\x06\x30\x20\x00SQ", 8)):
        start = raw.rindex(tag, 0, at) + length_at
        length = int.from_bytes(raw[start : start + 4], "little")
        if length != 0xFFFFFFFF:
            out[start : start + 4] = (length + grown).to_bytes(4, "little")
    return bytes(out)


def test_names_in_other_declared_sets_are_decoded_as_declared() -> None:
    structure = box((0, 0, 0), (5, 5, 5), name="Мозг", number=1)
    assert _read(make_rtstruct([structure], charset="ISO_IR 144")).structures[0].name == "Мозг"


def test_a_structure_without_a_name_gets_its_number_and_a_note() -> None:
    ds = make_rtstruct([BODY])
    ds.StructureSetROISequence[0].ROIName = ""
    read = _read(ds)
    assert read.structures[0].name == "ROI 1"
    assert read.notes


def test_equal_names_are_kept_and_noted() -> None:
    twice = [box((0, 0, 0), (5, 5, 5), name="PTV", number=n) for n in (1, 2)]
    read = _read(make_rtstruct(twice))
    assert len(read.structures) == 2
    assert "2 structures are called 'PTV'" in read.notes[0]


def test_densities_and_compositions() -> None:
    physical = {"REL_MASS_DENSITY": 1.19, "REL_ELEC_DENSITY": 1.156, "EFFECTIVE_Z": 5.85}
    ds = make_rtstruct([box((0, 0, 0), (5, 5, 5), physical=physical)])
    composition = Dataset()
    composition.ROIPhysicalProperty = "ELEM_FRACTION"
    composition.ROIPhysicalPropertyValue = "0"
    composition.ROIElementalCompositionSequence = []
    for z, share in ((1, 0.080538), (6, 0.599848), (8, 0.319614)):
        part = Dataset()
        part.ROIElementalCompositionAtomicNumber = z
        part.ROIElementalCompositionAtomicMassFraction = share
        composition.ROIElementalCompositionSequence.append(part)
    ds.RTROIObservationsSequence[0].ROIPhysicalPropertiesSequence.append(composition)
    (structure,) = _read(ds).structures
    assert structure.physical == physical
    assert structure.composition == pytest.approx({"H": 0.080538, "C": 0.599848, "O": 0.319614})  # FL is float32


def test_several_observations_of_one_structure() -> None:
    ds = make_rtstruct([BODY])
    more = Dataset()
    more.ObservationNumber, more.ReferencedROINumber, more.RTROIInterpretedType = 9, 1, "ORGAN"
    ds.RTROIObservationsSequence.insert(0, more)
    read = _read(ds)
    assert read.structures[0].kind == "EXTERNAL"
    assert "EXTERNAL" in read.notes[0] and "ORGAN" in read.notes[0]


def test_conflicting_densities_are_refused() -> None:
    ds = make_rtstruct([box((0, 0, 0), (5, 5, 5), physical={"REL_MASS_DENSITY": 1.0})])
    second = make_rtstruct([box((0, 0, 0), (5, 5, 5), physical={"REL_MASS_DENSITY": 2.0})])
    ds.RTROIObservationsSequence.append(second.RTROIObservationsSequence[0])
    assert _refused(ds) == "PHYSICAL_PROPERTY_CONFLICT"


def test_points_open_contours_and_empty_structures_are_kept_without_volume() -> None:
    marker = Structure(3, "Isocentre", "ISOCENTER", (Contour(np.array([[1.0, 2, 3]]), "POINT"),))
    line = Structure(4, "Line", "", (contour(rectangle(0, 0, 5, 5), 0, "OPEN_PLANAR"), contour(circle(4), 2)))
    read = _read(make_rtstruct([BODY, marker, line, Structure(5, "Empty")]))
    assert [s.empty for s in read.structures] == [False, True, False, True]
    assert [len(contour_planes(s)) for s in read.structures[1:]] == [0, 1, 0]
    assert any("'Line'" in note and "enclose no volume" in note for note in read.notes)


def test_degenerate_and_unknown_contours_are_left_out_with_a_note() -> None:
    ds = make_rtstruct([BODY])
    contours = ds.ROIContourSequence[0].ContourSequence
    contours[0].ContourData, contours[0].NumberOfContourPoints = [1, 2, 3, 1, 2, 3], 2
    contours[1].ContourGeometricType = "SPIRAL"
    contours[2].ContourData, contours[2].NumberOfContourPoints = None, 0
    read = _read(ds)
    assert len(read.structures[0].contours) == len(BODY.contours) - 3
    assert sum("left out" in note for note in read.notes) == 3


def test_a_repeated_last_point_is_dropped() -> None:
    closed = np.vstack((rectangle(0, 0, 5, 5), [[0.0, 0.0]]))
    read = _read(make_rtstruct([prism(closed, [0, 1])]))
    assert len(read.structures[0].contours[0].points_mm) == 4


def test_a_tilted_contour_is_noted() -> None:
    tilted = Contour(np.array([(0.0, 0, 0), (10, 0, 0), (10, 10, 4), (0, 10, 4)]))
    read = _read(make_rtstruct([Structure(1, "Tilted", "", (tilted,))]))
    assert "axial" in read.notes[0]


def test_the_spacing_of_the_image_comes_from_the_whole_set() -> None:
    lone = prism(circle(5), [0.0], name="Small", number=2)
    read = _read(make_rtstruct([BODY, lone]))
    assert contour_planes(read.find("Small"))[0].thickness_mm == pytest.approx(4.0)


def _refused(ds: Dataset) -> str:
    with pytest.raises(RtStructError) as caught:
        _read(ds)
    assert caught.value.where["file"] == "rs.dcm"
    return caught.value.reason


def _cut_coordinate(ds: Dataset) -> None:
    drawn = ds.ROIContourSequence[0].ContourSequence[2]
    drawn.ContourData = list(drawn.ContourData)[:-1]


def _wrong_count(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[2].NumberOfContourPoints = 77


def _far_away(ds: Dataset) -> None:
    drawn = ds.ROIContourSequence[0].ContourSequence[2]
    drawn.ContourData = ["1e30", *list(drawn.ContourData)[1:]]


def _same_number(ds: Dataset) -> None:
    ds.StructureSetROISequence[1].ROINumber = 1


def _no_number(ds: Dataset) -> None:
    del ds.StructureSetROISequence[1].ROINumber


def _two_frames(ds: Dataset) -> None:
    ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"


def _a_plan(ds: Dataset) -> None:
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"
    ds.Modality = "RTPLAN"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_cut_coordinate, "CONTOUR_DATA_COUNT"),
        (_wrong_count, "CONTOUR_DATA_COUNT"),
        (_far_away, "TAG_INVALID"),
        (_same_number, "ROI_NUMBER_DUPLICATE"),
        (_no_number, "TAG_MISSING"),
        (_two_frames, "FRAMES_OF_REFERENCE_MIXED"),
        (_a_plan, "NOT_RTSTRUCT"),
    ],
)
def test_what_cannot_be_trusted_is_refused(spoil: Callable[[Dataset], None], reason: str) -> None:
    ds = make_rtstruct([BODY, TUMOUR])
    spoil(ds)
    assert _refused(ds) == reason


def test_contours_of_no_structure_are_noted() -> None:
    ds = make_rtstruct([BODY, TUMOUR])
    ds.ROIContourSequence[1].ReferencedROINumber = 99
    read = _read(ds)
    assert read.structures[1].empty
    assert "no such ROI" in read.notes[0]


def test_no_file_and_no_dicom(tmp_path: Path) -> None:
    with pytest.raises(RtStructError) as caught:
        read_rtstruct(tmp_path / "absent.dcm")
    assert caught.value.reason == "FILE_UNREADABLE"
    (tmp_path / "text.dcm").write_text("hello")
    with pytest.raises(DicomError):
        read_rtstruct(tmp_path / "text.dcm")


#: small, so that damage hits structure more often than coordinates
FILE = to_bytes(
    make_rtstruct(
        [
            box((0, 0, 0), (4, 4, 4), step_mm=2, physical={"REL_MASS_DENSITY": 1.1}),
            prism([circle(8, n=6), circle(3, n=5)], [0.0, 2.0], name="Tumör", kind="PTV", number=2),
        ]
    )
)


def _only_dicom_errors(data: bytes) -> None:
    try:
        read = read_rtstruct(parse(data, "rs.dcm"), "rs.dcm")
    except DicomError as error:
        assert error.reason and error.message
        return
    for structure in read.structures:  # what was read must be usable too
        assert np.all([np.all(np.isfinite(c.points_mm)) for c in structure.contours])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(FILE)))
def test_a_file_cut_anywhere_is_read_or_refused(length: int) -> None:
    _only_dicom_errors(FILE[:length])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(132, len(FILE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_are_read_or_refused(damage: list[tuple[int, int]]) -> None:
    data = bytearray(FILE)
    for at, value in damage:
        data[at] = value
    _only_dicom_errors(bytes(data))


KEYWORDS = [
    "StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence", "ROINumber", "ROIName",
    "ReferencedROINumber", "ContourSequence", "ContourData", "ContourGeometricType", "NumberOfContourPoints",
    "RTROIInterpretedType", "ROIPhysicalPropertiesSequence", "ROIPhysicalProperty", "ROIPhysicalPropertyValue",
    "ROIDisplayColor", "SpecificCharacterSet", "ReferencedFrameOfReferenceUID", "SOPInstanceUID",
]  # fmt: skip


def _holders(ds: Dataset, keyword: str) -> list[Dataset]:
    found = [ds] if keyword in ds else []
    for element in ds:
        if element.VR == "SQ":
            found += [h for item in element.value for h in _holders(item, keyword)]
    return found


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("spoil", ["remove", "empty", "text", "bytes", "huge"])
def test_every_attribute_may_be_missing_or_nonsense(keyword: str, spoil: str) -> None:
    ds = parse(FILE, "rs.dcm")
    for holder in _holders(ds, keyword)[:1]:
        if spoil == "remove":
            del holder[keyword]
            continue
        # the raw element is replaced, as damaged bytes would
        vr = {"text": "LO", "bytes": "OB", "huge": "DS", "empty": holder[keyword].VR}[spoil]
        value = {"text": "nonsense", "bytes": b"\xff\xfe\x00\x01", "huge": "9e99", "empty": None}[spoil]
        tag = holder[keyword].tag
        del holder[tag]
        holder.add_new(tag, vr, value)
    try:
        read_rtstruct(ds, "rs.dcm")
    except DicomError as error:
        assert error.where.get("file") == "rs.dcm"
