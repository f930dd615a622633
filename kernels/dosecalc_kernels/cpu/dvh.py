"""DVH sampling on the CPU: distances to contours, and the dose-volume histogram of what they enclose.

Single-threaded on purpose: a structure takes milliseconds, so callers run structures side by side (the kernels release
the GIL) and the bits do not depend on the number of threads. Signatures and definitions: ``dosecalc_kernels.contract``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BLOCK = 8
_MIN, _MAX, _VOLUME, _COVERED, _DOSE_SUM = range(5)


@njit(cache=True, nogil=True, error_model="numpy")
def _squared_distance(x: float, y: float, s: Floats) -> float:
    """Squared distance of a point to the segment (x1, y1, x2, y2)."""
    ex, ey = s[2] - s[0], s[3] - s[1]
    px, py = x - s[0], y - s[1]
    length2 = ex * ex + ey * ey
    t = 0.0
    if length2 > 0.0:
        t = min(1.0, max(0.0, (px * ex + py * ey) / length2))
    dx, dy = px - t * ex, py - t * ey
    return float(dx * dx + dy * dy)


@njit(cache=True, nogil=True, error_model="numpy")
def _inside(x0: float, y0: float, step: float, nx: int, ny: int, segments: Floats) -> NDArray[np.bool_]:
    """Even-odd rule at the nodes of a raster."""
    toggles = np.zeros((ny, nx + 1), dtype=np.int32)
    for k in range(segments.shape[0]):
        xa, ya, xb, yb = segments[k, 0], segments[k, 1], segments[k, 2], segments[k, 3]
        if ya > yb:
            xa, ya, xb, yb = xb, yb, xa, ya
        # half open, so that a vertex on a row counts once
        first = max(0, int(np.ceil((ya - y0) / step)))
        for j in range(first, ny):
            y = y0 + j * step
            if y >= yb:
                break
            if y < ya:
                continue
            x = xa + (y - ya) / (yb - ya) * (xb - xa)
            i = int(np.ceil((x - x0) / step))
            toggles[j, min(nx, max(0, i))] += 1
    inside = np.empty((ny, nx), dtype=np.bool_)
    for j in range(ny):
        count = 0
        for i in range(nx):
            count += toggles[j, i]
            inside[j, i] = count % 2 == 1
    return inside


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(x0: float, y0: float, step: float, nx: int, ny: int, segments: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Distance to the nearest segment, and which one, at the nodes of a raster."""
    distance = np.empty((ny, nx))
    owner = np.empty((ny, nx), dtype=np.int32)
    m = segments.shape[0]
    from_centre = np.empty(m)
    candidates = np.empty(m, dtype=np.int32)
    reach = 2.0 * step * (_BLOCK - 1) / 2.0 * np.sqrt(2.0)  # twice a block's half diagonal
    for j0 in range(0, ny, _BLOCK):
        for i0 in range(0, nx, _BLOCK):
            xc = x0 + (i0 + (_BLOCK - 1) / 2.0) * step
            yc = y0 + (j0 + (_BLOCK - 1) / 2.0) * step
            nearest = np.inf
            for k in range(m):
                from_centre[k] = np.sqrt(_squared_distance(xc, yc, segments[k]))
                nearest = min(nearest, from_centre[k])
            n = 0
            for k in range(m):
                if from_centre[k] <= nearest + reach + 1e-9:
                    candidates[n] = k
                    n += 1
            for j in range(j0, min(ny, j0 + _BLOCK)):
                for i in range(i0, min(nx, i0 + _BLOCK)):
                    best = np.inf
                    who = np.int32(0)
                    for c in range(n):
                        d2 = _squared_distance(x0 + i * step, y0 + j * step, segments[candidates[c]])
                        if d2 < best:
                            best = d2
                            who = candidates[c]
                    distance[j, i] = np.sqrt(best)
                    owner[j, i] = who
    return distance, owner


