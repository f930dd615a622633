"""Between the wire and the server's own types. What comes from the wire is checked here, all of it, before use."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from dosecalc.errors import InputError
from dosecalc.photon.engines import ARC_TOLERANCE_DEG, ENGINES
from dosecalc_api.v1 import dose_pb2, geometry_pb2, study_pb2
from dosecalc_server import index
from dosecalc_server.config import Limits
from dosecalc_server.index import StudyRecord
from dosecalc_server.jobs import JobView
from dosecalc_server.request import ExactGrid, JobRequest, Triple
from dosecalc_server.status import RequestError

_HEX = re.compile(r"[0-9a-f]{64}")
_UID = re.compile(r"[0-9.]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*")
_POSITION = re.compile(r"[0-9]{1,18}")
_MAX_TEXT = 256
_MAX_YAML = 65536
_MAX_DENSITIES = 500
_DEVICES = {dose_pb2.DEVICE_UNSPECIFIED: "auto", dose_pb2.DEVICE_CPU: "cpu", dose_pb2.DEVICE_CUDA: "cuda"}
_DEVICE_BY_NAME = {name: number for number, name in _DEVICES.items()}
_DEFAULT_PAGE, _MAX_PAGE = 100, 1000


class Checker:
    """Collects everything that is wrong with a request, so that the caller learns it at once."""

    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []

    def require(self, good: bool, field: str, wrong: str) -> None:
        """Note what is wrong with a field unless it is good."""
        if not good:
            self.violations.append((field, wrong))

    def uid(self, field: str, value: str) -> str | None:
        """A UID; None for nothing."""
        self.require(
            not value or bool(_UID.fullmatch(value)), field, "must be a DICOM UID: digits and dots, at most 64"
        )
        return value or None

    def finish(self) -> None:
        """Raise `RequestError` if anything was wrong."""
        if self.violations:
            raise RequestError(self.violations)


def sha256_from_wire(value: bytes, field: str) -> str:
    """A digest as hexadecimal digits.

    Raises
    ------
    RequestError
        It does not have 32 bytes.
    """
    if len(value) != 32:
        raise RequestError([(field, f"a SHA-256 has 32 bytes, not {len(value)}")])
    return value.hex()


def id_from_name(name: str, collection: str, field: str) -> str:
    """The 64 hexadecimal digits of ``studies/…`` or ``jobs/…``."""
    prefix, _, identifier = name.partition("/")
    if prefix != collection or not _HEX.fullmatch(identifier):
        raise RequestError([(field, f"must be `{collection}/` and 64 hexadecimal digits in lower case")])
    return identifier


def request_from_wire(
    message: dose_pb2.DoseRequest,
    devices: tuple[str, ...],
    curves: tuple[str, ...],
    limits: Limits,
) -> JobRequest:
    """A checked request.

    Parameters
    ----------
    message : DoseRequest
    devices, curves : tuple of str
        Device kinds and HU calibration curves that are here.
    limits : Limits

    Raises
    ------
    RequestError
        With a violation for every field that is wrong.
    """
    check = Checker()
    engine = message.engine or next(iter(ENGINES))
    check.require(engine in ENGINES, "request.engine", f"must be one of {', '.join(ENGINES)}")
    low, high, usual = ARC_TOLERANCE_DEG
    arc_tolerance = message.arc_tolerance_deg or usual
    check.require(low <= arc_tolerance <= high, "request.arc_tolerance_deg", f"must be from {low:g} to {high:g}")
    device = device_from_wire(check, message.device, "request.device", devices)
    check.require(0 <= message.threads <= 1024, "request.threads", "must be from 0 (all) to 1024")
    check.require(len(message.plan) <= _MAX_TEXT, "request.plan", f"must have at most {_MAX_TEXT} characters")
    # a name that is none of these might be a path, which is nobody's to give
    check.require(message.hu_curve in ("", *curves), "request.hu_curve", f"must be one of {', '.join(curves)}")
    check.require(
        bool(_HEX.fullmatch(message.study.removeprefix("studies/"))) and message.study.startswith("studies/"),
        "request.study",
        "must be `studies/` and 64 hexadecimal digits in lower case",
    )
    grid = _grid(check, message.grid, limits)
    request = JobRequest(
        study=message.study.removeprefix("studies/"),
        plan=message.plan or None,
        structure_set_uid=check.uid("request.structure_set_uid", message.structure_set_uid),
        ct_series_uid=check.uid("request.ct_series_uid", message.ct_series_uid),
        machines=_machines(check, message),
        mapping_yaml=message.mapping_yaml or None,
        engine=engine,
        device=device,
        quantity=_choice(check, engine, "quantity", message.quantity),
        cones=_choice(check, engine, "cones", message.cones),
        heterogeneity=_choice(check, engine, "heterogeneity", message.heterogeneity),
        arc_tolerance_deg=arc_tolerance,
        spacing_mm=grid[0],
        box_mm=grid[1],
        grid_like_uid=grid[2],
        exact_grid=grid[3],
        density_g_cm3=_densities(check, message),
        without_ct=message.without_ct,
        hu_curve=message.hu_curve or None,
        threads=message.threads,
    )
    check.finish()
    return request


def _choice(check: Checker, engine: str, option: str, name: str) -> str:
    """What was chosen of an engine's option, the default for nothing."""
    if engine not in ENGINES:
        return ""  # nothing can be said of an engine that does not exist
    names = tuple(ENGINES[engine].options.get(option, {}))
    check.require(not name or name in names, f"request.{option}", f"must be one of {', '.join(names)}")
    return name or next(iter(names), "")


