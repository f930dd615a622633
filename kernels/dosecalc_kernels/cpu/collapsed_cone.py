"""Collapsed-cone transport on the CPU: sheets of parallel lines, vectorised along the rows of the volume."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

from dosecalc_kernels.cpu.fast_math import LOG2E, one_minus_exp2_minus

_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}  # NaN and infinity keep their meaning: a wrong input must show


#: below this the row ends are left out: air around the patient neither emits nor stops anything worth a line, g/cm3
VACUUM_G_CM3 = 0.01
#: a step needs some matter to have a dose; thinner gas is treated as this, g/cm3
_LEAST_G_CM3 = 1e-5
#: rows are swept in whole blocks of this many voxels: what is left over of a vector loop runs ten times slower
_BLOCK = 32
#: volumes up to this many voxels are swept in lanes of cones, larger ones in sheets of lines (see `ConeTransport`)
_LANE_VOXELS = 2_000_000
#: a lane has a dose of its own, so their number fixes the order of the sums, whatever the number of threads
_LANES = 8
#: cones between two looks at the caller: at most 0.2 s on two cores
_CONES_AT_A_TIME = 24


class ConeTransport:
    """Collapsed-cone transport through one density volume. Contract: `dosecalc_kernels.contract`, "cone transport".

    Threads work side by side on the sheets of one cone in a large volume, and on cones (in lanes with a dose of their
    own) in a small one, where a sheet is done before a second thread has woken up.

    Parameters
    ----------
    density : float32 [z, y, x]
        Relative to water (g/cm3). Rows are swept between their first and last voxel above `VACUUM_G_CM3` (in whole
        blocks); beyond them the dose stays zero.
    spacing_cm : (dx, dy, dz)
    lanes : bool, optional
        Whether threads take cones instead of sheets; None decides by the size of the volume.
    """

    def __init__(
        self, density: NDArray[np.float32], spacing_cm: tuple[float, float, float], lanes: bool | None = None
    ) -> None:
        self.shape = density.shape
        self.spacing_cm = spacing_cm
        n = _LANES if (density.size <= _LANE_VOXELS if lanes is None else lanes) else 1
        # x rows serve the directions whose largest component is along z or y; the others need rows along y
        self._layouts = (_Layout(density, (0, 1, 2), n), _Layout(density, (2, 0, 1), n))

    def load(
        self,
        kerma: NDArray[np.float32],
        scerma: NDArray[np.float32],
        wanted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Set what is released per mass, float32 [z, y, x], Gy (or Gy cm2); the dose is cleared.

        Lines are followed from the first voxel that releases energy on, to the last of the box around where the dose is
        wanted (bool [z, y, x]; None: everywhere). The dose of other voxels means nothing.
        """
        for layout in self._layouts:
            layout.load(kerma, scerma)
        self._wanted = _box(self.shape, wanted)

    def sweep(
        self,
        directions: NDArray[np.float64],
        rates: NDArray[np.float64],
        amplitudes: NDArray[np.float64],
        projection: NDArray[np.float64],
        max_tilt: float,
    ) -> Iterator[int]:
        """Add the dose along cones, some at a time; yields how many are done.

        Parameters
        ----------
        directions : float64 [cones, 3]
            Unit vectors (x, y, z) along which energy travels, grid axes.
        rates : float64 [cones, 4]
            cm2/g.
        amplitudes : float64 [cones, 4, 10]
            Tilt polynomials.
        projection : float64 [3, 4]
            From (ix, iy, iz, 1) to (x, y, depth) of the gantry frame; the tilt is (x, y) / depth.
        max_tilt : float
            Tilts are clipped to this: the range for which the polynomials hold.
        """
        paths = self._paths(directions, projection)
        rates32 = rates.astype(np.float32)
        turned = np.ascontiguousarray(amplitudes.transpose(0, 2, 1))
        done = 0
        for which, layout in enumerate(self._layouts):
            (members,) = np.nonzero(paths.layout == which)
            at_a_time = _CONES_AT_A_TIME if layout.lanes > 1 else 1
            for first in range(0, len(members), at_a_time):
                batch = members[first : first + at_a_time]
                kernel = _sweep_lanes if layout.lanes > 1 else _sweep_sheets
                kernel(
                    layout.kerma, layout.scerma, layout.density, layout.dose, layout.rows,
                    layout.row_length, layout.row_inside, paths.whole[batch], paths.real[batch], paths.marks[batch],
                    rates32[batch], turned[batch], paths.projection[batch], max_tilt,
                )  # fmt: skip
                done += len(batch)
                yield done

    def _paths(self, directions: NDArray[np.float64], projection: NDArray[np.float64]) -> _Paths:
        """How the lines of each cone run through the volume."""
        per_cm = directions / np.array(self.spacing_cm)
        steps = np.abs(per_cm)  # planes per cm along each axis
        # rounded, so that mirror images of a cone take the same decisions however their last bits differ
        axis = np.argmax(np.round(steps / steps.max(1, keepdims=True), 9), 1)  # 0 = x
        cone = np.arange(len(axis))
        which = (axis == 0).astype(np.int64)
        axes = _AXES[axis]
        plane, sheet, row = axes.T
        n = np.array(self.shape[::-1])
        strides, row_strides = (np.array([getattr(layout, name) for layout in self._layouts])
                                for name in ("strides", "row_strides"))  # fmt: skip
        whole = np.stack([
            n[plane], n[sheet], strides[which, plane], strides[which, sheet],
            row_strides[which, plane], row_strides[which, sheet], directions[cone, axis] < 0,
        ], 1)  # fmt: skip
        shear = np.round(per_cm / steps[cone, axis][:, None], 9)
        real = np.stack([shear[cone, sheet], shear[cone, row], 1.0 / steps[cone, axis]], 1)
        marks = _marks(n[plane], directions[cone, axis] < 0, real[:, :2], self._wanted[axes])
        columns = np.column_stack([axes, np.full(len(axis), 3)])
        turned = np.ascontiguousarray(projection[:, columns].transpose(1, 0, 2))
        return _Paths(which, whole.astype(np.int64), real, marks, turned)

    def dose(self) -> NDArray[np.float32]:
        """The dose of all sweeps since `load`, float32 [z, y, x], in the unit of the kerma."""
        total = np.zeros(self.shape, np.float32)
        for layout in self._layouts:
            layout.add_dose(total)
        return total