@njit(cache=True, nogil=True, error_model="numpy")
def signed_distance(
    x0_mm: float, y0_mm: float, step_mm: float, nx: int, ny: int, segments_mm: Floats
) -> tuple[Floats, Floats, Floats]:
    """Signed distance to contours and the direction across them, see ``contract.signed_distance``."""
    distance, owner = _nearest(x0_mm, y0_mm, step_mm, nx, ny, segments_mm)
    inside = _inside(x0_mm, y0_mm, step_mm, nx, ny, segments_mm)
    ux, uy = np.empty((ny, nx)), np.empty((ny, nx))
    for j in range(ny):
        for i in range(nx):
            x, y = x0_mm + i * step_mm, y0_mm + j * step_mm
            s = segments_mm[owner[j, i]]
            ex, ey = s[2] - s[0], s[3] - s[1]
            length2 = ex * ex + ey * ey
            t = 0.0
            if length2 > 0.0:
                t = min(1.0, max(0.0, ((x - s[0]) * ex + (y - s[1]) * ey) / length2))
            dx, dy = s[0] + t * ex - x, s[1] + t * ey - y
            length = np.sqrt(dx * dx + dy * dy)
            if length < 1e-6 * step_mm:
                # on the contour: across its edge
                dx, dy = -ey, ex
                length = np.sqrt(length2)
            if length > 0.0:
                ux[j, i], uy[j, i] = dx / length, dy / length
            else:
                ux[j, i], uy[j, i] = 1.0, 0.0
            if not inside[j, i]:
                distance[j, i] = -distance[j, i]
    return distance, ux, uy


@njit(cache=True, nogil=True, error_model="numpy")
def _power(x: float, y: float, ux: float, uy: float, segments: Floats, radius: float) -> tuple[float, float, float]:
    """Power of a point with respect to contours along a line, and where the chord begins and ends: both 0 at a miss."""
    huge = np.inf
    ahead1, ahead2, behind1, behind2 = huge, huge, huge, huge  # the two nearest crossings on either side
    count = 0
    for k in range(segments.shape[0]):
        ax, ay = segments[k, 0] - x, segments[k, 1] - y
        bx, by = segments[k, 2] - x, segments[k, 3] - y
        sa, sb = ax * uy - ay * ux, bx * uy - by * ux
        if (sa > 0.0) == (sb > 0.0):
            continue
        w = sa / (sa - sb)
        t = (ax + w * (bx - ax)) * ux + (ay + w * (by - ay)) * uy
        if t > 0.0:
            count += 1
            if t < ahead1:
                ahead1, ahead2 = t, ahead1
            elif t < ahead2:
                ahead2 = t
        else:
            t = -t
            if t < behind1:
                behind1, behind2 = t, behind1
            elif t < behind2:
                behind2 = t
    if count % 2 == 1 and behind1 < huge:
        return ahead1 * behind1, -behind1, ahead1
    if ahead2 < huge and (ahead1 <= behind1 or behind2 == huge):
        return -ahead1 * ahead2, ahead1, ahead2
    if behind2 < huge:
        return -behind1 * behind2, -behind2, -behind1
    # the line misses: as of a disc at the nearest point
    d2 = huge
    for k in range(segments.shape[0]):
        d2 = min(d2, _squared_distance(x, y, segments[k]))
    d = np.sqrt(d2)
    return -d * (d + 2.0 * radius), 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def chord_power(
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    active: NDArray[np.bool_],
    ux: Floats,
    uy: Floats,
    segments_mm: Floats,
    radius_mm: float,
) -> tuple[Floats, Floats, Floats]:
    """Power of raster nodes with respect to contours, see ``contract.chord_power``."""
    ny, nx = active.shape
    values, begin, end = np.zeros((ny, nx)), np.zeros((ny, nx)), np.zeros((ny, nx))
    for j in range(ny):
        for i in range(nx):
            if active[j, i]:
                values[j, i], begin[j, i], end[j, i] = _power(
                    x0_mm + i * step_mm, y0_mm + j * step_mm, ux[j, i], uy[j, i], segments_mm, radius_mm
                )
    return values, begin, end


