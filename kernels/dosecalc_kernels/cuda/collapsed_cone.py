"""Collapsed-cone transport on CUDA: a thread for each line. Contract: `dosecalc_kernels.contract`, "cone_transport".

Lines of one cone touch every voxel at most once, so a launch that has one cone per dose needs no atomics. To fill a
device, `LANES` cones run at the same time, each into a dose of its own; the doses are added in their order. The number
of lanes is fixed, so that the bits of a dose depend neither on the device nor on the geometry of launches. Cones of a
launch cross the planes of the volume along the same axis and in the same direction: what they read they share in the
cache.

Nothing is swept before the first plane in which energy is released, nor along lines that pass it all: the result is
the same. Memory traffic per voxel and cone, if no cache held anything: density and its reciprocal 8 bytes, kerma and
scerma 8, dose 4 read and 4 written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import DeviceArray, Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("collapsed_cone")
#: cones that are swept at the same time, each with a dose of its own
LANES = 8
#: voxel-cones move this many bytes through the caches; see above
BYTES_PER_VOXEL_CONE = 24
_VACUUM_G_CM3 = 0.01
_LEAST_G_CM3 = 1e-5
_BLOCK = 32  # rows end at whole blocks of voxels
_LOG2E = np.float32(1.4426950408889634)


class ConeTransport:
    """Twin of `dosecalc_kernels.cpu.collapsed_cone.ConeTransport`; arrays may be on the host or on the device.

    Parameters
    ----------
    launcher : Launcher
    density : float32 [z, y, x]
        Relative to water (g/cm3). What is made of one that lies on the host is kept on the device, by its content.
    spacing_cm : (dx, dy, dz)
    """

    def __init__(self, launcher: Launcher, density: Any, spacing_cm: tuple[float, float, float]) -> None:
        self.shape: tuple[int, int, int] = density.shape
        self.spacing_cm = spacing_cm
        self._launcher = launcher
        key = None if launcher.is_device_array(density) else _digest(density)
        # rows along x serve the directions whose largest component is along z or y; the others need rows along y
        self._layouts = tuple(_Layout(launcher, density, order, key) for order in ((0, 1, 2), (2, 0, 1)))
        self._bounds: NDArray[np.int64] | None = None

    def load(self, kerma: Any, scerma: Any) -> None:
        """Set what is released per mass, float32 [z, y, x]; the dose is cleared."""
        kerma, scerma = (self._launcher.put(a, np.float32) for a in (kerma, scerma))
        for layout in self._layouts:
            layout.load(kerma, scerma)
        self._bounds = _bounds(self._launcher, (kerma != 0) | (scerma != 0))

    def sweep(
        self,
        directions: NDArray[np.float64],
        rates: NDArray[np.float64],
        amplitudes: NDArray[np.float64],
        projection: NDArray[np.float64],
        max_tilt: float,
    ) -> Iterator[int]:
        """Add the dose along cones, some at a time; yields how many were launched. See the CPU's for the arguments."""
        if self._bounds is None:
            yield len(directions)
            return
        paths = [_path(d, self.shape, self.spacing_cm, self._bounds) for d in directions]
        groups: dict[tuple[int, bool], list[int]] = {}
        for n, path in enumerate(paths):
            groups.setdefault((path.axes[0], bool(path.whole[4])), []).append(n)
        done = 0
        for (axis, _), members in sorted(groups.items()):
            layout = self._layouts[1 if axis == 0 else 0]
            for first in range(0, len(members), LANES):
                batch = members[first : first + LANES]
                layout.march([paths[n] for n in batch], rates[batch], amplitudes[batch], projection, max_tilt)
                done += len(batch)
                yield done

    def dose(self) -> DeviceArray:
        """The dose of all sweeps since `load`, float32 [z, y, x], on the device, in the unit of the kerma."""
        return self._layouts[0].dose() + self._layouts[1].dose()


