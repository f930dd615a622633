"""Where compiled kernels are kept when Numba finds no place for them.

Numba keeps them beside the code or in the user's cache folder, and refuses to make kernels at all when it may write to
neither: in an installation that belongs to somebody else, under an account without a home.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import numba


def ensure_cache() -> None:
    """Give Numba a folder of this process and its children if it has no other; kernels are then compiled anew each run.

    Compiled code is loaded from there and run, so the folder is private and its name cannot be foreseen.
    """
    try:
        numba.njit(cache=True)(_probe)
        return
    except RuntimeError:
        pass
    folder = tempfile.mkdtemp(prefix="dosecalc-kernels-")
    os.environ["NUMBA_CACHE_DIR"] = folder  # for the children
    numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _probe() -> None:
    """Something to cache."""
