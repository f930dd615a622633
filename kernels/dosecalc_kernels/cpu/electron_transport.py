"""Transport of electrons in groups of energy along discrete directions, on the CPU.

Contract: `dosecalc_kernels.contract`, "electron transport".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import float32, njit, prange
from numpy.typing import NDArray

from dosecalc_kernels.cpu.fast_math import LOG2E, one_minus_exp2_minus

_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}  # NaN and infinity keep their meaning: a wrong input must show

#: a lane has a sum of its own, so their number fixes the order of the sums, whatever the number of threads
_LANES = 8
#: voxels times directions between two looks at the caller, on the way to 0.2 s on one core
_CELLS_AT_A_TIME = 12_000_000
#: directions that are swept together at least, so that some threads share them
_LEAST_TOGETHER = 4
#: voxels whose directions are mixed together: they and the result stay in the first two caches
_BLOCK = 256
#: what the product's inner loop takes at once; directions are padded to a multiple
_UNROLL = 8
#: thinner matter is treated as this, g/cm3
_LEAST_G_CM3 = 1e-5
#: below this optical thickness of a cell the source is taken as even in it, float32 would lose the slope's digits
_EVEN_BELOW = float32(0.1)


class ElectronTransport:
    """Transport of electrons through one volume. Contract: `dosecalc_kernels.contract`, "electron transport".

    Parameters
    ----------
    density : float32 [z, y, x]
        g/cm3.
    material : uint8 [z, y, x]
    spacing_cm : (dx, dy, dz)
    """

    def __init__(
        self,
        density: NDArray[np.float32],
        material: NDArray[np.uint8],
        spacing_cm: tuple[float, float, float],
    ) -> None:
        self.shape = density.shape
        self._density = np.maximum(density, np.float32(_LEAST_G_CM3))
        self._material = np.ascontiguousarray(material)
        self._spacing = np.array(spacing_cm)
        self._dose = np.zeros(self.shape, np.float32)

    @staticmethod
    def bytes_needed(voxels: int, directions: int) -> int:
        """Memory that a transport takes at most."""
        # all directions, a third of them turned, lanes of two layouts, volumes
        return voxels * 4 * (directions + directions // 3 + 2 * _LANES + 8)

    def run(
        self,
        kerma: NDArray[np.float32],
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
        """Transport all groups; yields the share that is done. Arguments as in the contract."""
        n, m = kerma.size, len(directions)
        flow = np.zeros((-(-m // _UNROLL) * _UNROLL, n), np.float32)
        lines = _Lines(self.shape, directions, self._spacing, projection)
        self._dose = np.zeros(self.shape, np.float32)
        groups = len(width)
        for g in range(groups):
            relative = stopping[g].astype(np.float32)[self._material]
            opacity = self._density * relative / np.float32(theta * width[g])
            start = kerma * np.float32(theta) / relative
            total = np.zeros(self.shape, np.float32)
            for done in self._sweep(flow, lines, opacity, start, source[g], theta, max_tilt, total):
                yield (g + 0.5 * done) / groups
            self._dose += total * relative * np.float32(deposit[g])
            if g + 1 < groups:
                for done in self._scatter(flow, scattering[g]):
                    yield (g + 0.5 + 0.5 * done) / groups
        yield 1.0

    def dose(self) -> NDArray[np.float32]:
        """The dose of the last run, float32 [z, y, x], in the unit of the kerma."""
        return self._dose

    def _sweep(
        self,
        flow: NDArray[np.float32],
        lines: _Lines,
        opacity: NDArray[np.float32],
        start: NDArray[np.float32],
        source: NDArray[np.float64],
        theta: float,
        max_tilt: float,
        total: NDArray[np.float32],
    ) -> Iterator[float]:
        """Carry every direction through the volume; adds the flux summed over directions to ``total``."""
        at_a_time = max(_LEAST_TOGETHER, _CELLS_AT_A_TIME // opacity.size)
        done = 0
        for layout in lines.layouts:
            order, back = layout.order, tuple(np.argsort(layout.order))
            turned = tuple(self.shape[a] for a in order)
            flat = [np.ascontiguousarray(v.transpose(order)).ravel() for v in (opacity, start)]
            flux = np.zeros((_LANES, opacity.size), np.float32)
            for first in range(0, len(layout.members), at_a_time):
                batch = slice(first, first + at_a_time)
                members = layout.members[batch]
                # rows along x are swept in place, the others in a turned copy
                own = flow if layout.in_place else _turned(flow, members, self.shape, order)
                rows = members if layout.in_place else np.arange(len(members))
                _sweep_lanes(
                    own, flux, flat[0], flat[1], rows, layout.whole[batch], layout.real[batch], source[members],
                    layout.projection[batch], max_tilt, theta,
                )  # fmt: skip
                if not layout.in_place:
                    for row, member in zip(own, members, strict=True):
                        flow[member] = row.reshape(turned).transpose(back).ravel()
                done += len(members)
                yield done / len(source)
            total += flux.sum(0, dtype=np.float32).reshape(turned).transpose(back)

    def _scatter(self, flow: NDArray[np.float32], matrices: NDArray[np.float64]) -> Iterator[float]:
        """Mix the directions of every voxel with the matrix of its material."""
        size = matrices.shape[-1]
        padded = np.zeros((len(matrices), size, len(flow)), np.float32)
        padded[..., :size] = matrices.transpose(0, 2, 1)  # row: where to
        material = self._material.ravel()
        at_a_time = max(_BLOCK, _CELLS_AT_A_TIME // 8 // size // _BLOCK * _BLOCK)
        for first in range(0, len(material), at_a_time):
            last = min(first + at_a_time, len(material))
            _scatter_blocks(flow, material, padded, first, last)
            yield last / len(material)


class _Layout(NamedTuple):
    """Directions whose lines are swept with rows along one axis, with the kernel's numbers for each."""

    order: tuple[int, int, int]
    in_place: bool
    members: NDArray[np.int64]
    whole: NDArray[np.int64]
    real: NDArray[np.float64]
    projection: NDArray[np.float64]


