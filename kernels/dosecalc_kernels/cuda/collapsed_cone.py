"""Collapsed-cone transport on CUDA: a thread for each line. Contract: `dosecalc_kernels.contract`, "cone_transport".

Lines of one cone touch every voxel at most once, so a launch that has one cone per dose needs no atomics. To fill a
device, several cones run at the same time, each into a dose of its own (a lane); the doses are added in their order.
The number of lanes follows from the volume alone, so that the bits of a dose depend neither on the device nor on the
geometry of launches. In a large volume the cones of a launch cross its planes along the same axis and in the same
direction: what they read they share in the cache. Where memory is scarce, lanes are swept in passes, some at a time:
each voxel's dose is the same sum in the same order, so the bits do not depend on the passes either.

Nothing is swept before the first plane in which energy is released, nor along lines that pass it all: the result is
the same. Memory traffic per voxel and cone, if no cache held anything: density and its reciprocal 8 bytes, kerma and
scerma 8, dose 4 read and 4 written.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import DeviceArray, Launcher
from dosecalc_kernels.cuda.lines import BACKWARDS, LINE_SHEETS, LINES, Lines, lines_through
from dosecalc_kernels.cuda.memory import digest
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("collapsed_cone")
#: cones that are swept at the same time, each with a dose of its own: in large volumes, and in small ones, whose lines
#: are too few to fill a device
LANES, LANES_OF_SMALL = 8, 32
_SMALL_VOXELS = 1_000_000
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
        Relative to water (g/cm3).
    spacing_cm : (dx, dy, dz)
    key : str, optional
        Name of the density's content, under which what is made of it is kept on the device. By default that of a
        density on the host is found, and nothing is kept of one on the device.
    passes : int
        How often the volume is swept, with so many times fewer lanes: takes less memory and more time.
    """

    def __init__(
        self,
        launcher: Launcher,
        density: Any,
        spacing_cm: tuple[float, float, float],
        key: str = "",
        passes: int = 1,
    ) -> None:
        self.shape: tuple[int, int, int] = density.shape
        self.spacing_cm = spacing_cm
        self._launcher = launcher
        if not key and not launcher.is_device_array(density):
            key = digest(np.ascontiguousarray(density, np.float32))
        # rows along x serve the directions whose largest component is along z or y; the others need rows along y
        self._layouts = tuple(_Layout(launcher, density, order, key) for order in ((0, 1, 2), (2, 0, 1)))
        voxels = int(np.prod(self.shape))
        lanes = _lanes_at_once(voxels, passes)
        room = _Room(
            launcher.empty((voxels, 2), np.float32),
            launcher.empty((lanes, voxels), np.float32),
            launcher.empty((lanes, max(layout.rows for layout in self._layouts), 16), np.float32),
        )
        for layout in self._layouts:
            layout.room = room
        self._bounds: NDArray[np.int64] | None = None
        self._loaded: tuple[DeviceArray, DeviceArray] | None = None

    def load(self, kerma: Any, scerma: Any, wanted: Any = None) -> None:
        """Set what is released per mass, float32 [z, y, x], read while sweeping; the dose is cleared.

        The dose is found everywhere; the CPU's leaves out lines of no use to what is ``wanted`` (bool [z, y, x]).
        """
        kerma, scerma = (self._launcher.put(a, np.float32) for a in (kerma, scerma))
        for layout in self._layouts:
            layout.clear()
        self._loaded = kerma, scerma
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
        if self._bounds is None or self._loaded is None:
            yield len(directions)
            return
        lines = lines_through(directions, self.shape, self.spacing_cm, self._bounds)
        done = 0
        for which, layout in enumerate(self._layouts):
            (members,) = np.nonzero((lines.axes[:, 0] == 0) == (which == 1))
            if not len(members):
                continue
            # cones of one axis and direction side by side
            members = members[np.lexsort([lines.whole[members, BACKWARDS], lines.axes[members, 0]])]
            mine = lines.of(members)
            tables = layout.tables(mine, rates[members], amplitudes[members], projection)
            for n in layout.sweep(mine, tables, self._loaded, max_tilt):
                done += n
                yield done

    def dose(self) -> DeviceArray:
        """The dose of all sweeps since `load`, float32 [z, y, x], on the device, in the unit of the kerma."""
        return self._layouts[0].dose() + self._layouts[1].dose()


def bytes_needed(shape: tuple[int, int, int], passes: int = 1) -> int:
    """Device memory that a `ConeTransport` takes, with the kerma, the scerma and the dose that it is given."""
    nz, ny, nx = shape
    voxels = nz * ny * nx
    lanes, rows = _lanes_at_once(voxels, passes), max(nz * ny, nx * nz)
    # per layout density and its reciprocal, and a dose; kerma and scerma side by side, lanes, temporaries; then
    # density, kerma, scerma, dose
    return voxels * (2 * (8 + 4) + 8 + 4 * lanes + 8 + 4 * 4) + rows * (lanes * 64 + 2 * 8)


def _lanes_of(voxels: int) -> int:
    return LANES if voxels > _SMALL_VOXELS else LANES_OF_SMALL


