"""Kernels are compiled also where Numba may keep them neither beside the code nor in a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
from dosecalc_kernels.cpu.resample import average_axis
import numba
print(numba.config.CACHE_DIR)
"""


def run(environment: dict[str, str]) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_installation_that_cannot_be_written_gets_a_private_folder(tmp_path: Path) -> None:
    # the only place that Numba may look for is the one that the environment names, and it names none
    folder = Path(run({"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "TMPDIR": str(tmp_path)}))
    assert folder.parent == tmp_path
    assert not folder.exists()  # gone with the process


def test_a_folder_that_is_given_is_used(tmp_path: Path) -> None:
    assert run({"NUMBA_CACHE_DIR": str(tmp_path)}) == str(tmp_path)