class _Lines:
    """How lines run through the volume: as in the cone transport, see `dosecalc_kernels.contract`, "cone transport"."""

    def __init__(
        self,
        shape: tuple[int, ...],
        directions: NDArray[np.float64],
        spacing: NDArray[np.float64],
        projection: NDArray[np.float64],
    ) -> None:
        nz, ny, nx = shape
        counts = (nx, ny, nz)
        found: tuple[list[tuple[int, tuple[int, ...], tuple[float, ...], NDArray[np.float64]]], ...] = ([], [])
        for n, direction in enumerate(directions):
            steps = np.abs(direction) / spacing
            # rounded, so that mirror images of a direction take the same decisions however their last bits differ
            axis = int(np.argmax(np.round(steps / steps.max(), 9)))
            # axes (0 = x) of planes, sheets and rows, and the strides of the first two
            plane, sheet, row = {2: (2, 1, 0), 1: (1, 2, 0), 0: (0, 2, 1)}[axis]
            strides = {0: nz * ny, 2: ny} if axis == 0 else {2: ny * nx, 1: nx}
            shear = np.round(direction / spacing / steps[axis], 9)
            whole = (
                counts[plane],
                counts[sheet],
                counts[row],
                strides[plane],
                strides[sheet],
                int(direction[axis] < 0),
            )
            real = (float(shear[sheet]), float(shear[row]), float(1 / steps[axis]))
            found[int(axis == 0)].append((n, whole, real, projection[:, [plane, sheet, row, 3]]))
        self.layouts = [
            _Layout(order, order == (0, 1, 2), *(np.array(column) for column in zip(*lines, strict=True)))
            for order, lines in zip(((0, 1, 2), (2, 0, 1)), found, strict=True)
            if lines
        ]


def _turned(
    flow: NDArray[np.float32], members: NDArray[np.int64], shape: tuple[int, ...], order: tuple[int, int, int]
) -> NDArray[np.float32]:
    out = np.empty((len(members), flow.shape[1]), np.float32)
    for row, member in zip(out, members, strict=True):
        row[:] = flow[member].reshape(shape).transpose(order).ravel()
    return out