def bytes_needed(shape: tuple[int, int, int]) -> int:
    """Device memory that a `ConeTransport` takes, with the kerma, the scerma and the dose that it is given."""
    nz, ny, nx = shape
    voxels = nz * ny * nx
    rows = max(nz * ny, nx * nz)
    # per layout density and reciprocal, kerma and scerma, lanes, two temporaries; then density, kerma, scerma, dose
    return voxels * (2 * (8 + 8 + 4 * LANES + 8) + 4 * 4) + 2 * rows * (LANES * 64 + 8)


class _Path(NamedTuple):
    """Lines of one cone: axes (x = 0, y, z) of planes, sheets and rows, the kernel's numbers, shift per plane."""

    axes: tuple[int, int, int]
    whole: tuple[int, ...]
    step_cm: float
    shifts: NDArray[np.int32]


def _path(
    direction: NDArray[np.float64],
    shape: tuple[int, int, int],
    spacing_cm: tuple[float, float, float],
    bounds: NDArray[np.int64],
) -> _Path:
    """How the lines of a cone run through the volume, and which of them meet the box in which energy is released."""
    steps = np.abs(direction) / np.array(spacing_cm)  # planes per cm along each axis
    # rounded, so that mirror images of a cone take the same decisions however their last bits differ
    axis = int(np.argmax(np.round(steps / steps.max(), 9)))
    axes = {2: (2, 1, 0), 1: (1, 2, 0), 0: (0, 2, 1)}[axis]
    n = [shape[2 - a] for a in axes]
    backwards = bool(direction[axis] < 0)
    shear = np.round(direction / np.array(spacing_cm) / steps[axis], 9)
    from_middle = np.arange(n[0]) - (n[0] - 1) / 2.0
    shifts = np.rint(shear[list(axes[1:])] * from_middle[:, None]).astype(np.int32)
    low, high = bounds[list(axes)].T
    first, last = (n[0] - 1 - high[0], n[0] - 1 - low[0]) if backwards else (low[0], high[0])
    within = shifts[first : last + 1]
    begin, end = low[1:] - within.max(0), high[1:] - within.min(0)
    rows_per = (1, n[0]) if axis == 1 else (n[1], 1)  # rows from one plane, and one sheet, to the next
    lines = -(-(int(end[1] - begin[1]) + 1) // 32) * 32  # whole warps, each within one row
    whole = (
        n[0], n[1], *rows_per, int(backwards), int(first),
        int(begin[0]), int(end[0] - begin[0]) + 1, int(begin[1]), lines,
    )  # fmt: skip
    return _Path(axes, whole, float(1.0 / steps[axis]), shifts)


def _bounds(launcher: Launcher, some: DeviceArray) -> NDArray[np.int64] | None:
    """First and last index (x, y, z) of what is set, int64 [3, 2]; None where nothing is."""
    out = []
    for others in ((0, 1), (0, 2), (1, 2)):
        (where,) = np.nonzero(launcher.get(some.any(others)))
        if not len(where):
            return None
        out.append((where[0], where[-1]))
    return np.array(out)


class _Layout:
    """The volumes in one order of axes."""

    def __init__(self, launcher: Launcher, density: Any, order: tuple[int, int, int], key: str | None) -> None:
        self._launcher = launcher
        self._order = order
        n0, n1, self._row_length = (density.shape[a] for a in order)
        self._turned_shape = (n0, n1, self._row_length)
        self._rows = n0 * n1

        def make() -> tuple[DeviceArray, DeviceArray]:
            return _matter(launcher, launcher.put(density, np.float32).transpose(order))

        self._matter, self._row_ends = make() if key is None else launcher.memory.keep((key, order), make)
        self._released = launcher.empty((*self._turned_shape, 2), np.float32)
        self._lanes = launcher.empty((LANES, *self._turned_shape), np.float32)
        self._terms = launcher.empty((LANES, self._rows, 16), np.float32)

    def load(self, kerma: DeviceArray, scerma: DeviceArray) -> None:
        self._released[..., 0] = kerma.transpose(self._order)
        self._released[..., 1] = scerma.transpose(self._order)
        self._lanes[...] = 0

    def march(
        self,
        paths: list[_Path],
        rates: NDArray[np.float64],
        amplitudes: NDArray[np.float64],
        projection: NDArray[np.float64],
        max_tilt: float,
    ) -> None:
        """Sweep one cone per lane."""
        put, n = self._launcher.put, len(paths)
        whole = put(np.array([p.whole for p in paths]), np.int32)
        turned = np.array([projection[:, [*p.axes, 3]] for p in paths])
        self._launcher.over(
            _SOURCE, "row_terms", n * self._rows,
            [whole, put(amplitudes.transpose(0, 2, 1), np.float64), put(turned, np.float64),
             self._row_ends, self._terms, self._rows, n, max_tilt],
            block=128,
        )  # fmt: skip
        planes = max(p.whole[0] for p in paths)
        shifts = np.zeros((n, planes, 2), np.int32)
        for k, p in enumerate(paths):
            shifts[k, : p.whole[0]] = p.shifts
        block = self._launcher.threads(256)
        lines = max(p.whole[7] * p.whole[9] for p in paths)
        self._launcher.launch(
            _SOURCE, "march", (n * -(-lines // block),), (block,),
            [self._matter, self._released, self._terms, put(shifts, np.int32), whole,
             put(_numbers(paths, rates), np.float32), self._lanes, n, self._rows, self._row_length, planes],
        )  # fmt: skip

    def dose(self) -> DeviceArray:
        """The lanes' dose, [z, y, x]."""
        voxels = self._rows * self._row_length
        total = self._launcher.empty(self._turned_shape, np.float32)
        self._launcher.over(_SOURCE, "sum_lanes", voxels, [self._lanes, total, voxels, LANES])
        return total.transpose(tuple(np.argsort(self._order).tolist()))


def _numbers(paths: list[_Path], rates: NDArray[np.float64]) -> NDArray[np.float32]:
    rates32 = rates.astype(np.float32)
    step = np.array([[p.step_cm] for p in paths], np.float32)
    return np.hstack([rates32 * _LOG2E, np.float32(1) / rates32, step, np.float32(1) / step])


def _digest(density: NDArray[np.float32]) -> str:
    content = np.ascontiguousarray(density, np.float32)
    return hashlib.blake2b(repr(content.shape).encode() + content.tobytes(), digest_size=16).hexdigest()


def _matter(launcher: Launcher, turned: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Density and its reciprocal, float32 [..., 2], and the ends of the rows, int32 [rows, 2]."""
    least = launcher.xp.maximum(turned, np.float32(_LEAST_G_CM3))
    matter = launcher.empty((*turned.shape, 2), np.float32)
    matter[..., 0] = least
    matter[..., 1] = np.float32(1) / least
    return matter, launcher.put(
        _row_ends(launcher.get(_blocks_with_matter(launcher, turned)), turned.shape[2]), np.int32
    )


def _blocks_with_matter(launcher: Launcher, turned: DeviceArray) -> DeviceArray:
    """Which blocks of 32 voxels of each row hold more than vacuum, bool [rows, blocks]."""
    n0, n1, inside = turned.shape
    padded = launcher.zeros((n0, n1, -(-inside // _BLOCK) * _BLOCK), np.bool_)
    padded[..., :inside] = turned > np.float32(_VACUUM_G_CM3)
    return padded.reshape(n0 * n1, -1, _BLOCK).any(-1)


def _row_ends(blocks: NDArray[np.bool_], row_length: int) -> NDArray[np.int64]:
    """First voxel of each row and the one past its last: whole blocks within the row, (0, 0) for empty rows."""
    some = np.asarray(blocks.any(-1))
    first = blocks.argmax(-1)
    past = blocks.shape[-1] - blocks[:, ::-1].argmax(-1)
    return np.where(some[:, None], np.minimum(np.stack([first, past], -1) * _BLOCK, row_length), 0)
