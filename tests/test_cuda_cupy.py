"""What the CUDA launcher and the recipes ask of CuPy is there in the version that is installed: no device needed."""

import ast
from pathlib import Path

import pytest

import dosecalc
import dosecalc_kernels
from dosecalc_kernels.cuda import launch

cupy = pytest.importorskip("cupy")


def names_of(tree):
    """Names that are looked up in the array module: ``xp.a``, ``device.xp.a.b``, ``cupy.a.b``."""
    for node in ast.walk(tree):
        path, at = [], node
        while isinstance(at, ast.Attribute):
            path.append(at.attr)
            at = at.value
        path.append(at.id if isinstance(at, ast.Name) else "")
        path.reverse()
        for module in ("xp", "cupy"):
            if module in path[:-1]:
                yield ".".join(path[path.index(module) + 1 :])


def test_every_name_that_is_taken_from_cupy_is_there():
    folders = [Path(dosecalc.__file__).parent, Path(dosecalc_kernels.__file__).parent]
    asked = {
        name
        for folder in folders
        for file in folder.rglob("*.py")
        for name in names_of(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert {"maximum", "outer", "RawModule", "cuda.runtime.memGetInfo"} <= asked
    missing = []
    for name in sorted(asked):
        found = cupy
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(name)
    assert not missing


def test_modules_take_what_the_launcher_gives_them():
    """`CudaLauncher._function` makes a RawModule by keywords; it compiles when its first kernel is asked for."""
    module = cupy.RawModule(code='extern "C" __global__ void f(float* a) {}', options=launch.NVRTC_OPTIONS)
    assert callable(module.get_function)
