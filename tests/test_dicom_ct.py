"""CT series become the right volume in patient coordinates, or are refused with a reason that names the file."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import builders_dicom as build
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dosecalc.dicom.ct import read_ct
from dosecalc.dicom.errors import CtError, DicomError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.scan import DicomFile, scan
from dosecalc.dicom.study import load_study
from dosecalc.patient.ct import CtImage

REFERENCE = os.environ.get("DOSECALC_REFERENCE")
needs_reference = pytest.mark.skipif(REFERENCE is None, reason="DOSECALC_REFERENCE is not set")

# whole numbers are exact in float32
ORIGIN, SPACING = (-10.0, 20.0, -30.0), (2.0, 3.0, 5.0)


def position_code() -> np.ndarray:
    """HU [z, y, x] in which every voxel differs: 6 x 5 x 4 voxels."""
    z, y, x = np.meshgrid(np.arange(6), np.arange(5), np.arange(4), indexing="ij")
    return (100 * z + 10 * y + x).astype(float)


def files(slices: list[FileDataset]) -> list[DicomFile]:
    """The slices as a scan would give them: written and parsed again."""
    return [DicomFile(f"s{k}", "CT", parse(build.to_bytes(ds), f"s{k}"), str(k)) for k, ds in enumerate(slices)]


def read(slices: list[FileDataset]) -> CtImage:
    return read_ct(files(slices))


def series(**options: object) -> list[FileDataset]:
    return build.make_ct(position_code(), origin_mm=ORIGIN, spacing_mm=SPACING, **options)  # type: ignore[arg-type]


def refused(slices: list[FileDataset]) -> CtError:
    with pytest.raises(CtError) as error:
        read(slices)
    return error.value


def test_reads_geometry_and_values() -> None:
    ct = read(series())
    assert ct.hu.grid.origin_mm == ORIGIN
    assert ct.hu.grid.spacing_mm == SPACING
    np.testing.assert_array_equal(ct.hu.values, position_code())
    assert (ct.patient_position, ct.kvp, ct.series_uid, ct.notes) == (
        "HFS",
        "120",
        build.CT_SERIES,
        # 5 mm apart and 3 mm thick, as the builder writes
        ("slices are 5.00 mm apart but 3.00 mm thick",),
    )


def test_order_of_files_and_instance_numbers_does_not_matter() -> None:
    slices = series()
    random.Random(1).shuffle(slices)
    for k, ds in enumerate(slices):
        ds.InstanceNumber = str(k)
    np.testing.assert_array_equal(read(slices).hu.values, position_code())


def in_orientation(column: tuple[int, int], row: tuple[int, int]) -> list[FileDataset]:
    """The coded anatomy with the column index along ``column`` (axis, sign) and the row index along ``row``."""
    hu = position_code()
    normal_axis = 3 - column[0] - row[0]
    shape, low = hu.shape[::-1], np.array(ORIGIN)
    high = low + np.array(SPACING) * (np.array(shape) - 1)
    cosines = np.zeros((2, 3))
    cosines[0, column[0]], cosines[1, row[0]] = column[1], row[1]
    slices = []
    for k in range(shape[normal_axis]):
        plane = np.take(hu, k, axis=2 - normal_axis)  # remaining axes in [z, y, x] order
        if 2 - row[0] > 2 - column[0]:
            plane = plane.T
        plane = plane[:: row[1], :: column[1]]
        corner = np.where([(column[1] if a == column[0] else row[1]) < 0 for a in range(3)], high, low)
        corner[normal_axis] = low[normal_axis] + k * SPACING[normal_axis]
        slices.append(
            build.make_ct_slice(
                (plane + 1024).astype(np.int16),
                tuple(corner),
                number=k + 1,
                spacing_mm=(SPACING[row[0]], SPACING[column[0]]),
                orientation=tuple(cosines.ravel()),
            )
        )
    return slices


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)])
def test_every_orientation_along_the_axes_gives_the_same_volume(axes: tuple[int, int], signs: tuple[int, int]) -> None:
    slices = in_orientation((axes[0], signs[0]), (axes[1], signs[1]))
    random.Random(2).shuffle(slices)
    ct = read(slices)
    assert ct.hu.grid.spacing_mm == SPACING
    np.testing.assert_allclose(ct.hu.grid.origin_mm, ORIGIN, atol=1e-9)  # sums of whole numbers
    np.testing.assert_array_equal(ct.hu.values, position_code())


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"])
def test_patient_position_is_kept_and_does_not_move_the_image(position: str) -> None:
    # patient coordinates turn with the patient, so the position changes how a scanner orients its pixels, not where
    # the anatomy is
    turned = in_orientation((0, -1), (1, -1)) if "P" in position else series()
    for ds in turned:
        ds.PatientPosition = position
    ct = read(turned)
    assert ct.patient_position == position
    np.testing.assert_array_equal(ct.hu.values, position_code())


def test_rescale_is_taken_from_each_slice() -> None:
    slices = series()
    stored = np.frombuffer(slices[2].PixelData, "<i2").astype(int)
    slices[2].PixelData = ((stored - 1024) * 2 + 600).astype("<i2").tobytes()
    slices[2].RescaleSlope, slices[2].RescaleIntercept = 0.5, -300
    np.testing.assert_array_equal(read(slices).hu.values, position_code())


def test_unsigned_twelve_bits_ignore_the_bits_above() -> None:
    slices = series()
    for ds in slices:
        stored = np.frombuffer(ds.PixelData, "<u2") | 0x3000  # overlays lived there
        ds.PixelData = stored.astype("<u2").tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
    np.testing.assert_array_equal(read(slices).hu.values, position_code())


def test_signed_twelve_bits_are_sign_extended() -> None:
    slices = series(intercept=0)
    for ds in slices:
        stored = (np.frombuffer(ds.PixelData, "<i2") - 1024 - 500) & 0x0FFF
        ds.PixelData = stored.astype("<u2").tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 1
    np.testing.assert_array_equal(read(slices).hu.values, position_code() - 500)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("padding", "vr"), [(-2000, "SS"), (63536, "US")])
def test_padding_becomes_air(padding: int, vr: str, syntax: str) -> None:
    slices = series(transfer_syntax=syntax)
    for ds in slices:
        stored = np.frombuffer(ds.PixelData, "<i2").copy()
        stored[:3] = -2000
        ds.PixelData = stored.tobytes()
        ds.add_new(0x00280120, vr, padding)
    values = read(slices).hu.values
    assert np.all(values[:, 0, :3] == -1000)
    np.testing.assert_array_equal(values[:, 1:], position_code()[:, 1:])


def test_a_padding_value_among_tissue_is_not_believed() -> None:
    slices = series()
    for ds in slices:
        ds.add_new(0x00280120, "SS", 1024)  # 0 HU: water
    ct = read(slices)
    np.testing.assert_array_equal(ct.hu.values, position_code())
    assert any("Padding" in note for note in ct.notes)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_transfer_syntaxes(syntax: str) -> None:
    hu = np.tile(position_code(), (1, 16, 16)) - 300  # JPEG 2000 wants more than a few pixels
    slices = build.make_ct(hu)
    for ds in slices:
        ds.compress(syntax)
    np.testing.assert_array_equal(read(slices).hu.values, hu)


def test_damaged_compressed_pixels_are_refused() -> None:
    chance = random.Random(3)
    slices = build.make_ct(np.random.default_rng(1).integers(-1000, 1000, (2, 32, 32)))
    for ds in slices:
        ds.compress(RLELossless)
    sound = build.to_bytes(slices[0])
    for _ in range(60):
        content = bytearray(sound)
        for _ in range(3):
            content[chance.randrange(len(content) - 1500, len(content))] = chance.randrange(256)
        other = files(slices[1:])[0]
        with contextlib.suppress(DicomError):  # nothing else, and damage that decodes is only noise
            read_ct([DicomFile("a", "CT", parse(bytes(content), "a"), "a"), other])


def test_uneven_slices_are_interpolated_to_the_finest_spacing() -> None:
    # a scan with 3 mm slices around the target and 6 mm elsewhere; HU linear in z, which interpolation keeps exactly
    z = [0.0, 6, 12, 18, 21, 24, 27, 30, 36, 42, 48]
    hu = np.array(z)[:, None, None] * np.ones((1, 3, 3)) * 10
    ct = read(build.make_ct(hu, z_mm=z))
    assert ct.hu.grid.spacing_mm[2] == pytest.approx(3.0)
    assert ct.hu.grid.shape[0] == 17
    np.testing.assert_allclose(ct.hu.values[:, 1, 1], 10 * ct.hu.grid.z_mm, atol=1e-3)  # float32 of 480 HU
    assert any("interpolated" in note for note in ct.notes)


@pytest.mark.parametrize("absent", [[4], [3, 4], [3, 6], [8], [1], [2, 3, 4, 5]])
def test_a_missing_slice_is_refused_and_the_place_named(absent: list[int]) -> None:
    z = [3.0 * k for k in range(10) if k not in absent]
    error = refused(build.make_ct(np.zeros((len(z), 3, 3)), z_mm=z))
    assert error.reason == "CT_SLICE_MISSING"
    above = next(k for k in range(len(z)) if z[k] > 3.0 * absent[0])
    assert error.where["file"] == f"s{above}"


def test_positions_rounded_in_the_file_are_even() -> None:
    z = [round(0.625 * k, 1) for k in range(40)]
    ct = read(build.make_ct(np.zeros((40, 3, 3)), z_mm=z))
    assert ct.hu.grid.shape[0] == 40
    assert ct.hu.grid.spacing_mm[2] == pytest.approx((z[-1] - z[0]) / 39)


def test_two_slices_at_one_position_are_refused() -> None:
    slices = series()
    slices[3].ImagePositionPatient = slices[2].ImagePositionPatient
    error = refused(slices)
    assert (error.reason, error.where["file"]) == ("CT_SLICE_DUPLICATE", "s3")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SeriesInstanceUID", build.uid(77)),
        ("FrameOfReferenceUID", build.uid(78)),
        ("PixelSpacing", [3.0, 2.1]),
        ("ImageOrientationPatient", [-1.0, 0, 0, 0, 1, 0]),
        ("PatientPosition", "FFS"),
    ],
)
def test_a_foreign_slice_is_refused_by_name(keyword: str, value: object) -> None:
    slices = series()
    setattr(slices[4], keyword, value)
    error = refused(slices)
    assert (error.reason, error.where["file"]) == ("CT_FOREIGN_SLICE", "s4")
    assert keyword in error.where["tag"]


def test_a_slice_of_another_size_is_refused_by_name() -> None:
    slices = series()
    slices[1] = build.make_ct_slice(np.zeros((7, 7), np.int16), (0, 0, 1), spacing_mm=(3.0, 2.0))
    assert (refused(slices).reason, refused(slices).where["file"]) == ("CT_FOREIGN_SLICE", "s1")


def test_tilted_gantry_is_refused() -> None:
    angle = np.radians(10)
    slices = series(orientation=(1, 0, 0, 0, np.cos(angle), -np.sin(angle)))
    error = refused(slices)
    assert error.reason == "ORIENTATION_OBLIQUE" and error.where["file"] == "s0" and "10.00" in error.message


def test_sheared_slices_are_refused() -> None:
    slices = series()
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [ORIGIN[0], ORIGIN[1] + 0.9 * k, ORIGIN[2] + 5 * k]
    assert refused(slices).reason == "CT_SLICE_SHIFTED"


def test_rounding_of_the_orientation_is_forgiven() -> None:
    ct = read(series(orientation=(1, 0, -1.2e-16, 0, 0.9999999, 1e-5)))
    np.testing.assert_array_equal(ct.hu.values, position_code())


def test_one_slice_is_no_ct() -> None:
    assert refused(series()[:1]).reason == "CT_SINGLE_SLICE"


@pytest.mark.parametrize(("keyword", "value"), [("RescaleSlope", 0), ("RescaleType", "Z_EFF")])
def test_pixels_that_are_no_hounsfield_units_are_refused(keyword: str, value: object) -> None:
    slices = series()
    setattr(slices[0], keyword, value)
    assert refused(slices).reason == "CT_NOT_HU"


@pytest.mark.parametrize(
    "keyword",
    ["RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows",
     "Columns", "BitsAllocated", "PixelRepresentation", "PixelData"],
)  # fmt: skip
def test_what_is_needed_and_missing_is_named(keyword: str) -> None:
    slices = series()
    delattr(slices[3], keyword)
    error = refused(slices)
    assert error.reason == "TAG_MISSING" and error.where["file"] == "s3" and keyword in error.where["tag"]


def test_sizes_that_the_pixels_do_not_fill_allocate_nothing() -> None:
    slices = series()
    slices[0].Rows = slices[0].Columns = 65535
    assert refused(slices).reason in ("PIXELS_TRUNCATED", "PIXELS_TOO_LARGE")
    slices = series()
    slices[0].compress(RLELossless)
    slices[0].Rows = slices[0].Columns = 20000
    assert refused(slices).reason == "PIXELS_TRUNCATED"


def enhanced() -> FileDataset:
    """All slices in one enhanced CT, positions in the frames, the rest shared; frames out of order."""
    hu = position_code()
    order = [3, 1, 5, 0, 2, 4]
    ds = build.file_dataset(EnhancedCTImageStorage, build.uid(60), "CT")
    ds.SeriesInstanceUID, ds.FrameOfReferenceUID, ds.PatientPosition = build.CT_SERIES, build.FRAME, "HFS"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = str(len(hu)), *hu.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    shared, measures, orientation, transform = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 2, -1024, "HU"
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelValueTransformationSequence = [transform]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + SPACING[2] * k]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.add_new(0x7FE00010, "OW", ((hu[order] + 1024) / 2 * 1).astype("<i2").tobytes())
    return ds


def test_enhanced_multi_frame_ct() -> None:
    ct = read([enhanced()])
    assert ct.hu.grid.spacing_mm == SPACING and ct.hu.grid.origin_mm == ORIGIN
    # the slope of 2 halves the resolution: odd HU lose one
    np.testing.assert_array_equal(ct.hu.values, np.floor(position_code() / 2) * 2)


def test_enhanced_ct_with_missing_groups_is_refused() -> None:
    ds = enhanced()
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert refused([ds]).reason == "TAG_MISSING"
    ds = enhanced()
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:3]
    assert refused([ds]).reason == "TAG_INVALID"


def test_several_series_in_one_folder_and_a_localizer(tmp_path: Path) -> None:
    other = build.make_ct(position_code() + 1, series=build.uid(55))
    scout = build.make_ct_slice(np.zeros((9, 9), np.int16), (0, 0, 0), number=99)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for k, ds in enumerate([*series(), *other, scout]):
        build.save(ds, tmp_path / f"{k:02d}")
    study = load_study(tmp_path)
    assert [ct.series_uid for ct in study.cts] == [build.CT_SERIES, build.uid(55)]
    assert ["localizer" in s.reason for s in study.skipped] == [True]
    assert not study.problems


@needs_reference
def test_reference_head_ct_is_sorted_and_complete() -> None:
    assert REFERENCE is not None
    found = scan(Path(REFERENCE) / "dicom" / "head-vmat.zip").found
    ct = read_ct([f for f in found if f.kind == "CT"])
    assert ct.hu.grid.shape == (108, 256, 256)
    assert ct.hu.values.min() == -1024  # air of the reconstruction circle
    # anatomy is continuous: were two slices exchanged, neighbours would differ as much as far slices do
    near = np.abs(np.diff(ct.hu.values, axis=0)).mean(axis=(1, 2))
    assert near.max() < 4 * np.median(near)
