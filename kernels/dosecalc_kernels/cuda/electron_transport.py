"""Transport of electrons on CUDA: a thread for each line. Contract: `dosecalc_kernels.contract`, "electron_transport".

All directions are swept at the same time, each with a flow of its own, and a voxel's directions are mixed by one
thread: nothing is added by several, so the bits of a dose depend on no launch. Directions whose planes lie across x
have their flow turned before they are swept and turned back after, so that lines which run side by side lie side by
side in memory.

Memory traffic per voxel, direction and group, if the flow does not fit into a cache but what all directions read and
the rows beside a line do: 8 bytes to sweep it (read and written), 8 to mix it, and 16 more where it is turned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import DeviceArray, Launcher
from dosecalc_kernels.cuda.lines import BACKWARDS, Lines, lines_through
from dosecalc_kernels.cuda.source import Source

_SOURCE, _TURN = Source("electron_transport"), Source("turn")
#: what `scatter` mixes at a time
_TOGETHER = 16
#: directions that are turned at a time
_TURNED = 32
_TILE = (32, 8)
#: thinner matter is treated as this, g/cm3
_LEAST_G_CM3 = 1e-5
#: what `scatter` is compiled for
_MOST_THREADS = 128
#: shared memory that every device gives a block
_SHARED_BYTES = 48 * 1024


class ElectronTransport:
    """Twin of `dosecalc_kernels.cpu.electron_transport.ElectronTransport`; arrays on the host or on the device.

    Parameters
    ----------
    launcher : Launcher
    density : float32 [z, y, x]
        g/cm3.
    material : uint8 [z, y, x]
    spacing_cm : (dx, dy, dz)
    """

    def __init__(self, launcher: Launcher, density: Any, material: Any, spacing_cm: tuple[float, float, float]) -> None:
        self.shape: tuple[int, int, int] = density.shape
        self._launcher = launcher
        self._spacing = spacing_cm
        self._density = launcher.xp.maximum(launcher.put(density, np.float32), np.float32(_LEAST_G_CM3))
        self._material = launcher.put(material, np.uint8)
        self._dose = launcher.empty(0, np.float32)

    def run(
        self,
        kerma: Any,
        directions: NDArray[np.float64],
        width: NDArray[np.float64],
        deposit: NDArray[np.float64],
        source: NDArray[np.float64],
        stopping: NDArray[np.float64],
        scattering: NDArray[np.float64],
        theta: float,
        projection: NDArray[np.float64],
        max_tilt: float,
    ) -> Iterator[float]:
        """Transport all groups; yields the share that was launched. Arguments as in the contract."""
        launcher, n, m = self._launcher, math.prod(self.shape), len(directions)
        kerma = launcher.put(kerma, np.float32)
        layouts = self._layouts(kerma, directions, source, projection, max_tilt)
        # all tables go there at once: an upload waits for what was launched before it
        relative = launcher.put(stopping, np.float32)
        weights = launcher.put(stopping * deposit[:, None], np.float32)
        matrices = launcher.put(_padded(scattering), np.float32)
        flow = launcher.zeros((m, n), np.float32)
        outflow = launcher.empty((m, n), np.float32)
        inflows = launcher.zeros(n, np.float32)
        self._dose = launcher.zeros(self.shape, np.float32)
        groups = len(width)
        for g in range(groups):
            for layout in layouts:
                layout.sweep(flow, outflow, relative[g], g, float(width[g]), theta)
            flow, outflow = outflow, flow
            last = g + 1 == groups
            self._scatter(flow, inflows, matrices[0 if last else g], weights[g], theta, last)
            yield (g + 1) / groups

    def dose(self) -> DeviceArray:
        """The dose of the last run, float32 [z, y, x], on the device, in the unit of the kerma."""
        return self._dose

    def _layouts(
        self,
        kerma: DeviceArray,
        directions: NDArray[np.float64],
        source: NDArray[np.float64],
        projection: NDArray[np.float64],
        max_tilt: float,
    ) -> list[_Layout]:
        whole = np.array([(0, n - 1) for n in self.shape[::-1]])
        lines = lines_through(directions, self.shape, self._spacing, whole)
        out = []
        for turned in (False, True):
            (members,) = np.nonzero((lines.axes[:, 0] == 0) == turned)
            # directions that cross the same planes the same way side by side: they share in the cache what they read
            members = members[np.lexsort([lines.whole[members, BACKWARDS], lines.axes[members, 0]])]
            if len(members):
                volumes = _Volumes(kerma, self._density, self._material)
                out.append(
                    _Layout(self._launcher, volumes, turned, members, lines.of(members), source, projection, max_tilt)
                )
        return out

    def _scatter(
        self, flow: DeviceArray, inflows: DeviceArray, matrices: DeviceArray, weights: DeviceArray, theta: float,
        last: bool,
    ) -> None:  # fmt: skip
        """Add the dose of a group, and mix the directions of every voxel for the next one."""
        m, n = flow.shape
        block = min(self._launcher.threads(64), _MOST_THREADS)
        while block > 32 and 4 * m * block > _SHARED_BYTES:
            block -= 32
        self._launcher.launch(
            _SOURCE, "scatter", (-(-n // block),), (block,),
            [flow, self._material, matrices, inflows, self._dose, weights, n, m, matrices.shape[-1], theta, last],
            shared_bytes=4 * m * block,
        )  # fmt: skip


def bytes_needed(shape: tuple[int, int, int], directions: int) -> int:
    """Device memory that an `ElectronTransport` takes at most, with the volumes that it is given."""
    nz, ny, nx = shape
    # flow and outflow of all directions, and of those that are turned at a time; in two layouts density, kerma,
    # thickness and start, material; inflows and dose; what was given
    per_voxel = 8 * (directions + _TURNED) + 2 * 17 + 8 + 9
    return nz * ny * nx * per_voxel + directions * 20 * nz * max(ny, nx)


class _Volumes(NamedTuple):
    """What a run reads of every voxel, [z, y, x]."""

    kerma: DeviceArray
    density: DeviceArray
    material: DeviceArray


class _Layout:
    """Directions that are swept in one order of axes, with the volumes in that order.

    Parameters
    ----------
    launcher : Launcher
    volumes : _Volumes
    turned : bool
        Rows along y and planes across x, instead of rows along x.
    members : int64 [n]
        Which of all directions.
    lines : Lines
        Of the members.
    source, projection, max_tilt
        As `ElectronTransport.run` takes them, of all directions.
    """

    def __init__(
        self,
        launcher: Launcher,
        volumes: _Volumes,
        turned: bool,
        members: NDArray[np.int64],
        lines: Lines,
        source: NDArray[np.float64],
        projection: NDArray[np.float64],
        max_tilt: float,
    ) -> None:
        put = launcher.put
        self._launcher, self._lines, self._max_tilt = launcher, lines, max_tilt
        self._items = [put(members[part], np.int32) for part in _parts(len(members))] if turned else []
        shape = volumes.kerma.shape
        self._shape = (shape[2], shape[0], shape[1]) if turned else shape
        if turned:
            volumes = _Volumes(*(put(v.transpose(2, 0, 1), v.dtype) for v in volumes))
        self._volumes = volumes
        self._row_length = self._shape[2]
        self._rows = self._shape[0] * self._shape[1]
        self._matter = launcher.empty((*self._shape, 2), np.float32)
        self._own = put(members, np.int32)
        self._in_order = put(np.arange(len(members)), np.int32)
        self._whole = put(lines.whole, np.int32)
        self._shifts = put(lines.shifts, np.int32)
        self._beside = put(lines.beside, np.float32)
        self._steps = put(lines.step_cm, np.float32)
        self._source = put(source[:, members], np.float64)
        self._projections = put(np.array([projection[:, [*axes, 3]] for axes in lines.axes]), np.float64)
        self._terms = launcher.empty((len(members), self._rows, 4), np.float32)
        self._extents = launcher.empty((len(members), self._rows), np.float32)

    def sweep(
        self, flow: DeviceArray, outflow: DeviceArray, relative: DeviceArray, group: int, width: float, theta: float
    ) -> None:
        """Carry the members' flow through the volume."""
        n, voxels = len(self._lines.whole), self._rows * self._row_length
        kerma, density, material = self._volumes
        self._launcher.over(
            _SOURCE, "prepare", voxels, [density, kerma, material, relative, self._matter, voxels, theta * width, theta]
        )
        self._launcher.over(
            _SOURCE, "row_sources", n * self._rows,
            [self._whole, self._source[group], self._projections, self._terms, self._extents, self._rows,
             self._row_length, n, self._max_tilt],
            block=128,
        )  # fmt: skip
        if not self._items:
            self._march(flow, outflow, self._own, slice(0, n), theta)
            return
        for items, part in zip(self._items, _parts(n), strict=True):
            count = len(items)
            turned, swept = (self._launcher.empty((count, voxels), np.float32) for _ in range(2))
            rows, columns = self._shape[1] * self._shape[2], self._shape[0]
            self._turn(flow, turned, items, self._in_order[:count], rows, columns)
            self._march(turned, swept, self._in_order[:count], part, theta)
            self._turn(swept, outflow, self._in_order[:count], items, columns, rows)

    def _march(self, flow: DeviceArray, outflow: DeviceArray, items: DeviceArray, part: slice, theta: float) -> None:
        block, n = self._launcher.threads(256), len(items)
        lines = self._lines.of(part).most()
        self._launcher.launch(
            _SOURCE, "sweep", (n * -(-lines // block),), (block,),
            [flow, outflow, items, self._matter, self._terms[part], self._extents[part], self._shifts[part],
             self._beside[part], self._whole[part], self._steps[part], n, self._rows, self._row_length,
             self._shifts.shape[1], theta],
        )  # fmt: skip

    def _turn(
        self, from_: DeviceArray, to: DeviceArray, from_item: DeviceArray, to_item: DeviceArray, rows: int, columns: int
    ) -> None:
        grid = (-(-rows // _TILE[0]), -(-columns // _TILE[0]), len(from_item))
        self._launcher.launch(_TURN, "turn", grid, _TILE, [from_, to, from_item, to_item, rows, columns])


def _parts(n: int) -> list[slice]:
    return [slice(first, min(first + _TURNED, n)) for first in range(0, n, _TURNED)]


def _padded(scattering: NDArray[np.float64]) -> NDArray[np.float32]:
    """Matrices whose rows (where to) are filled up with zeros, at least one: float32 [groups, materials, n, padded]."""
    groups, materials, n, _ = scattering.shape
    out = np.zeros((max(groups, 1), materials, n, -(-n // _TOGETHER) * _TOGETHER), np.float32)
    out[:groups, ..., :n] = scattering
    return out