def device_from_wire(check: Checker, device: dose_pb2.Device, field: str, devices: tuple[str, ...]) -> str:
    """The name of a device of this server, or ``auto``."""
    name = _DEVICES.get(device, "")
    check.require(name in ("auto", *devices), field, f"this server has {', '.join(devices)}")
    return name


def request_to_wire(request: JobRequest) -> dose_pb2.DoseRequest:
    """The canonical request as a message."""
    message = dose_pb2.DoseRequest(
        study=f"studies/{request.study}",
        plan=request.plan or "",
        structure_set_uid=request.structure_set_uid or "",
        ct_series_uid=request.ct_series_uid or "",
        machines=request.machines,
        mapping_yaml=request.mapping_yaml or "",
        engine=request.engine,
        device=_DEVICE_BY_NAME[request.device],
        quantity=request.quantity,
        cones=request.cones,
        heterogeneity=request.heterogeneity,
        arc_tolerance_deg=request.arc_tolerance_deg,
        densities=[
            dose_pb2.StructureDensity(structure_name=name, density_g_cm3=density)
            for name, density in request.density_g_cm3
        ],
        without_ct=request.without_ct,
        hu_curve=request.hu_curve or "",
        threads=request.threads,
    )
    if request.spacing_mm is not None:
        message.grid.spacing_mm.CopyFrom(vector_to_wire(request.spacing_mm))
    if request.box_mm is not None:
        message.grid.box.lower_mm.CopyFrom(vector_to_wire(request.box_mm[0]))
        message.grid.box.upper_mm.CopyFrom(vector_to_wire(request.box_mm[1]))
    if request.exact_grid is not None:
        origin, spacing, shape = request.exact_grid
        message.grid.exact.CopyFrom(grid_to_wire({"origin_mm": origin, "spacing_mm": spacing, "shape": shape}))
    message.grid.like_rtdose_uid = request.grid_like_uid or ""
    return message


def study_to_wire(record: StudyRecord) -> study_pb2.Study:
    """A study as a message."""
    return study_pb2.Study(
        name=f"studies/{record.id}",
        blobs=record.blobs,
        size_bytes=record.size_bytes,
        create_time=_timestamp(record.created),
    )