@njit(cache=True, nogil=True, error_model="numpy")
def _dose_and_gradient(
    x: float, y: float, z: float, dose: NDArray[np.float32], origin: Floats, spacing: Floats
) -> tuple[float, float, float, float]:
    """Trilinear dose and its gradient per mm; beyond the outermost centres the outermost value holds."""
    nz, ny, nx = dose.shape
    gx = min(max((x - origin[0]) / spacing[0], 0.0), nx - 1.0)
    gy = min(max((y - origin[1]) / spacing[1], 0.0), ny - 1.0)
    gz = min(max((z - origin[2]) / spacing[2], 0.0), nz - 1.0)
    i, j, k = min(int(gx), max(nx - 2, 0)), min(int(gy), max(ny - 2, 0)), min(int(gz), max(nz - 2, 0))
    i1, j1, k1 = min(i + 1, nx - 1), min(j + 1, ny - 1), min(k + 1, nz - 1)
    u, v, w = gx - i, gy - j, gz - k
    d000, d100 = float(dose[k, j, i]), float(dose[k, j, i1])
    d010, d110 = float(dose[k, j1, i]), float(dose[k, j1, i1])
    d001, d101 = float(dose[k1, j, i]), float(dose[k1, j, i1])
    d011, d111 = float(dose[k1, j1, i]), float(dose[k1, j1, i1])
    a00, a10 = d000 + u * (d100 - d000), d010 + u * (d110 - d010)
    a01, a11 = d001 + u * (d101 - d001), d011 + u * (d111 - d011)
    b0, b1 = a00 + v * (a10 - a00), a01 + v * (a11 - a01)
    ddx = (1 - w) * ((1 - v) * (d100 - d000) + v * (d110 - d010)) + w * ((1 - v) * (d101 - d001) + v * (d111 - d011))
    ddy = (1 - w) * (a10 - a00) + w * (a11 - a01)
    return b0 + w * (b1 - b0), ddx / spacing[0], ddy / spacing[1], (b1 - b0) / spacing[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _overlap(centre: float, width: float, lower: float, upper: float) -> tuple[float, float]:
    """Middle and length of the part of an interval that lies in [lower, upper]; length 0 when none does."""
    a, b = max(centre - width / 2.0, lower), min(centre + width / 2.0, upper)
    return 0.5 * (a + b), max(0.0, b - a)


@njit(cache=True, nogil=True, error_model="numpy")
def _in_box(x: float, y: float, z: float, box: Floats) -> bool:
    return bool(box[0] <= x <= box[3] and box[1] <= y <= box[4] and box[2] <= z <= box[5])


@njit(cache=True, nogil=True, error_model="numpy")
def _box(origin: Floats, spacing: Floats, shape: tuple[int, int, int]) -> Floats:
    """Outer bounds (x, y, z lower, x, y, z upper) of the voxels."""
    box = np.empty(6)
    for a in range(3):
        box[a] = origin[a] - 0.5 * spacing[a]
        box[3 + a] = origin[a] + (shape[2 - a] - 0.5) * spacing[a]
    return box


@njit(cache=True, nogil=True, error_model="numpy")
def _step_at(position: float, density: float, mass: Floats, step: Floats) -> None:
    """Add a step of a density (mass per bin) at a position in bins."""
    n = mass.shape[0]
    p = min(max(position, 0.0), float(n))
    b = min(int(p), n - 1)
    mass[b] += (b + 1 - p) * density
    step[b + 1] += density


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(weight: float, at: float, width: float, mass: Floats, step: Floats) -> None:
    """Add a weight evenly over ``width`` bins about position ``at``; what would fall outside is moved to the edge."""
    n = mass.shape[0]
    if width < 0.5:
        mass[min(max(int(at), 0), n - 1)] += weight
        return
    low, high = max(at - width / 2.0, 0.0), min(at + width / 2.0, float(n))
    if high - low < 0.5:
        mass[min(max(int(at), 0), n - 1)] += weight
        return
    _step_at(low, weight / (high - low), mass, step)
    _step_at(high, -weight / (high - low), mass, step)


@njit(cache=True, nogil=True, error_model="numpy")
def _see(
    x: float,
    y: float,
    z: float,
    dose: NDArray[np.float32],
    origin: Floats,
    spacing: Floats,
    box: Floats,
    totals: Floats,
) -> None:
    """Let the dose at a point count for minimum and maximum."""
    if _in_box(x, y, z, box):
        d = _dose_and_gradient(x, y, z, dose, origin, spacing)[0]
        totals[_MIN] = min(totals[_MIN], d)
        totals[_MAX] = max(totals[_MAX], d)


@njit(cache=True, nogil=True, error_model="numpy")
def _see_grid_node(
    x: float,
    y: float,
    z: float,
    sxy: float,
    sz: float,
    dose: NDArray[np.float32],
    origin: Floats,
    spacing: Floats,
    totals: Floats,
) -> None:
    """A trilinear field has its inner extremes at the nodes: count the nearest one if it lies in this cell."""
    nz, ny, nx = dose.shape
    i = int(np.rint((x - origin[0]) / spacing[0]))
    j = int(np.rint((y - origin[1]) / spacing[1]))
    k = int(np.rint((z - origin[2]) / spacing[2]))
    if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz:
        return
    half = 0.5 + 1e-6  # a node on the wall between two cells must not fall between them
    if (
        abs(origin[0] + i * spacing[0] - x) <= half * sxy
        and abs(origin[1] + j * spacing[1] - y) <= half * sxy
        and abs(origin[2] + k * spacing[2] - z) <= half * sz
    ):
        d = float(dose[k, j, i])
        totals[_MIN] = min(totals[_MIN], d)
        totals[_MAX] = max(totals[_MAX], d)


@njit(cache=True, nogil=True, error_model="numpy")
def _deposit(
    area: float,
    x: float,
    y: float,
    z: float,
    width: float,
    height: float,
    dose: NDArray[np.float32],
    origin: Floats,
    spacing: Floats,
    box: Floats,
    low_gy: float,
    per_gy: float,
    mass: Floats,
    step: Floats,
    totals: Floats,
) -> None:
    """Add a cell of some area (square of side ``width``) and height to the histogram, as far as the grid covers it."""
    totals[_VOLUME] += area * height
    xm, lx = _overlap(x, width, box[0], box[3])
    ym, ly = _overlap(y, width, box[1], box[4])
    zm, lz = _overlap(z, height, box[2], box[5])
    if lx <= 0.0 or ly <= 0.0 or lz <= 0.0:
        return
    weight = area * height * (lx / width) * (ly / width) * (lz / height)
    d, gx, gy, gz = _dose_and_gradient(xm, ym, zm, dose, origin, spacing)
    spread = np.sqrt((gx * lx) ** 2 + (gy * ly) ** 2 + (gz * lz) ** 2)
    _spread(weight, (d - low_gy) * per_gy, spread * per_gy, mass, step)
    totals[_COVERED] += weight
    totals[_DOSE_SUM] += weight * d
    totals[_MIN] = min(totals[_MIN], d)
    totals[_MAX] = max(totals[_MAX], d)


@njit(cache=True, nogil=True, error_model="numpy")
def _clip_triangle(px: Floats, py: Floats, f: Floats, out: Floats) -> int:
    """Part of a triangle where a linear function is positive.

    ``out`` receives area fraction, centroid x and y, then the corners (x, y) of the part; returns how many corners.
    """
    n = 0
    for a in range(3):
        b = (a + 1) % 3
        if f[a] > 0.0:
            out[3 + 2 * n], out[4 + 2 * n] = px[a], py[a]
            n += 1
        if (f[a] > 0.0) != (f[b] > 0.0):
            t = f[a] / (f[a] - f[b])
            out[3 + 2 * n], out[4 + 2 * n] = px[a] + t * (px[b] - px[a]), py[a] + t * (py[b] - py[a])
            n += 1
    whole = abs((px[1] - px[0]) * (py[2] - py[0]) - (px[2] - px[0]) * (py[1] - py[0]))
    total, cx, cy = 0.0, 0.0, 0.0
    for k in range(1, n - 1):
        x1, y1, x2, y2 = out[3 + 2 * k], out[4 + 2 * k], out[5 + 2 * k], out[6 + 2 * k]
        area = abs((x1 - out[3]) * (y2 - out[4]) - (x2 - out[3]) * (y1 - out[4]))
        total += area
        cx += area * (out[3] + x1 + x2) / 3.0
        cy += area * (out[4] + y1 + y2) / 3.0
    out[0] = total / whole
    if total > 0.0:
        out[1], out[2] = cx / total, cy / total
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _triangle(
    i: int, j: int, half: int, xa: float, ya: float, step_mm: float, f: Floats, px: Floats, py: Floats, fc: Floats
) -> None:
    """Corners and values of one half of a cell; the diagonal alternates so that no direction is preferred."""
    for corner in range(3):
        if (i + j) % 2 == 0:
            di = (0, 1, 1)[corner] if half == 0 else (0, 1, 0)[corner]
            dj = (0, 0, 1)[corner] if half == 0 else (0, 1, 1)[corner]
        else:
            di = (0, 1, 0)[corner] if half == 0 else (1, 1, 0)[corner]
            dj = (0, 0, 1)[corner] if half == 0 else (0, 1, 1)[corner]
        px[corner], py[corner] = xa + di * step_mm, ya + dj * step_mm
        fc[corner] = f[j + dj, i + di]


@njit(cache=True, nogil=True, error_model="numpy")
def accumulate(
    constant: Floats,
    linear: Floats,
    quadratic: Floats,
    never_grow: bool,
    hole_first: Floats,
    hole_last: Floats,
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    z0_mm: float,
    height_mm: float,
    sublayers: int,
    weight_first: float,
    weight_last: float,
    dose_gy: NDArray[np.float32],
    origin_mm: Floats,
    spacing_mm: Floats,
    low_gy: float,
    bin_gy: float,
    mass: Floats,
    step: Floats,
    totals: Floats,
) -> None:
    """Add one piece of a structure to a histogram, see ``contract.accumulate``."""
    ny, nx = constant.shape
    box = _box(origin_mm, spacing_mm, dose_gy.shape)
    thickness = abs(height_mm) / sublayers
    per_gy = 1.0 / bin_gy
    f = np.empty((ny, nx))
    px, py, fc = np.empty(3), np.empty(3), np.empty(3)
    part = np.empty(3 + 2 * 6)
    # layers -1 and `sublayers` are the two end faces: they count for minimum and maximum only
    for layer in range(-1, sublayers + 1):
        face = layer < 0 or layer == sublayers
        t = min(1.0, max(0.0, (layer + 0.5) / sublayers))
        weight = weight_first + t * (weight_last - weight_first)
        z = z0_mm + t * height_mm
        for j in range(ny):
            for i in range(nx):
                value = constant[j, i] + t * (linear[j, i] + t * quadratic[j, i])
                if never_grow:
                    value = min(value, constant[j, i])
                value = min(value, -(hole_first[j, i] if t < 0.5 else hole_last[j, i]))
                f[j, i] = value
        for j in range(ny - 1):
            for i in range(nx - 1):
                positive = (f[j, i] > 0.0) + (f[j, i + 1] > 0.0) + (f[j + 1, i] > 0.0) + (f[j + 1, i + 1] > 0.0)
                if positive == 0:
                    continue
                xa, ya = x0_mm + i * step_mm, y0_mm + j * step_mm
                if positive == 4:
                    xc, yc = xa + 0.5 * step_mm, ya + 0.5 * step_mm
                    if face:
                        _see(xc, yc, z, dose_gy, origin_mm, spacing_mm, box, totals)
                    else:
                        _deposit(
                            weight * step_mm * step_mm,
                            xc,
                            yc,
                            z,
                            step_mm,
                            thickness,
                            dose_gy,
                            origin_mm,
                            spacing_mm,
                            box,
                            low_gy,
                            per_gy,
                            mass,
                            step,
                            totals,
                        )
                        _see_grid_node(xc, yc, z, step_mm, thickness, dose_gy, origin_mm, spacing_mm, totals)
                    continue
                for half in range(2):
                    _triangle(i, j, half, xa, ya, step_mm, f, px, py, fc)
                    n = _clip_triangle(px, py, fc, part)
                    if n < 3:
                        continue
                    for k in range(n):
                        _see(part[3 + 2 * k], part[4 + 2 * k], z, dose_gy, origin_mm, spacing_mm, box, totals)
                    if not face and part[0] > 0.0:
                        area = 0.5 * part[0] * step_mm * step_mm
                        _deposit(
                            weight * area,
                            part[1],
                            part[2],
                            z,
                            np.sqrt(area),
                            thickness,
                            dose_gy,
                            origin_mm,
                            spacing_mm,
                            box,
                            low_gy,
                            per_gy,
                            mass,
                            step,
                            totals,
                        )


@njit(cache=True, nogil=True, error_model="numpy")
def raster_area(values: Floats, step_mm: float) -> float:
    """Area where a raster is positive, see ``contract.raster_area``."""
    ny, nx = values.shape
    px, py, fc = np.empty(3), np.empty(3), np.empty(3)
    part = np.empty(3 + 2 * 6)
    cells = 0.0
    for j in range(ny - 1):
        for i in range(nx - 1):
            positive = (
                (values[j, i] > 0.0)
                + (values[j, i + 1] > 0.0)
                + (values[j + 1, i] > 0.0)
                + (values[j + 1, i + 1] > 0.0)
            )
            if positive == 4:
                cells += 1.0
            elif positive > 0:
                for half in range(2):
                    _triangle(i, j, half, 0.0, 0.0, 1.0, values, px, py, fc)
                    if _clip_triangle(px, py, fc, part) >= 3:
                        cells += 0.5 * part[0]
    return cells * step_mm * step_mm


@njit(cache=True, nogil=True, error_model="numpy")
def extremes(
    points_mm: Floats, dose_gy: NDArray[np.float32], origin_mm: Floats, spacing_mm: Floats, totals: Floats
) -> None:
    """Let the dose at points count for minimum and maximum, see ``contract.extremes``."""
    box = _box(origin_mm, spacing_mm, dose_gy.shape)
    for p in range(points_mm.shape[0]):
        _see(points_mm[p, 0], points_mm[p, 1], points_mm[p, 2], dose_gy, origin_mm, spacing_mm, box, totals)