@njit(parallel=True, fastmath=_FASTMATH, error_model="numpy", cache=True)
def _sweep_lanes(flow, flux, opacity, start, rows, whole, real, source, projections, max_tilt, theta):
    """Some directions: each lane takes every eighth and has a sum of the flux of its own."""
    n = opacity.size
    flat_flow, flat_flux = flow.reshape(-1), flux.reshape(-1)
    for lane in prange(_LANES):
        for k in range(lane, len(rows), _LANES):
            reach = math.ceil(abs(real[k, 0]) * (whole[k, 0] - 1) / 2.0) + 1
            swept = np.empty(
                whole[k, 0] * whole[k, 2], np.float32
            )  # inflow of the sheet of lines before, plane by plane
            for line_sheet in range(-reach, whole[k, 1] + reach):
                _sheet(
                    flat_flow, rows[k] * n, flat_flux, lane * n, opacity, start, swept, line_sheet,
                    whole[k], real[k], source[k], projections[k], max_tilt, float32(theta),
                )  # fmt: skip


@njit(fastmath=_FASTMATH, error_model="numpy")
def _sheet(
    flow, flow_start, flux, flux_start, opacity, start, swept, line_sheet,
    whole, real, source, projection, max_tilt, theta,
):  # fmt: skip
    """The lines of one sheet of one direction, plane by plane. Every voxel is on exactly one line of a direction."""
    n_plane, n_sheet, n, stride_plane, stride_sheet, backwards = whole
    shear_sheet, shear_row, step_cm = real
    half = (n_plane - 1) / 2.0
    reach = math.ceil(abs(shear_row) * half) + 1
    state = np.zeros(n + 2 * reach, np.float32)  # what enters the next cell of each line
    behind = np.zeros(n + 2 * reach, np.float32)  # inflow of the cell before
    inflow, following = np.empty(n, np.float32), np.empty(n, np.float32)  # of a plane and the next, where lines pass
    starting = np.empty(n, np.float32)
    ahead = np.empty(n, np.float32)  # inflow of the cell after
    q = np.empty(3, np.float32)
    entered = False
    for k in range(n_plane):
        plane = n_plane - 1 - k if backwards else k
        shift = int(np.rint(shear_sheet * (k - half)))
        sheet = line_sheet + shift
        if sheet < 0 or sheet >= n_sheet:
            continue
        base = plane * stride_plane + sheet * stride_sheet
        here = int(np.rint(shear_row * (k - half)))
        there = int(np.rint(shear_row * (k + 1 - half)))
        # how far beside the middle of its voxel a line passes, in voxels along sheets and rows
        beside_sheet, beside_row = shear_sheet * (k - half) - shift, shear_row * (k - half) - here
        if not entered:
            _inflow_on_lines(
                flow, flow_start + base, stride_sheet, sheet, n_sheet, swept, k * n, inflow, beside_sheet, beside_row
            )
            entered = True
        next_shift = int(np.rint(shear_sheet * (k + 1 - half)))
        next_sheet = line_sheet + next_shift
        inside = k + 1 < n_plane and 0 <= next_sheet < n_sheet
        if inside:
            next_plane = plane - 1 if backwards else plane + 1
            _inflow_on_lines(
                flow, flow_start + next_plane * stride_plane + next_sheet * stride_sheet, stride_sheet, next_sheet,
                n_sheet, swept, (k + 1) * n, following,
                shear_sheet * (k + 1 - half) - next_shift, shear_row * (k + 1 - half) - there,
            )  # fmt: skip
        lo = min(n, max(0, here - there)) if inside else 0
        hi = max(lo, min(n, n + here - there)) if inside else 0
        ahead[:] = inflow  # where a line ends, what flows into its last cell
        ahead[lo:hi] = following[lo + there - here : hi + there - here]
        after = base + stride_sheet if sheet + 1 < n_sheet else base
        before = base - stride_sheet if sheet > 0 else base
        _on_lines(start, base, after, start, before, starting, beside_sheet, beside_row)
        begin, extent = _row_source(source, projection, max_tilt, plane, sheet, n, q)
        _row(
            flow, flux, opacity, starting, state, inflow, behind, ahead,
            np.uint64(flow_start + base), np.uint64(flux_start + base), np.uint64(base), np.uint64(reach - here),
            np.uint64(n), q, begin, extent, float32(step_cm), theta,
        )  # fmt: skip
        inflow, following = following, inflow


