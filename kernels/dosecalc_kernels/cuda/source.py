"""CUDA sources as the launchers need them: one text with its own includes in it, and the kernels' parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'^[ \t]*#include "([^"]+)"[ \t]*$', re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(
    r'extern "C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?(\w+)\s*\(([^)]*)\)', re.DOTALL
)
#: threads of a block speak to each other with these
_TALK = re.compile(r"__sync(threads|warp)|__shfl_|__ballot_sync|__any_sync|__all_sync")
_TYPES = {
    "float": np.float32, "float2": np.float32, "float4": np.float32,
    "double": np.float64, "double2": np.float64,
    "int": np.int32, "unsigned": np.uint32, "unsigned int": np.uint32,
    "short": np.int16, "unsigned short": np.uint16,
    "signed char": np.int8, "unsigned char": np.uint8, "bool": np.bool_,
    "long long": np.int64, "i64": np.int64, "unsigned long long": np.uint64,
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: a scalar, or a pointer to elements of ``dtype``; ``constant`` ones are not written.

    ``alignment`` is that of what a pointer points to, bytes: four times that of a float for float4.
    """

    name: str
    dtype: np.dtype[np.generic]
    pointer: bool
    constant: bool
    alignment: int


@dataclass(frozen=True)
class Source:
    """A CUDA source file and the macros that it is compiled with.

    Parameters
    ----------
    name : str
        File without ``.cu``.
    defines : tuple of (name, value)
        Prepended as ``#define``.
    folder : Path
        Where the file and what it includes with quotes lie; this package by default.
    """

    name: str
    defines: tuple[tuple[str, str], ...] = ()
    folder: Path = _HERE

    def text(self) -> str:
        """The source in one piece. Quoted includes are replaced by the files, so that caches see every change."""
        return _text(self)

    def kernels(self) -> dict[str, tuple[Parameter, ...]]:
        """The parameters of every ``extern "C" __global__`` function, by its name."""
        return _kernels(self)

    def talks(self) -> bool:
        """Whether the threads of a block meet at barriers or exchange values."""
        return bool(_TALK.search(_COMMENT.sub("", self.text())))


@cache
def _text(source: Source) -> str:
    defines = "".join(f"#define {name} {value}\n" for name, value in source.defines)
    return defines + _inlined(source.folder / f"{source.name}.cu", set())


def _inlined(file: Path, seen: set[Path]) -> str:
    def included(match: re.Match[str]) -> str:
        other = file.parent / match[1]
        if other in seen:
            return ""
        seen.add(other)
        following = text.count("\n", 0, match.start()) + 2
        return f'{_inlined(other, seen)}\n#line {following} "{file.name}"'

    text = file.read_text(encoding="utf-8").replace("#pragma once\n", "\n")
    return f'#line 1 "{file.name}"\n' + _INCLUDE.sub(included, text)


@cache
def _kernels(source: Source) -> dict[str, tuple[Parameter, ...]]:
    plain = _COMMENT.sub("", source.text())
    return {m[1]: tuple(_parameter(p) for p in m[2].split(",")) for m in _KERNEL.finditer(plain)}


def _parameter(declaration: str) -> Parameter:
    words = declaration.replace("*", " * ").replace("__restrict__", " ").split()
    name = words.pop()
    pointer, constant = "*" in words, "const" in words
    kind = " ".join(w for w in words if w not in ("*", "const"))
    if kind not in _TYPES or words.count("*") > 1:
        raise TypeError(f"a kernel parameter is declared as {declaration.strip()!r}; known types: {', '.join(_TYPES)}")
    dtype = np.dtype(_TYPES[kind])
    together = int(kind[-1]) if kind in ("float2", "float4", "double2") else 1
    return Parameter(name, dtype, pointer, constant, dtype.itemsize * together)