def job_to_wire(view: JobView) -> dose_pb2.Job:
    """A job as a message."""
    record = view.record
    message = dose_pb2.Job(
        name=f"jobs/{record.id}",
        request=request_to_wire(JobRequest.from_json(record.request)),
        state=f"JOB_STATE_{record.state}",
        done=record.done,
        progress=_progress(view),
        create_time=_timestamp(record.created),
    )
    if record.started is not None:
        message.start_time.CopyFrom(_timestamp(record.started))
    if record.ended is not None:
        message.end_time.CopyFrom(_timestamp(record.ended))
    if record.state == index.FAILED and record.error is not None:
        message.error.CopyFrom(dose_pb2.JobError(**json.loads(record.error)))
    if record.state == index.SUCCEEDED and record.result is not None:
        message.result.CopyFrom(result_to_wire(json.loads(record.result)))
    return message


def result_to_wire(summary: dict[str, Any]) -> dose_pb2.DoseResult:
    """The summary that a computation wrote (see `dosecalc_server.computation`) as a message."""
    plain = {k: v for k, v in summary.items() if k not in ("grid", "beams")}
    beams = [dose_pb2.BeamResult(**beam) for beam in summary["beams"]]
    return dose_pb2.DoseResult(grid=grid_to_wire(summary["grid"]), beams=beams, **plain)


def grid_to_wire(grid: dict[str, Any]) -> geometry_pb2.Grid:
    """A grid (``origin_mm``, ``spacing_mm`` as x, y, z and ``shape`` as z, y, x) as a message."""
    nz, ny, nx = grid["shape"]
    return geometry_pb2.Grid(
        origin_mm=vector_to_wire(grid["origin_mm"]),
        spacing_mm=vector_to_wire(grid["spacing_mm"]),
        size_x=nx,
        size_y=ny,
        size_z=nz,
    )


def page_size(asked: int) -> int:
    """Length of a page.

    Raises
    ------
    RequestError
        Not from 0 to 1000.
    """
    if not 0 <= asked <= _MAX_PAGE:
        raise RequestError([("page_size", f"must be from 0 to {_MAX_PAGE}")])
    return asked or _DEFAULT_PAGE


def state_from_wire(state: int) -> str | None:
    """A job's state as the index has it; None for UNSPECIFIED.

    Raises
    ------
    RequestError
        There is no such state.
    """
    if state not in dose_pb2.JobState.values():
        raise RequestError([("state", "there is no such state")])
    return dose_pb2.JobState.Name(state).removeprefix("JOB_STATE_") if state else None


def page_token(position: int) -> str:
    """An opaque token for the page that begins below this position."""
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def page_position(token: str) -> int | None:
    """The position of a token; None for the first page.

    Raises
    ------
    InputError
        ``PAGE_TOKEN_INVALID``.
    """
    if not token:
        return None
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    if not _POSITION.fullmatch(text):
        wrong = "The page token is not one that this server gave."
        raise InputError("PAGE_TOKEN_INVALID", wrong, field="page_token")
    return int(text)


def _machines(check: Checker, message: dose_pb2.DoseRequest) -> tuple[str, ...]:
    names = sorted({name.removeprefix("machines/") for name in message.machines})
    for name in names:
        check.require(_is_name(name), "request.machines", "must be names of machine models, never paths")
    yaml = message.mapping_yaml
    check.require(not (names and yaml), "request.mapping_yaml", "give either machines or a mapping, not both")
    check.require(len(yaml) <= _MAX_YAML, "request.mapping_yaml", f"must have at most {_MAX_YAML} characters")
    return tuple(names)


def _densities(check: Checker, message: dose_pb2.DoseRequest) -> tuple[tuple[str, float], ...]:
    densities = tuple((d.structure_name, d.density_g_cm3) for d in message.densities)
    field = "request.densities"
    check.require(len(densities) <= _MAX_DENSITIES, field, f"at most {_MAX_DENSITIES}")
    check.require(len({name for name, _ in densities}) == len(densities), field, "each structure once")
    for name, value in densities:
        check.require(bool(name) and len(name) <= _MAX_TEXT, field, "a structure's name has 1 to 256 characters")
        check.require(0 <= value <= 25, field, f"a density must be from 0 to 25 g/cm3, not {value:g}")
    return densities


_Box = tuple[Triple, Triple]