@njit(fastmath=_FASTMATH, error_model="numpy")
def _inflow_on_lines(flow, own, stride, sheet, n_sheet, swept, keep, out, beside_sheet, beside_row):
    """The inflow of a row where its lines pass, before it is overwritten; ``swept`` has that of the sheet before."""
    after = own + stride if sheet + 1 < n_sheet else own
    if sheet > 0:
        _on_lines(flow, own, after, swept, keep, out, beside_sheet, beside_row)
    else:
        _on_lines(flow, own, after, flow, own, out, beside_sheet, beside_row)
    swept[keep : keep + len(out)] = flow[own : own + len(out)]


@njit(fastmath=_FASTMATH, error_model="numpy")
def _on_lines(values, own, after, others, before, out, beside_sheet, beside_row):
    """Values of a row where its lines pass: the voxels' own, and their slopes (between both neighbours) across them."""
    n = len(out)
    own, after, before = np.uint64(own), np.uint64(after), np.uint64(before)
    sheet, row = float32(0.5 * beside_sheet), float32(0.5 * beside_row)
    for i in range(np.uint64(n)):
        out[i] = values[own + i] + sheet * (values[after + i] - others[before + i])
    for i in range(np.uint64(1), np.uint64(max(n - 1, 1))):
        out[i] += row * (values[own + i + np.uint64(1)] - values[own + i - np.uint64(1)])
    last = np.uint64(n - 1)
    if n > 1:
        out[0] += row * (values[own + np.uint64(1)] - values[own])
        out[last] += row * (values[own + last] - values[own + last - np.uint64(1)])


@njit(fastmath=_FASTMATH, error_model="numpy")
def _row_source(source, projection, max_tilt, plane, sheet, n, q):
    """The source along a row, which varies with the tilt of the ray: a parabola, as the cones' emission."""
    px, py, pw = projection[0, 2], projection[1, 2], projection[2, 2]
    x = projection[0, 0] * plane + projection[0, 1] * sheet + projection[0, 3]
    y = projection[1, 0] * plane + projection[1, 1] * sheet + projection[1, 3]
    w = projection[2, 0] * plane + projection[2, 1] * sheet + projection[2, 3]
    begin, end = _within_tilt(x, px, w, pw, max_tilt, 0.0, n - 1.0)
    begin, end = _within_tilt(y, py, w, pw, max_tilt, begin, end)
    half = max(0.5 * (end - begin), 1e-3)
    f0 = _at_tilt(source, x + px * begin, y + py * begin, w + pw * begin, max_tilt)
    middle = begin + half
    f1 = _at_tilt(source, x + px * middle, y + py * middle, w + pw * middle, max_tilt)
    last = middle + half
    f2 = _at_tilt(source, x + px * last, y + py * last, w + pw * last, max_tilt)
    inverse = 0.5 / half
    q[0] = f0
    q[1] = (-3.0 * f0 + 4.0 * f1 - f2) * inverse
    q[2] = 2.0 * (f0 - 2.0 * f1 + f2) * inverse * inverse
    return float32(begin), float32(2.0 * half)


@njit(inline="always")
def _at_tilt(c, x, y, w, limit):
    u = min(max(x / w, -limit), limit)
    v = min(max(y / w, -limit), limit)
    return (
        c[0] + u * (c[1] + u * (c[3] + u * c[6])) + v * (c[2] + v * (c[5] + v * c[9]))
        + u * v * (c[4] + u * c[7] + v * c[8])
    )  # fmt: skip


@njit(inline="always")
def _within_tilt(x, px, w, pw, limit, begin, end):
    """The part of [begin, end] in which |x + px i| <= limit (w + pw i); its nearest end where there is none."""
    for side in (-1.0, 1.0):
        value, slope = side * x - limit * w, side * px - limit * pw
        if slope > 0.0:
            end = max(begin, min(end, -value / slope))
        elif slope < 0.0:
            begin = min(end, max(begin, -value / slope))
    return begin, end


