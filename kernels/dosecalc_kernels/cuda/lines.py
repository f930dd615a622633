"""How lines of discrete directions run through a volume: the numbers that `lines.cuh` names.

As in `dosecalc_kernels.contract`, "cone_transport": the planes of a direction lie across its fastest axis, and all of
its lines shift together from plane to plane by whole sheets and places along a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: place among a direction's whole numbers
BACKWARDS, LINE_SHEETS, LINES = 4, 7, 9


class Lines(NamedTuple):
    """Lines of discrete directions.

    Parameters
    ----------
    axes : int64 [directions, 3]
        Axes (x = 0, y, z) of planes, sheets and rows.
    whole : int32 [directions, 10]
        The kernels' whole numbers.
    step_cm : float32 [directions, 1]
    shifts : int32 [directions, planes, 2]
        Along sheets and rows, by plane.
    beside : float32 [directions, planes, 2]
        How far beyond these shifts the lines pass, at most half a voxel.
    """

    axes: NDArray[np.int64]
    whole: NDArray[np.int32]
    step_cm: NDArray[np.float32]
    shifts: NDArray[np.int32]
    beside: NDArray[np.float32]

    def of(self, members: NDArray[np.int64] | slice) -> Lines:
        """The lines of some of the directions."""
        return Lines(
            self.axes[members], self.whole[members], self.step_cm[members], self.shifts[members], self.beside[members]
        )

    def most(self) -> int:
        """The largest number of lines of any direction."""
        return int((self.whole[:, LINE_SHEETS].astype(np.int64) * self.whole[:, LINES]).max())


def lines_through(
    directions: NDArray[np.float64],
    shape: tuple[int, int, int],
    spacing_cm: tuple[float, float, float],
    bounds: NDArray[np.int64],
) -> Lines:
    """How lines run through a volume, and which of them meet a box in it.

    Parameters
    ----------
    directions : float64 [n, 3]
        Unit vectors (x, y, z).
    shape : (nz, ny, nx)
    spacing_cm : (dx, dy, dz)
    bounds : int64 [3, 2]
        First and last voxel (x, y, z) of the box. Nothing is swept before it, nor along lines that pass it.
    """
    every = np.arange(len(directions))
    steps = np.abs(directions) / np.array(spacing_cm)  # planes per cm along each axis
    # rounded, so that mirror images of a direction take the same decisions however their last bits differ
    axis = np.argmax(np.round(steps / steps.max(1, keepdims=True), 9), axis=1)
    axes = np.array([(0, 2, 1), (1, 2, 0), (2, 1, 0)])[axis]
    n = np.array(shape[::-1])[axes]
    backwards = directions[every, axis] < 0
    fastest = steps[every, axis][:, None]
    shear = np.take_along_axis(np.round(directions / np.array(spacing_cm) / fastest, 9), axes[:, 1:], 1)
    plane = np.arange(n[:, 0].max())
    from_middle = plane - (n[:, :1] - 1) / 2.0
    exact = shear[:, None] * from_middle[:, :, None]
    shifts = np.rint(exact).astype(np.int32)
    low, high = bounds[axes].transpose(2, 0, 1)
    first = np.where(backwards, n[:, 0] - 1 - high[:, 0], low[:, 0])
    last = np.where(backwards, n[:, 0] - 1 - low[:, 0], high[:, 0])
    within = ((plane >= first[:, None]) & (plane <= last[:, None]))[:, :, None]
    begin = low[:, 1:] - np.where(within, shifts, shifts.min()).max(1)
    end = high[:, 1:] - np.where(within, shifts, shifts.max()).min(1)
    count = end - begin + 1
    one = np.ones_like(axis)
    # rows from one plane, and one sheet, to the next
    of_rows = np.where((axis == 1)[:, None], np.stack([one, n[:, 0]], 1), np.stack([n[:, 1], one], 1))
    whole = np.column_stack(
        [n[:, :2], of_rows, backwards, first, begin[:, 0], count[:, 0], begin[:, 1], -(-count[:, 1] // 32) * 32]
    )
    return Lines(
        axes, whole.astype(np.int32), (1.0 / fastest).astype(np.float32), shifts, (exact - shifts).astype(np.float32)
    )
