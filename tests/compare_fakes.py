"""Comparisons that take the place of the real ones in tests of the service."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from dosecalc.errors import Cancelled
from dosecalc_server import comparison
from dosecalc_server.compare_request import ComparisonRequest
from dosecalc_server.tasks import Task, TaskProgress

request_from_json = ComparisonRequest.from_json


def compare(
    task: Task[ComparisonRequest], progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]
) -> None:
    """Compare; before that, wait to be cancelled for a maximum gamma of 9, sleep for 8, and die for 7."""
    begun = os.environ["DOSECALC_TEST_BEGUN"]
    with open(begun, "a", encoding="utf-8") as file:
        file.write("begun\n")
    if task.request.max_gamma == 9:
        while not cancelled():
            time.sleep(0.01)
        raise Cancelled
    if task.request.max_gamma == 8:
        time.sleep(60)
    if task.request.max_gamma == 7:
        os._exit(3)
    comparison.compare_doses(task, progress, cancelled)