@njit(fastmath=_FASTMATH, error_model="numpy")
def _row(
    flow, flux, opacity, start, state, own, behind, ahead, at, to, base, line, n, q, begin, extent, step, theta,
):  # fmt: skip
    """One row of cells of one direction: what enters the group, and what starts in it, relaxes along the lines.

    Over a cell of optical thickness x the source is a + b (s - 1/2), s from 0 to 1, with a the cell's inflow and start
    and b half the difference of the inflows after and before it, all three where the line passes; the exact solution
    (heterogeneity, eqs. 5 and 6) is
        psi' = psi - (psi - p) (1 - exp(-x)) + b  and the mean  m = a - b/x + (psi - p) (1 - exp(-x)) / x
    with p = a - b/x - b/2, and the outflow to the next group (m - (1 - theta) N) / theta with the voxel's own inflow N.
    """
    q0, q1, q2 = q[0], q[1], q[2]
    gain = float32(1) / theta
    keep = (float32(1) - theta) * gain
    for i in range(n):
        t = min(max(float32(i) - begin, float32(0)), extent)
        inflow = own[i]
        x = opacity[base + i] * step
        inverse = float32(1) / x
        b = float32(0.5) * (ahead[i] - behind[line + i]) if x > _EVEN_BELOW else float32(0)
        middle = inflow + start[i] * (q0 + t * (q1 + t * q2)) - b * inverse
        entering = state[line + i]
        relaxed = (entering - middle + float32(0.5) * b) * one_minus_exp2_minus(x * LOG2E)
        mean = middle + relaxed * inverse
        state[line + i] = entering - relaxed + b
        behind[line + i] = inflow
        flux[to + i] += mean
        flow[at + i] = mean * gain - flow[at + i] * keep


@njit(parallel=True, fastmath=_FASTMATH, error_model="numpy", cache=True)
def _scatter_blocks(flow, material, matrices, first, last):
    """Mix the directions of some voxels, block by block."""
    n_blocks = (last - first + _BLOCK - 1) // _BLOCK
    for b in prange(n_blocks):
        lo = first + b * _BLOCK
        hi = min(last, lo + _BLOCK)
        old = np.zeros((flow.shape[0], _BLOCK), np.float32)
        new = np.empty(_BLOCK, np.float32)
        largest = float32(0)
        for c in range(flow.shape[0]):
            for v in range(hi - lo):
                old[c, v] = flow[c, lo + v]
                largest = max(largest, abs(old[c, v]))
        if largest == float32(0):
            continue
        least, most = len(matrices), 0
        for v in range(lo, hi):
            least = min(least, material[v])
            most = max(most, material[v])
        for m in range(least, most + 1):
            _mix(old, new, flow, lo, hi, matrices[m], material, m, least == most)


@njit(fastmath=_FASTMATH, error_model="numpy")
def _mix(old, new, flow, lo, hi, matrix, material, which, all_of_it):
    present = all_of_it
    for v in range(lo, hi):
        present |= material[v] == which
    if not present:
        return
    for c in range(matrix.shape[0]):
        _product(old, matrix[c], new)
        for v in range(hi - lo):
            if all_of_it or material[lo + v] == which:
                flow[c, lo + v] = new[v]


@njit(fastmath=_FASTMATH, error_model="numpy")
def _product(old, row, new):
    """One row of the matrix times all directions of a block, eight at a time so that sums stay in registers."""
    new[:] = float32(0)
    for c in range(0, old.shape[0], _UNROLL):
        m0, m1, m2, m3 = row[c], row[c + 1], row[c + 2], row[c + 3]
        m4, m5, m6, m7 = row[c + 4], row[c + 5], row[c + 6], row[c + 7]
        for v in range(_BLOCK):
            new[v] += (
                m0 * old[c, v] + m1 * old[c + 1, v] + m2 * old[c + 2, v] + m3 * old[c + 3, v]
                + m4 * old[c + 4, v] + m5 * old[c + 5, v] + m6 * old[c + 6, v] + m7 * old[c + 7, v]
            )  # fmt: skip
