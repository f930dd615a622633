"""Everything else of an RT Plan beam that changes dose: compensators, applicators, tables that tilt, …

Each becomes a `Modifier`, for which `dosecalc.plan.support` refuses the beam.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.rtplan_context import within
from dosecalc.dicom.rtplan_devices import Devices
from dosecalc.plan import ControlPoint, Modifier

#: angles below this are zero: at 300 mm from the axis they move a point by 0.05 mm
_ZERO_DEG = 0.01
#: positions that differ by less are the same
_SAME_MM = 0.1
#: keys of the Beam Sequence item -> (kind, count attribute, sequence, name attribute, further attributes)
_LISTS = (
    ("COMPENSATOR", "NumberOfCompensators", "CompensatorSequence", "CompensatorID", ("MaterialID",)),
    ("APPLICATOR", None, "ApplicatorSequence", "ApplicatorID", ("ApplicatorType",)),
)
#: delivery types whose dose is that of a treatment beam; VERIFICATION is how quality-assurance plans are marked
_DELIVERED = ("", "TREATMENT", "CONTINUATION", "VERIFICATION")


def read_modifiers(
    beam: Dataset,
    items: Sequence[Dataset],
    points: Sequence[ControlPoint],
    devices: Devices,
    setup: Dataset | None,
    file: str,
) -> tuple[Modifier, ...]:
    """All modifiers of one beam.

    Parameters
    ----------
    beam : Dataset
        Item of the Beam Sequence.
    items : sequence of Dataset
        Its control points as they are in the file.
    points : sequence of ControlPoint
        The same, complete.
    devices : Devices
    setup : Dataset or None
        The beam's item of the Patient Setup Sequence.
    file : str
        Name of the file, for messages.

    Raises
    ------
    RtPlanError
        What `values` finds wrong.
    """
    found = [
        *_listed(beam, file),
        *_trays(beam, file),
        *_accessories(beam, file),
        *_shielding(setup, file),
        *_devices(beam, items, devices, file),
        *_tilts(items, file),
        *_table_motion(items, file),
        *_of_course(items, points, file),
        *_kind_of_delivery(beam, file),
    ]
    return tuple(found)


def _text(item: Dataset, keyword: str, file: str) -> str:
    return values.text(item, keyword, file, "", error=RtPlanError)


def _details(item: Dataset, keywords: Sequence[str], file: str) -> dict[str, str]:
    pairs = ((keyword, _text(item, keyword, file)) for keyword in keywords)
    return {keyword: text for keyword, text in pairs if text}


def _count(beam: Dataset, keyword: str | None, file: str) -> int:
    return values.integer(beam, keyword, file, 0, minimum=0, error=RtPlanError) if keyword else 0


def _listed(beam: Dataset, file: str) -> Iterator[Modifier]:
    for kind, count, sequence, name, more in _LISTS:
        entries = values.items(beam, sequence, file, error=RtPlanError)
        if not entries and _count(beam, count, file):
            yield Modifier(kind)
        for entry in entries:
            yield Modifier(kind, _text(entry, name, file), _details(entry, more, file))


def _trays(beam: Dataset, file: str) -> Iterator[Modifier]:
    factor = values.number(beam, "TotalCompensatorTrayFactor", file, 1.0, error=RtPlanError)
    if factor != 1.0:
        yield Modifier("TRAY", "compensator tray", {"transmission": f"{factor:g}"})
    for what in ("Wedge", "Block", "Compensator"):
        # whether it adds to the tray's transmission or is the same thing told twice is not said anywhere
        thickness = values.number(beam, f"Total{what}TrayWaterEquivalentThickness", file, 0.0, error=RtPlanError)
        if thickness != 0.0:
            yield Modifier("TRAY", f"{what.lower()} tray", {"water-equivalent": f"{thickness:g} mm"})


def _accessories(beam: Dataset, file: str) -> Iterator[Modifier]:
    for entry in values.items(beam, "GeneralAccessorySequence", file, error=RtPlanError):
        kind = _text(entry, "GeneralAccessoryType", file).upper()
        if kind != "IMAGE_DETECTOR":  # it stands behind the patient
            yield Modifier("ACCESSORY", _text(entry, "GeneralAccessoryID", file), {"type": kind} if kind else {})


def _shielding(setup: Dataset | None, file: str) -> Iterator[Modifier]:
    if setup is not None:
        for entry in values.items(setup, "ShieldingDeviceSequence", file, error=RtPlanError):
            yield Modifier("SHIELDING", _text(entry, "ShieldingDeviceType", file))


def _devices(beam: Dataset, items: Sequence[Dataset], devices: Devices, file: str) -> Iterator[Modifier]:
    for kind in devices.other_mlcs:
        yield Modifier("SECOND_MLC", kind, {"beside": ", ".join(layer.kind for layer in devices.layers)})
    for kind in devices.unknown:
        yield Modifier("LIMITING_DEVICE", kind)
    enhanced = "EnhancedRTBeamLimitingDeviceSequence"
    flag = _text(beam, "EnhancedRTBeamLimitingDeviceDefinitionFlag", file).upper()
    openings = any(values.present(item, "EnhancedRTBeamLimitingOpeningSequence") for item in items)
    if flag == "YES" or openings or values.items(beam, enhanced, file, error=RtPlanError):
        yield Modifier("ENHANCED_LIMITING_DEVICE")


def _tilts(items: Sequence[Dataset], file: str) -> Iterator[Modifier]:
    for kind, keywords in (
        ("GANTRY_PITCH", ("GantryPitchAngle",)),
        ("TABLE_TOP_TILT", ("TableTopPitchAngle", "TableTopRollAngle")),
        ("TABLE_TOP_ECCENTRIC", ("TableTopEccentricAngle",)),
    ):
        largest = {keyword: _largest_angle(items, keyword, file) for keyword in keywords}
        tilted = {keyword: f"{angle:g} degrees" for keyword, angle in largest.items() if abs(angle) > _ZERO_DEG}
        if tilted:
            yield Modifier(kind, "", tilted)


def _largest_angle(items: Sequence[Dataset], keyword: str, file: str) -> float:
    largest = 0.0
    for i, item in enumerate(items):
        with within(control_point=i):
            angle = values.number(item, keyword, file, 0.0, minimum=-360.0, maximum=360.0, error=RtPlanError)
        angle = (angle + 180.0) % 360.0 - 180.0
        largest = max(largest, angle, key=abs)
    return largest


def _table_motion(items: Sequence[Dataset], file: str) -> Iterator[Modifier]:
    for keyword in ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition"):
        given = []
        for i, item in enumerate(items):
            with within(control_point=i):
                given.append(values.number(item, keyword, file, None, error=RtPlanError))
        known = [position for position in given if position is not None]
        if known and max(known) - min(known) > _SAME_MM:
            yield Modifier("TABLE_MOTION", keyword, {"by": f"{max(known) - min(known):g} mm"})


def _of_course(items: Sequence[Dataset], points: Sequence[ControlPoint], file: str) -> Iterator[Modifier]:
    """Isocentre and energy, which stay the same through nearly every beam."""
    first = points[0].isocentre_patient_mm
    if any(abs(a - b) > _SAME_MM for p in points for a, b in zip(p.isocentre_patient_mm, first, strict=True)):
        yield Modifier("ISOCENTRE_MOTION")
    energies = set()
    for i, item in enumerate(items):
        with within(control_point=i):
            energies.add(values.number(item, "NominalBeamEnergy", file, None, minimum=0.0, error=RtPlanError))
    energies.discard(None)
    if len(energies) > 1:
        yield Modifier("ENERGY_CHANGE", "", {"energies": ", ".join(f"{e:g}" for e in sorted(filter(None, energies)))})


def _kind_of_delivery(beam: Dataset, file: str) -> Iterator[Modifier]:
    unit = _text(beam, "PrimaryDosimeterUnit", file).upper()
    if unit not in ("", "MU"):
        yield Modifier("DOSIMETER_UNIT", unit)
    delivery = _text(beam, "TreatmentDeliveryType", file).upper()
    if delivery not in _DELIVERED:
        yield Modifier("DELIVERY_TYPE", delivery)
