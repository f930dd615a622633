"""Files are found by content, and nothing that a folder or an archive can hold makes the scan fail or hang."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import builders_dicom as build
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from dosecalc.dicom import values
from dosecalc.dicom.errors import DicomError, ScanError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.scan import ScanLimits, scan

SLICE = build.make_ct(np.zeros((1, 4, 5)))[0]
FILE = build.to_bytes(SLICE)
BODY_AT = FILE.index(b"\x08\x00\x05\x00CS")


def reasons(path: Path) -> dict[str, str]:
    return {s.name: s.reason for s in scan(path).skipped}


def test_finds_by_content_in_folders_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "letter.txt").write_bytes(FILE)
    (tmp_path / "ct.dcm").write_text("no image at all, whatever the name says")
    (tmp_path / "empty.dcm").touch()
    found = scan(tmp_path)
    assert [(f.name, f.kind) for f in found.found] == [("a/b/letter.txt", "CT")]
    assert reasons(tmp_path) == {"ct.dcm": "not DICOM", "empty.dcm": "empty"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(FILE[132:], id="no preamble"),
        pytest.param(FILE[BODY_AT:], id="no file meta, explicit"),
        pytest.param(b"\x55" * 128 + FILE[128:], id="preamble not zero"),
        pytest.param(FILE + bytes(3), id="zero padding behind the end"),
    ],
)
def test_reads_files_without_preamble_or_meta(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    (one,) = scan(tmp_path).found
    assert values.integer(one.dataset, "Rows", one.name) == 4


def test_reads_implicit_file_without_meta_and_meta_without_transfer_syntax(tmp_path: Path) -> None:
    ds = build.make_ct(np.zeros((1, 4, 5)), transfer_syntax=ImplicitVRLittleEndian)[0]
    data = build.to_bytes(ds)
    (tmp_path / "no_meta").write_bytes(data[data.index(b"\x08\x00\x05\x00") :])
    del ds.file_meta.TransferSyntaxUID
    ds.save_as(tmp_path / "no_syntax", enforce_file_format=False, implicit_vr=True, little_endian=True)
    for one in scan(tmp_path).found:
        assert values.integer(one.dataset, "Columns", one.name) == 5
        assert one.dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert len(scan(tmp_path).found) == 2


def test_reads_big_endian_and_deflated() -> None:
    big = Dataset(build.make_ct(np.zeros((1, 4, 5)))[0])
    big.file_meta = FileMetaDataset()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big.file_meta.MediaStorageSOPClassUID, big.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, build.uid(8)
    buffer = BytesIO()
    big.save_as(buffer, enforce_file_format=True)
    assert values.integer(parse(buffer.getvalue(), "big"), "Columns", "big") == 5
    small = build.make_ct(np.zeros((1, 4, 5)))[0]
    small.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = BytesIO()
    small.save_as(buffer)
    assert values.text(parse(buffer.getvalue(), "deflated"), "PatientPosition", "deflated") == "HFS"


def test_a_deflated_bomb_is_refused() -> None:
    meta = build.make_ct(np.zeros((1, 4, 5)))[0]
    meta.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = BytesIO()
    meta.save_as(buffer)
    head = buffer.getvalue()
    at = head.index(b"1.2.840.10008.1.2.1.99") + 22
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflate.compress(bytes(2**26)) + deflate.flush()
    with pytest.raises(ScanError, match="inflates"):
        parse(head[:at] + bomb, "bomb")


@pytest.mark.parametrize("cut", [1, 21, 101, 201, 401, 601])  # odd, so never between two elements
def test_a_truncated_file_is_a_problem_not_a_shorter_dataset(tmp_path: Path, cut: int) -> None:
    (tmp_path / "x.dcm").write_bytes(FILE[:-cut])
    result = scan(tmp_path)
    assert not result.found
    (problem,) = result.problems
    assert isinstance(problem, DicomError) and problem.where["file"] == "x.dcm"


@pytest.mark.parametrize("inner", [2, 6, 200])
def test_an_item_whose_length_is_wrong_is_refused(inner: int) -> None:
    # pydicom would read on with whatever bytes come next
    label = b"\x0a\x30\x02\x00SH\x04\0Plan"
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", inner) + label
    sequence = b"\x0a\x30\xb0\x00SQ\0\0" + struct.pack("<I", len(item)) + item
    ds = build.file_dataset("1.2.840.10008.5.1.4.1.1.481.5", build.uid(6), "RTPLAN")
    with pytest.raises(ScanError, match="DICOM_DAMAGED"):
        parse(build.to_bytes(ds) + sequence, "x")


def test_endless_nesting_is_refused() -> None:
    # a sequence of undefined length in a sequence in a sequence ...
    nest = b"\x0a\x30\xb0\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    with pytest.raises(ScanError, match="deep"):
        parse(FILE + nest, "x")


@pytest.mark.parametrize("outer", [b"SQ", b"UN"])
@pytest.mark.parametrize("implicit", [True, False])
def test_sequences_that_switch_to_implicit(outer: bytes, implicit: bool) -> None:
    label = b"\x0a\x30\x02\x00" + (b"\x04\0\0\0" if implicit else b"SH\x04\0") + b"Plan"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + label + b"\xfe\xff\x0d\xe0\0\0\0\0"
    sequence = b"\x0a\x30\xb0\x00" + outer + b"\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    ds = build.file_dataset("1.2.840.10008.5.1.4.1.1.481.5", build.uid(6), "RTPLAN")
    (beam,) = values.items(parse(build.to_bytes(ds) + sequence, "x"), "BeamSequence", "x")
    assert values.text(beam, "RTPlanLabel", "x") == "Plan"


def test_other_kinds_are_skipped_with_their_name(tmp_path: Path) -> None:
    build.save(build.file_dataset(MRImageStorage, build.uid(5), "MR"), tmp_path / "mr")
    build.save(build.file_dataset("1.2.840.10008.5.1.4.1.1.481.8", build.uid(6), "RTPLAN"), tmp_path / "ion")
    build.save(build.file_dataset("1.2.840.10008.1.3.10", build.uid(7), "OT"), tmp_path / "DICOMDIR")
    skipped = reasons(tmp_path)
    assert skipped["mr"] == "not used: MR Image Storage"
    assert skipped["ion"] == "not used: RT Ion Plan Storage"
    assert "DICOMDIR" in skipped["DICOMDIR"]


def test_identical_copies_are_taken_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(FILE)
    (tmp_path / "b").write_bytes(FILE)
    assert len(scan(tmp_path).found) == 1
    assert reasons(tmp_path) == {"b": "an identical copy of a"}


def test_links_pipes_and_circles(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    (tmp_path / "real").write_bytes(FILE)
    assert [f.name for f in scan(tmp_path).found] == ["real"]
    assert reasons(tmp_path) == {"gone": "a link that leads nowhere", "pipe": "not a regular file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(FILE)
    (tmp_path / "secret").chmod(0)
    assert reasons(tmp_path) == {"secret": "it cannot be read"}


def test_zip_with_hostile_names_writes_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escape.dcm", FILE)
        archive.writestr("/absolute", b"text")
        archive.writestr("folder/", b"")
    before = sorted(tmp_path.parent.rglob("*"))
    result = scan(tmp_path / "in.zip")
    assert [f.name for f in result.found] == ["../../escape.dcm"]
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(128) + b"DICM" + bytes(2**24))
        archive.writestr("zeros", bytes(2**24))
    result = scan(tmp_path / "in.zip", ScanLimits(file_bytes=2**20))
    assert {s.name: s.reason for s in result.skipped} == {
        "bomb": "larger than the limit of 1048576 bytes",
        "zeros": "not DICOM",
    }


def test_limits_on_the_whole_input(tmp_path: Path) -> None:
    for k, ds in enumerate(build.make_ct(np.zeros((4, 4, 5)))):
        build.save(ds, tmp_path / str(k))
    with pytest.raises(ScanError, match="SCAN_TOO_LARGE"):
        scan(tmp_path, ScanLimits(files=3))
    with pytest.raises(ScanError, match="SCAN_TOO_LARGE"):
        scan(tmp_path, ScanLimits(total_bytes=2000))


def test_damaged_and_encrypted_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "good.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x", FILE)
        archive.writestr("y", FILE)
    data = bytearray((tmp_path / "good.zip").read_bytes())
    data[data.index(b"HFS")] ^= 1  # the checksum of x is now wrong
    (tmp_path / "bad.zip").write_bytes(data)
    result = scan(tmp_path / "bad.zip")
    assert [f.name for f in result.found] == ["y"]
    assert result.skipped[0].reason == "damaged inside the archive"
    (tmp_path / "cut.zip").write_bytes(data[:200])
    with pytest.raises(ScanError, match="ZIP_DAMAGED"):
        scan(tmp_path / "cut.zip")


def test_missing_path_and_list_of_paths(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="PATH_MISSING"):
        scan(tmp_path / "nothing")
    with pytest.raises(ScanError, match="PATH_MISSING"):
        scan("nul\0byte")
    (tmp_path / "a").write_bytes(FILE)
    assert len(scan([tmp_path / "a", tmp_path]).found) == 1


def test_messages_never_quote_a_patients_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ds = build.make_ct(np.zeros((1, 4, 5)))[0]
    data = build.to_bytes(ds).replace(b"ISO_IR 192", b"ISO_IR XXX")
    with pytest.warns() as caught:
        import warnings

        warnings.warn("so that there is one", stacklevel=1)
        parsed = parse(data, "x")
        values.text(parsed, "PatientName", "x", "")
    assert not any("Phantom" in str(w.message) for w in caught)
    assert "Phantom" not in caplog.text
    bad = build.to_bytes(ds).replace(b"DS\x04\x001.0 ", b"DS\x04\x00Olga")
    with pytest.raises(DicomError) as error:
        values.number(parse(bad, "x"), "RescaleSlope", "x")
    assert "Olga" not in str(error.value)