#: axes (x, y, z) of planes, sheets and rows by the axis along which a cone crosses its planes
_AXES = np.array([(0, 2, 1), (1, 2, 0), (2, 1, 0)])


class _Paths(NamedTuple):
    """Lines of cones: which layout serves them, the kernel's numbers, and the projection from plane, sheet and row.

    Parameters
    ----------
    layout : int64 [cones]
    whole : int64 [cones, 7]
    real : float64 [cones, 3]
    marks : int64 [cones, planes, 6]
        See `_marks`.
    projection : float64 [cones, 3, 4]
    """

    layout: NDArray[np.int64]
    whole: NDArray[np.int64]
    real: NDArray[np.float64]
    marks: NDArray[np.int64]
    projection: NDArray[np.float64]


def _box(shape: tuple[int, ...], wanted: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """First voxel (x, y, z) that is wanted and the one past the last, int64 [3, 2]; empty where none is."""
    if wanted is None:
        return np.array([(0, n) for n in shape[::-1]])
    along = [np.nonzero(wanted.any(others))[0] for others in ((0, 1), (0, 2), (1, 2))]
    return np.array([(a[0], a[-1] + 1) if len(a) else (0, 0) for a in along])


def _marks(
    planes: NDArray[np.int64], backwards: NDArray[np.bool_], shear: NDArray[np.float64], box: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each plane on the way of each cone the shifts of all lines, and which of them go to a box from there on.

    Parameters
    ----------
    planes : int64 [cones]
    backwards : bool [cones]
    shear : float64 [cones, 2]
        Of sheets and of places along a row, from plane to plane.
    box : int64 [cones, 3, 2]
        Along planes, sheets and rows.

    Returns
    -------
    int64 [cones, planes, 6]
        Shift along sheets and rows; the first line along sheets and the one past the last; the same along rows.
    """
    k = np.arange(planes.max())
    shifts = np.rint(shear[:, None] * (k - (planes[:, None] - 1) / 2.0)[:, :, None]).astype(np.int64)
    begin, end = box[:, 0].T
    first = np.where(backwards, planes - end, begin)
    last = np.where(backwards, planes - begin, end)
    within = ((k >= first[:, None]) & (k < last[:, None]))[:, :, None]
    far = 4 * int(planes.max() + np.abs(box).max())
    lowest = np.where(within, box[:, None, 1:, 0] - shifts, far)
    highest = np.where(within, box[:, None, 1:, 1] - shifts, -far)
    lowest = np.minimum.accumulate(lowest[:, ::-1], 1)[:, ::-1]
    highest = np.maximum.accumulate(highest[:, ::-1], 1)[:, ::-1]
    return np.ascontiguousarray(
        np.concatenate([shifts, np.stack([lowest, highest], -1).reshape(*shifts.shape[:2], 4)], -1)
    )


class _Layout:
    """The volumes in one order of axes, rows padded to whole blocks, with the blocks that hold matter in every row."""

    def __init__(self, density: NDArray[np.float32], order: tuple[int, int, int], lanes: int) -> None:
        self._order = order
        self.lanes = lanes
        turned = density.transpose(order)
        n0, n1, self.row_inside = turned.shape
        self._padded = (n0, n1, -(-self.row_inside // _BLOCK) * _BLOCK)
        filled = self._pad(turned)
        matter = np.asarray((filled > VACUUM_G_CM3).reshape(n0, n1, -1, _BLOCK).any(-1))
        some = np.asarray(matter.any(-1))
        last = matter.shape[-1] - matter[..., ::-1].argmax(-1)
        # of each row: where its matter begins and ends, and where it releases energy
        self.rows = np.zeros((n0 * n1, 4), np.int32)
        self.rows[:, 0] = (np.where(some, matter.argmax(-1), 0) * _BLOCK).ravel()
        self.rows[:, 1] = (np.where(some, last, 0) * _BLOCK).ravel()
        self.row_length = self._padded[2]
        self.density = np.maximum(filled, np.float32(_LEAST_G_CM3)).ravel()
        by_turned = (n1 * self.row_length, self.row_length, 1)
        rows_by_turned = (n1, 1, 0)
        # strides by patient axis (x, y, z): axis a of [z, y, x] is 2 - a
        self.strides = tuple(by_turned[order.index(2 - a)] for a in range(3))
        self.row_strides = tuple(rows_by_turned[order.index(2 - a)] for a in range(3))

    def load(self, kerma: NDArray[np.float32], scerma: NDArray[np.float32]) -> None:
        self.kerma = self._pad(kerma.transpose(self._order)).ravel()
        self.scerma = self._pad(scerma.transpose(self._order)).ravel()
        _set_ends(self.kerma, self.scerma, self.row_length, self.rows)
        self.dose = np.zeros(self.lanes * self.density.size, np.float32)

    def add_dose(self, total: NDArray[np.float32]) -> None:
        summed = self.dose.reshape(self.lanes, *self._padded).sum(0, dtype=np.float32)
        turned = summed[..., : self.row_inside]
        total += turned.transpose(np.argsort(self._order))

    def _pad(self, turned: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros(self._padded, np.float32)
        out[..., : self.row_inside] = turned
        return out


@njit(cache=True)
def _set_ends(one, other, n_inner, rows):
    """First voxel of each row where one of two volumes is not zero (or not a number), and the one past its last."""
    for row in range(len(rows)):
        first, past = row * n_inner, (row + 1) * n_inner
        while past > first and one[past - 1] == 0 and other[past - 1] == 0:
            past -= 1
        while first < past and one[first] == 0 and other[first] == 0:
            first += 1
        rows[row, 2] = first - row * n_inner
        rows[row, 3] = past - row * n_inner


@njit(parallel=True, fastmath=_FASTMATH, error_model="numpy", cache=True)
def _sweep_sheets(
    kerma, scerma, density, dose, rows, n_inner, n_inside,
    whole, real, marks, rates, amplitudes, projections, max_tilt,
):  # fmt: skip
    """One cone of a large volume: threads share its sheets, which write to voxels of their own."""
    reach = math.ceil(abs(real[0, 0]) * (whole[0, 0] - 1) / 2.0) + 1
    for line_sheet in prange(-reach, whole[0, 1] + reach):
        _sheet(
            kerma, scerma, density, dose, 0, rows, n_inner, n_inside, line_sheet,
            whole[0], real[0], marks[0], rates[0], amplitudes[0], projections[0], max_tilt,
        )  # fmt: skip


@njit(parallel=True, fastmath=_FASTMATH, error_model="numpy", cache=True)
def _sweep_lanes(
    kerma, scerma, density, dose, rows, n_inner, n_inside,
    whole, real, marks, rates, amplitudes, projections, max_tilt,
):  # fmt: skip
    """Several cones of a small volume: each lane takes every eighth cone and has a dose of its own."""
    for lane in prange(_LANES):
        for cone in range(lane, len(whole), _LANES):
            reach = math.ceil(abs(real[cone, 0]) * (whole[cone, 0] - 1) / 2.0) + 1
            for line_sheet in range(-reach, whole[cone, 1] + reach):
                _sheet(
                    kerma, scerma, density, dose, lane * density.size, rows, n_inner, n_inside, line_sheet,
                    whole[cone], real[cone], marks[cone], rates[cone], amplitudes[cone], projections[cone], max_tilt,
                )  # fmt: skip


@njit(fastmath=_FASTMATH, error_model="numpy")
def _sheet(
    kerma, scerma, density, dose, dose_start, rows, n_inner, n_inside, line_sheet,
    whole, real, marks, rates, amplitude, projection, max_tilt,
):  # fmt: skip
    """The lines of one sheet of one cone, plane by plane. Every voxel belongs to exactly one line of a cone.

    A line is followed from where it first takes up energy to the last plane where its dose is wanted; in a row, from
    the first of such lines to the last (in whole blocks).
    """
    n_plane, n_sheet, stride_plane, stride_sheet, row_stride_plane, row_stride_sheet, backwards = whole
    _, shear_inner, step_cm = real
    reach_inner = math.ceil(abs(shear_inner) * (n_plane - 1) / 2.0) + 1
    step = float32(step_cm)
    pitch = n_inner + 2 * reach_inner
    with_energy, past_energy = pitch, 0
    state = np.zeros(4 * pitch, np.float32)
    q = np.empty((4, 3), np.float32)
    nodes = np.empty((3, 4))
    for k in range(n_plane):
        plane = n_plane - 1 - k if backwards else k
        sheet = line_sheet + marks[k, 0]
        if sheet < 0 or sheet >= n_sheet or line_sheet < marks[k, 2] or line_sheet >= marks[k, 3]:
            continue
        row = plane * row_stride_plane + sheet * row_stride_sheet
        lo, hi = rows[row, 0], rows[row, 1]
        to_line = reach_inner - marks[k, 1]
        if rows[row, 2] < rows[row, 3]:
            with_energy = min(with_energy, rows[row, 2] + to_line)
            past_energy = max(past_energy, rows[row, 3] + to_line)
        first = max(lo, max(with_energy - to_line, marks[k, 4] + marks[k, 1]))
        n = min(hi, min(past_energy - to_line, marks[k, 5] + marks[k, 1])) - first
        if n <= 0:
            continue
        n = -(-n // _BLOCK) * _BLOCK
        first = min(first, hi - n)
        begin, extent = _row_amplitudes(
            amplitude, projection, max_tilt, plane, sheet, lo, min(hi, n_inside) - 1, q, nodes
        )
        base = plane * stride_plane + sheet * stride_sheet + first
        _row(
            kerma, scerma, density, dose, state,
            np.uint64(base), np.uint64(dose_start + base), np.uint64(first + to_line), np.uint64(pitch), np.uint64(n),
            rates, q, begin - float32(first), extent, step,
        )  # fmt: skip


# inlined by order: LLVM may find it too long, and a call hands over a hundred numbers for each row: a tenth of the time
@njit(fastmath=_FASTMATH, error_model="numpy", forceinline=True)
def _row_amplitudes(amplitude, projection, max_tilt, plane, sheet, first, last, q, nodes):
    """Emission amplitudes along a row: they vary with the tilt of the ray.

    A parabola through three nodes on the part of the row whose tilts the polynomials were fitted for, held constant
    beyond it, where there is no open field but leakage. Returns the index of the first node and the extent.
    """
    px, py, pw = projection[0, 2], projection[1, 2], projection[2, 2]
    x = projection[0, 0] * plane + projection[0, 1] * sheet + projection[0, 3]
    y = projection[1, 0] * plane + projection[1, 1] * sheet + projection[1, 3]
    w = projection[2, 0] * plane + projection[2, 1] * sheet + projection[2, 3]
    begin, end = _within_tilt(x, px, w, pw, max_tilt, float(first), float(last))
    begin, end = _within_tilt(y, py, w, pw, max_tilt, begin, end)
    half = max(0.5 * (end - begin), 1e-3)
    for j in range(3):
        i = begin + half * j
        inverse = 1.0 / (w + pw * i)
        u = min(max((x + px * i) * inverse, -max_tilt), max_tilt)
        v = min(max((y + py * i) * inverse, -max_tilt), max_tilt)
        uu, uv, vv = u * u, u * v, v * v
        uuu, uuv, uvv, vvv = uu * u, uu * v, u * vv, vv * v
        for c in range(4):
            nodes[j, c] = (
                amplitude[0, c] + u * amplitude[1, c] + v * amplitude[2, c]
                + uu * amplitude[3, c] + uv * amplitude[4, c] + vv * amplitude[5, c]
                + uuu * amplitude[6, c] + uuv * amplitude[7, c] + uvv * amplitude[8, c] + vvv * amplitude[9, c]
            )  # fmt: skip
    inverse = 0.5 / half
    for c in range(4):
        f0, f1, f2 = nodes[0, c], nodes[1, c], nodes[2, c]
        q[c, 0] = f0
        q[c, 1] = (-3.0 * f0 + 4.0 * f1 - f2) * inverse
        q[c, 2] = 2.0 * (f0 - 2.0 * f1 + f2) * inverse * inverse
    return float32(begin), float32(2.0 * half)


@njit(inline="always")
def _within_tilt(x, px, w, pw, limit, begin, end):
    """The part of [begin, end] in which |x + px i| <= limit (w + pw i); its nearest end where there is none."""
    for side in (-1.0, 1.0):
        # side (x + px i) - limit (w + pw i) <= 0
        value, slope = side * x - limit * w, side * px - limit * pw
        if slope > 0.0:
            end = max(begin, min(end, -value / slope))
        elif slope < 0.0:
            begin = min(end, max(begin, -value / slope))
    return begin, end


@njit(fastmath=_FASTMATH, error_model="numpy", forceinline=True)
def _row(kerma, scerma, density, dose, state, base, to, line, pitch, n, rates, q, begin, extent, step):
    """One row of voxels of one cone: four exponentials, two driven by the collision kerma, two by the scerma.

    With R the energy fluence that enters, S the energy emitted per mass, l the water-equivalent step and a the rate,
    the exact solution over a step of constant S is (physics manual, eqs. 3.6 and 3.7)
        R' = R - (R - S/a) (1 - exp(-a l))   and   D = S + (R - S/a) (1 - exp(-a l)) / l,
    which conserves energy to rounding (R + S l = R' + D l) and needs one division for all four.

    Whole arrays with unsigned offsets instead of slices: a slice costs counted references, a signed index a test for
    negative ones, and a row is short.
    """
    line1 = line + pitch
    line2 = line1 + pitch
    line3 = line2 + pitch
    b0, b1, b2, b3 = rates[0] * LOG2E, rates[1] * LOG2E, rates[2] * LOG2E, rates[3] * LOG2E
    m0, m1, m2, m3 = float32(1) / rates[0], float32(1) / rates[1], float32(1) / rates[2], float32(1) / rates[3]
    a00, a01, a02 = q[0, 0], q[0, 1], q[0, 2]
    a10, a11, a12 = q[1, 0], q[1, 1], q[1, 2]
    a20, a21, a22 = q[2, 0], q[2, 1], q[2, 2]
    a30, a31, a32 = q[3, 0], q[3, 1], q[3, 2]
    for i in range(n):
        t = min(max(float32(i) - begin, float32(0)), extent)
        kc, sc = kerma[base + i], scerma[base + i]
        ell = density[base + i] * step
        e0 = kc * (a00 + t * (a01 + t * a02))
        e1 = kc * (a10 + t * (a11 + t * a12))
        e2 = sc * (a20 + t * (a21 + t * a22))
        e3 = sc * (a30 + t * (a31 + t * a32))
        g0 = (state[line + i] - e0 * m0) * one_minus_exp2_minus(ell * b0)
        g1 = (state[line1 + i] - e1 * m1) * one_minus_exp2_minus(ell * b1)
        g2 = (state[line2 + i] - e2 * m2) * one_minus_exp2_minus(ell * b2)
        g3 = (state[line3 + i] - e3 * m3) * one_minus_exp2_minus(ell * b3)
        state[line + i] -= g0
        state[line1 + i] -= g1
        state[line2 + i] -= g2
        state[line3 + i] -= g3
        dose[to + i] += ((e0 + e1) + (e2 + e3)) + ((g0 + g1) + (g2 + g3)) / ell
