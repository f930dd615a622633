"""Computations that take the place of the dose engine in tests of the service; the plan's label says what they do."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable

import numpy as np

from dosecalc.errors import Cancelled, DeviceError, PlanError
from dosecalc_server.tasks import Task, TaskProgress, write_result

SHAPE = (3, 4, 5)
GRID = {"origin_mm": [1.0, 2.0, 3.0], "spacing_mm": [2.0, 2.5, 3.0], "shape": list(SHAPE)}
BIG_BYTES = 12 << 20


def dose_gy(factor: float = 1.0) -> np.ndarray:
    """The dose that every fake computes, times a factor; float32 [z, y, x], Gy."""
    return (factor * np.arange(np.prod(SHAPE), dtype="<f4")).reshape(SHAPE)


def compute(task: Task, progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]) -> None:
    """Do what the request's plan label names, ``ACTION`` or ``ACTION-SECONDS``; see `_ACTIONS`."""
    action, _, seconds = (task.request.plan or "finish").partition("-")
    _note_run(task)
    _ACTIONS[action](task, float(seconds or 0), progress, cancelled)


def _note_run(task: Task) -> None:
    """Leave a mark outside the store for every time that a computation was begun."""
    if marks := os.environ.get("DOSECALC_TEST_MARKS"):
        with open(marks, "a", encoding="utf-8") as file:
            file.write(f"{task.job}\n")


def _finish(task: Task, seconds: float, progress: object, cancelled: object, rtdose: bytes | None = None) -> None:
    content = rtdose or b"".join(f.read_bytes() for f in task.files)
    files: list[tuple[str, int, str]] = []
    for name, beam, factor in (("plan", -1, 1.0), ("beam-1", 1, 0.25), ("beam-7", 7, 0.75)):
        (task.output / f"{name}.dcm").write_bytes(content + name.encode())
        (task.output / f"{name}.f32").write_bytes(dose_gy(factor).tobytes())
        files += [("rtdose", beam, f"{name}.dcm"), ("raw", beam, f"{name}.f32")]
    dvhs = [
        {
            "structure_name": name,
            "structure_number": number,
            "volume_cm3": 8.0,
            "dose_gy": [0.0, 1.0, 2.0],
            "cumulative_cm3": [8.0, 4.0, 0.0],
            "statistics": {"mean_gy": 1.0},
            "notes": [],
        }
        for number, name in enumerate(("PTV", "Ryggmärg"), 1)
    ]
    (task.output / "dvhs.json").write_text(json.dumps(dvhs))
    files.append(("dvhs", -1, "dvhs.json"))
    beams = [{"beam_number": n, "beam_name": f"B{n}", "mu": 100.0, "max_dose_gy": 1.0, "info": {}} for n in (1, 7)]
    summary = {
        "grid": GRID,
        "beams": beams,
        "quantity": "dose to medium",
        "engine": "fake",
        "machine_name": "none",
        "machine_sha256": "0" * 64,
        "max_dose_gy": float(dose_gy().max()),
        "provenance": {"version": "0"},
        "seconds": {"all": 0.0},
        "warnings": ["a fake"],
        "dvhs": 2,
    }
    write_result(task.output, summary, files)


def _slow(task: Task, seconds: float, progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]) -> None:
    begin = time.monotonic()
    while (done := (time.monotonic() - begin) / seconds) < 1:
        if cancelled():
            raise Cancelled
        beam = 1 if done < 0.5 else 7
        progress(TaskProgress(done, beam, (2 * done) % 1, "computing"))
        time.sleep(0.02)
    _finish(task, 0, progress, cancelled)


def _deaf(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    time.sleep(seconds)


def _refuse(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    raise PlanError("MODIFIER_NOT_MODELLED", "Beam 1 has a wedge.", beam="1", file=str(task.files[0]))


def _bug(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    raise ValueError(f"cannot read {task.files[0].read_bytes()!r}")


def _die(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    os._exit(7)


def _big(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    _finish(task, 0, progress, cancelled, rtdose=np.random.default_rng(1).bytes(BIG_BYTES))


def _print(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    print("a library that prints on standard output")
    _finish(task, 0, progress, cancelled)


def _full(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _memory(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    np.empty(1 << 60, np.uint8)


def _fault(task: Task, seconds: float, progress: object, cancelled: object) -> None:
    """A CUDA device that fails, and is then lost to this process: the next task in it would fail as well."""
    _ACTIONS["finish"] = _fault
    raise DeviceError("DEVICE_FAILED", "CUDA device 0: cudaErrorIllegalAddress")


_ACTIONS: dict[str, Callable[..., None]] = {
    "finish": _finish,
    "slow": _slow,
    "deaf": _deaf,
    "refuse": _refuse,
    "bug": _bug,
    "die": _die,
    "big": _big,
    "print": _print,
    "full": _full,
    "memory": _memory,
    "fault": _fault,
}