def _lanes_at_once(voxels: int, passes: int) -> int:
    return -(-_lanes_of(voxels) // passes)


def _batches(lines: Lines, lanes: int) -> Iterator[tuple[int, int]]:
    """First cone of each launch and the one past its last; in large volumes of one axis and direction each."""
    kind = lines.axes[:, 0] * 2 + lines.whole[:, BACKWARDS]
    changes = (np.nonzero(np.diff(kind))[0] + 1).tolist() if lanes == LANES else []
    for begin, end in pairwise([0, *changes, len(kind)]):
        for first in range(begin, end, lanes):
            yield first, min(first + lanes, end)


def _bounds(launcher: Launcher, some: DeviceArray) -> NDArray[np.int64] | None:
    """First and last index (x, y, z) of what is set, int64 [3, 2]; None where nothing is."""
    out = []
    for others in ((0, 1), (0, 2), (1, 2)):
        (where,) = np.nonzero(launcher.get(some.any(others)))
        if not len(where):
            return None
        out.append((where[0], where[-1]))
    return np.array(out)


class _Room(NamedTuple):
    """What layouts work in, one after the other.

    Parameters
    ----------
    released : float32 [voxels, 2]
        Kerma and scerma.
    lanes : float32 [lanes, voxels]
    terms : float32 [lanes, rows, 16]
    """

    released: DeviceArray
    lanes: DeviceArray
    terms: DeviceArray


class _Layout:
    """The volumes in one order of axes."""

    room: _Room

    def __init__(self, launcher: Launcher, density: Any, order: tuple[int, int, int], key: str) -> None:
        self._launcher = launcher
        self._order = order
        n0, n1, self._row_length = (density.shape[a] for a in order)
        self._turned_shape = (n0, n1, self._row_length)
        self.rows = n0 * n1
        self._voxels = self.rows * self._row_length

        def make() -> tuple[DeviceArray, DeviceArray]:
            return _matter(launcher, launcher.put(density, np.float32).transpose(order))

        self._matter, self._row_ends = launcher.memory.keep((key, "matter", order), make) if key else make()
        self._dose = launcher.empty(self._turned_shape, np.float32)

    def clear(self) -> None:
        """Set the dose to zero."""
        self._dose[...] = 0

    def sweep(
        self, lines: Lines, tables: _Tables, released: tuple[DeviceArray, DeviceArray], max_tilt: float
    ) -> Iterator[int]:
        """Add the dose along cones of this layout; yields how many each launch had."""
        for n, values in enumerate(released):
            self.room.released.reshape(*self._turned_shape, 2)[..., n] = values.transpose(self._order)
        lanes, at_once = _lanes_of(self._voxels), len(self.room.lanes)
        for lane in range(0, lanes, at_once):
            self.room.lanes[...] = 0
            for first, last in _batches(lines, lanes):
                begin, end = first + lane, min(first + lane + at_once, last)
                if begin < end:
                    self._march(tables, begin, end, max_tilt)
                    yield end - begin
            self._launcher.over(
                _SOURCE, "add_lanes", self._voxels,
                [self.room.lanes, self._dose, self._voxels, min(at_once, lanes - lane)],
            )  # fmt: skip

    def tables(
        self,
        lines: Lines,
        rates: NDArray[np.float64],
        amplitudes: NDArray[np.float64],
        projection: NDArray[np.float64],
    ) -> _Tables:
        """What the kernels need of each cone, on the device."""
        put = self._launcher.put
        rates32, step = rates.astype(np.float32), lines.step_cm
        real = np.hstack([rates32 * _LOG2E, np.float32(1) / rates32, step, np.float32(1) / step])
        turned = np.array([projection[:, [*axes, 3]] for axes in lines.axes])
        return _Tables(
            lines.whole, put(lines.whole, np.int32), put(real, np.float32), put(lines.shifts, np.int32),
            put(amplitudes.transpose(0, 2, 1), np.float64), put(turned, np.float64),
        )  # fmt: skip

    def _march(self, tables: _Tables, first: int, last: int, max_tilt: float) -> None:
        """Sweep the cones from ``first`` to ``last``, one per lane."""
        n = last - first
        whole = tables.whole[first:last]
        self._launcher.over(
            _SOURCE, "row_terms", n * self.rows,
            [whole, tables.amplitudes[first:last], tables.projections[first:last],
             self._row_ends, self.room.terms, self.rows, n, max_tilt],
            block=128,
        )  # fmt: skip
        block = self._launcher.threads(256)
        lines = int(
            (tables.numbers[first:last, LINE_SHEETS].astype(np.int64) * tables.numbers[first:last, LINES]).max()
        )
        self._launcher.launch(
            _SOURCE, "march", (n * -(-lines // block),), (block,),
            [self._matter, self.room.released, self.room.terms, tables.shifts[first:last], whole,
             tables.real[first:last], self.room.lanes, n, self.rows, self._row_length, tables.shifts.shape[1]],
        )  # fmt: skip

    def dose(self) -> DeviceArray:
        """The dose of all lanes, [z, y, x]."""
        return self._dose.transpose(tuple(np.argsort(self._order).tolist()))


class _Tables(NamedTuple):
    """Whole numbers of the cones on the host; on the device these, real numbers, shifts, amplitudes, projections."""

    numbers: NDArray[np.int32]
    whole: DeviceArray
    real: DeviceArray
    shifts: DeviceArray
    amplitudes: DeviceArray
    projections: DeviceArray


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
