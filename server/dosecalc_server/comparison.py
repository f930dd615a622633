"""What a worker does with a comparison: read both doses, compare, leave figures, maps and picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dosecalc.dicom.comparable import refuse_strange_frame, refuse_strangers
from dosecalc.dicom.rtdose import RtDose, read_rtdose
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.dose.compare import Comparison, compare
from dosecalc.dose.gamma import Criterion
from dosecalc.errors import Cancelled
from dosecalc.geometry import Grid, Volume
from dosecalc.outputs.comparison_picture import draw_comparison
from dosecalc.patient.structures import Structure
from dosecalc_server.compare_request import DIFFERENCE, PICTURE, ComparisonRequest, DoseFile, gamma_file
from dosecalc_server.tasks import Task, TaskProgress, write_result

request_from_json = ComparisonRequest.from_json


def compare_doses(
    task: Task[ComparisonRequest], progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]
) -> None:
    """Compare; see `dosecalc_server.tasks.Computation`.

    Raises
    ------
    DosecalcError
        What reading and `dosecalc.dose.compare.compare` raise.
    """
    request, folder = task.request, task.files[0].parent
    (reference, a), (evaluated, b) = (_read(folder, source) for source in (request.reference, request.evaluated))
    refuse_strangers(
        a, b, ignore_frame=request.ignore_frame, ignore_type=request.ignore_type, file=request.evaluated.name
    )
    structures = _structures(folder, request, a)
    progress(TaskProgress(0.2, step="comparing"))
    found = compare(
        reference,
        evaluated,
        criteria=[Criterion(*c) for c in request.criteria],
        local=request.local,
        threshold_percent=request.threshold_percent,
        normalisation_gy=request.normalisation_gy,
        max_gamma=request.max_gamma,
        sampling=request.sampling,
        structures=structures,
        device=request.device,
    )
    if cancelled():
        raise Cancelled
    _write_files(task, found, reference, structures)
    write_result(task.output, {"comparison": found.to_dict(), "grid": asdict(reference.grid)}, [])


def _read(folder: Path, source: DoseFile) -> tuple[Volume, RtDose | None]:
    file = folder / source.name
    if source.grid is None:
        dose = read_rtdose(file)
        return dose.volume, dose
    origin, spacing, shape = source.grid
    grid = Grid(tuple(origin), tuple(spacing), tuple(shape))
    return Volume(grid, np.fromfile(file, dtype="<f4").reshape(grid.shape)), None


def _structures(folder: Path, request: ComparisonRequest, dose: RtDose | None) -> tuple[Structure, ...]:
    if request.rtstruct is None:
        return ()
    found = read_rtstruct(folder / request.rtstruct)
    if not request.ignore_frame:
        refuse_strange_frame(dose, found.frame_of_reference_uid, file=request.rtstruct)
    names = request.structure_names
    return tuple(found.find(n) for n in names) if names else tuple(found.structures)


def _write_files(
    task: Task[ComparisonRequest], found: Comparison, reference: Volume, structures: tuple[Structure, ...]
) -> None:
    def write(name: str, values: Any) -> None:
        np.ascontiguousarray(values, dtype="<f4").tofile(task.output / name)

    if task.request.picture:
        drawn = draw_comparison(found, reference, structures=[s for s in structures if not s.empty])
        (task.output / PICTURE).write_bytes(drawn)
    if task.request.gamma_maps:
        for number, gamma in enumerate(found.gamma.maps):
            write(gamma_file(number), gamma.values)
    if task.request.difference_map:
        write(DIFFERENCE, found.difference_gy.values)