def _grid(
    check: Checker, message: dose_pb2.GridRequest, limits: Limits
) -> tuple[Triple | None, _Box | None, str | None, ExactGrid | None]:
    """Spacing, box, UID of an RTDOSE, exact grid: the spacing and perhaps the box, or one of the others."""
    like = check.uid("request.grid.like_rtdose_uid", message.like_rtdose_uid)
    by_spacing = message.HasField("spacing_mm") or message.HasField("box")
    if like is not None:
        alone = not by_spacing and not message.HasField("exact")
        check.require(alone, "request.grid.like_rtdose_uid", "excludes a spacing, a box and an exact grid")
        return None, None, like, None
    if message.HasField("exact"):
        check.require(not by_spacing, "request.grid.exact", "excludes a spacing and a box")
        return None, None, None, _exact(check, message.exact, limits)
    spacing: Triple = (3.0, 3.0, 3.0)
    if message.HasField("spacing_mm"):
        spacing = _spacing(check, "request.grid.spacing_mm", message.spacing_mm)
    box = _box(check, message.box, spacing, limits) if message.HasField("box") else None
    return spacing, box, None, None


def _spacing(check: Checker, field: str, vector: geometry_pb2.Vector3) -> Triple:
    return _triple(check, field, vector, "from 0.5 to 50", lambda v: 0.5 <= v <= 50)


def _position(check: Checker, field: str, vector: geometry_pb2.Vector3) -> Triple:
    return _triple(check, field, vector, "from -10000 to 10000", lambda v: abs(v) <= 10000)


def _exact(check: Checker, grid: geometry_pb2.Grid, limits: Limits) -> ExactGrid:
    shape = (grid.size_z, grid.size_y, grid.size_x)
    for axis, size in zip("zyx", shape, strict=True):
        check.require(1 <= size <= 10000, f"request.grid.exact.size_{axis}", f"must be from 1 to 10000, not {size}")
    voxels = math.prod(shape)
    fits = voxels <= limits.max_grid_voxels
    check.require(fits, "request.grid.exact", f"has {voxels} voxels; at most {limits.max_grid_voxels}")
    origin = _position(check, "request.grid.exact.origin_mm", grid.origin_mm)
    return origin, _spacing(check, "request.grid.exact.spacing_mm", grid.spacing_mm), shape


def _box(check: Checker, box: geometry_pb2.Box, spacing: Triple, limits: Limits) -> _Box:
    lower = _position(check, "request.grid.box.lower_mm", box.lower_mm)
    upper = _position(check, "request.grid.box.upper_mm", box.upper_mm)
    above = all(a < b for a, b in zip(lower, upper, strict=True))
    check.require(above, "request.grid.box.upper_mm", "must lie above lower_mm along every axis")
    if not check.violations:
        voxels = math.prod(math.ceil((b - a) / s) for a, b, s in zip(lower, upper, spacing, strict=True))
        fits = voxels <= limits.max_grid_voxels
        check.require(fits, "request.grid.box", f"makes {voxels} voxels; at most {limits.max_grid_voxels}")
    return lower, upper


def _triple(
    check: Checker, field: str, vector: geometry_pb2.Vector3, rule: str, good: Callable[[float], bool]
) -> Triple:
    for axis, value in (("x", vector.x), ("y", vector.y), ("z", vector.z)):
        check.require(math.isfinite(value) and good(value), f"{field}.{axis}", f"must be {rule} mm, not {value:g}")
    return vector.x, vector.y, vector.z


def _is_name(text: str) -> bool:
    return len(text) <= 100 and bool(_NAME.fullmatch(text))


def _progress(view: JobView) -> dose_pb2.JobProgress:
    return dose_pb2.JobProgress(
        fraction=view.fraction,
        beams=[dose_pb2.BeamProgress(beam_number=n, fraction=f) for n, f in view.beams],
        step=view.step,
        elapsed_s=view.elapsed_s,
        remaining_s=view.remaining_s,
        queue_position=view.queue_position,
    )


def vector_to_wire(values: Triple) -> geometry_pb2.Vector3:
    """Three numbers along x, y, z as a message."""
    return geometry_pb2.Vector3(x=values[0], y=values[1], z=values[2])


def _timestamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
