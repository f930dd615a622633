"""DVH sampling on the CPU: distances to contours, and the dose-volume histogram of what they enclose.

Single-threaded on purpose: a structure takes milliseconds, so callers run structures side by side (the kernels release
the GIL) and the bits do not depend on the number of threads. Signatures and definitions: ``dosecalc_kernels.contract``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: raster nodes per side of a block whose candidates are sought together
_BLOCK = 4
#: consecutive segments that are passed over together
_RUN = 16
#: where the cuts of a triangle begin
_CUTS = 11
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
def inside(x0_mm: float, y0_mm: float, step_mm: float, nx: int, ny: int, segments_mm: Floats) -> NDArray[np.bool_]:
    """Even-odd rule at the nodes of a raster, see ``contract.inside``."""
    toggles = np.zeros((ny, nx + 1), dtype=np.int32)
    for k in range(segments_mm.shape[0]):
        xa, ya, xb, yb = segments_mm[k, 0], segments_mm[k, 1], segments_mm[k, 2], segments_mm[k, 3]
        if ya > yb:
            xa, ya, xb, yb = xb, yb, xa, ya
        # half open, so that a vertex on a row counts once
        first = max(0, int(np.ceil((ya - y0_mm) / step_mm)))
        for j in range(first, ny):
            y = y0_mm + j * step_mm
            if y >= yb:
                break
            if y < ya:
                continue
            x = xa + (y - ya) / (yb - ya) * (xb - xa)
            i = int(np.ceil((x - x0_mm) / step_mm))
            toggles[j, min(nx, max(0, i))] += 1
    within = np.empty((ny, nx), dtype=np.bool_)
    for j in range(ny):
        count = 0
        for i in range(nx):
            count += toggles[j, i]
            within[j, i] = count % 2 == 1
    return within


@njit(cache=True, nogil=True, error_model="numpy")
def _runs(segments: Floats) -> Floats:
    """Discs (x, y, radius) that hold each run of consecutive segments: what misses the disc misses the run."""
    m = segments.shape[0]
    discs = np.empty(((m + _RUN - 1) // _RUN, 3))
    for run in range(discs.shape[0]):
        first, last = run * _RUN, min(m, (run + 1) * _RUN)
        x_low, x_high, y_low, y_high = np.inf, -np.inf, np.inf, -np.inf
        for k in range(first, last):
            x_low = min(x_low, segments[k, 0], segments[k, 2])
            x_high = max(x_high, segments[k, 0], segments[k, 2])
            y_low = min(y_low, segments[k, 1], segments[k, 3])
            y_high = max(y_high, segments[k, 1], segments[k, 3])
        discs[run, 0], discs[run, 1] = 0.5 * (x_low + x_high), 0.5 * (y_low + y_high)
        discs[run, 2] = 0.5 * np.hypot(x_high - x_low, y_high - y_low) * (1.0 + 1e-9) + 1e-9
    return discs


@njit(cache=True, nogil=True, error_model="numpy")
def _centre_distance(x: float, y: float, disc: Floats) -> float:
    dx, dy = x - disc[0], y - disc[1]
    return float(np.sqrt(dx * dx + dy * dy))


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest_segment(x: float, y: float, segments: Floats, discs: Floats) -> tuple[float, int]:
    """Distance of a point to the nearest segment, and which one."""
    nearest = np.inf
    for run in range(discs.shape[0]):
        nearest = min(nearest, _centre_distance(x, y, discs[run]) + discs[run, 2])
    best, who = np.inf, 0
    for run in range(discs.shape[0]):
        if _centre_distance(x, y, discs[run]) - discs[run, 2] > nearest:
            continue
        for k in range(run * _RUN, min(segments.shape[0], (run + 1) * _RUN)):
            d2 = _squared_distance(x, y, segments[k])
            if d2 < best:
                best, who = d2, k
        nearest = min(nearest, np.sqrt(best))
    return np.sqrt(best), who


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(
    x0: float, y0: float, step: float, segments: Floats, band: float, wanted: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int32]]:
    """Distance to the nearest segment, and which one; for blocks that are neither wanted nor near, a lower bound."""
    ny, nx = wanted.shape
    distance = np.empty((ny, nx))
    owner = np.empty((ny, nx), dtype=np.int32)
    m = segments.shape[0]
    discs = _runs(segments)
    candidates = np.empty(m, dtype=np.int32)
    half = step * (_BLOCK - 1) / 2.0 * np.sqrt(2.0)
    for j0 in range(0, ny, _BLOCK):
        for i0 in range(0, nx, _BLOCK):
            xc = x0 + (i0 + (_BLOCK - 1) / 2.0) * step
            yc = y0 + (j0 + (_BLOCK - 1) / 2.0) * step
            nearest, nearest_one = _nearest_segment(xc, yc, segments, discs)
            n = 0
            exact = nearest - half <= band
            for j in range(j0, min(ny, j0 + _BLOCK)):
                for i in range(i0, min(nx, i0 + _BLOCK)):
                    exact |= wanted[j, i]
            if exact:
                reach = nearest + 2.0 * half + 1e-9
                for run in range(discs.shape[0]):
                    if _centre_distance(xc, yc, discs[run]) - discs[run, 2] > reach:
                        continue
                    for k in range(run * _RUN, min(m, (run + 1) * _RUN)):
                        if _squared_distance(xc, yc, segments[k]) <= reach * reach:
                            candidates[n] = k
                            n += 1
            for j in range(j0, min(ny, j0 + _BLOCK)):
                for i in range(i0, min(nx, i0 + _BLOCK)):
                    best = np.inf
                    who = nearest_one
                    for c in range(n):
                        d2 = _squared_distance(x0 + i * step, y0 + j * step, segments[candidates[c]])
                        if d2 < best:
                            best = d2
                            who = candidates[c]
                    distance[j, i] = np.sqrt(best) if n > 0 else nearest - half
                    owner[j, i] = who
    return distance, owner


@njit(cache=True, nogil=True, error_model="numpy")
def signed_distance(
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    segments_mm: Floats,
    within: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    band_mm: float,
) -> tuple[Floats, Floats, Floats]:
    """Signed distance to contours and the direction across them, see ``contract.signed_distance``."""
    ny, nx = within.shape
    distance, owner = _nearest(x0_mm, y0_mm, step_mm, segments_mm, band_mm, wanted)
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
            if not within[j, i]:
                distance[j, i] = -distance[j, i]
    return distance, ux, uy


@njit(cache=True, nogil=True, error_model="numpy")
def _power(
    x: float, y: float, ux: float, uy: float, segments: Floats, discs: Floats, radius: float
) -> tuple[float, float, float]:
    """Power of a point with respect to contours along a line, and where the chord begins and ends: both 0 at a miss."""
    huge = np.inf
    ahead1, ahead2, behind1, behind2 = huge, huge, huge, huge  # the two nearest crossings on either side
    count = 0
    for run in range(discs.shape[0]):
        if abs((discs[run, 0] - x) * uy - (discs[run, 1] - y) * ux) > discs[run, 2]:
            continue
        for k in range(run * _RUN, min(segments.shape[0], (run + 1) * _RUN)):
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
    d = _nearest_segment(x, y, segments, discs)[0]
    return -d * (d + 2.0 * radius), 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def chord_power(
    x_mm: Floats, y_mm: Floats, ux: Floats, uy: Floats, segments_mm: Floats, radius_mm: float
) -> tuple[Floats, Floats, Floats]:
    """Power of points with respect to contours, see ``contract.chord_power``."""
    n = x_mm.shape[0]
    values, begin, end = np.empty(n), np.empty(n), np.empty(n)
    discs = _runs(segments_mm)
    for p in range(n):
        values[p], begin[p], end[p] = _power(x_mm[p], y_mm[p], ux[p], uy[p], segments_mm, discs, radius_mm)
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
def _indices(centre: float, width: float, origin: float, spacing: float, n: int) -> tuple[int, int]:
    """First and last index of the voxel centres that lie in an interval; none when the first is the larger."""
    half = (0.5 + 1e-6) * width  # a centre on the wall between two cells must not fall between them
    first = int(np.ceil(max((centre - half - origin) / spacing, 0.0)))
    last = int(np.floor(min(max((centre + half - origin) / spacing, -1.0), n - 1.0)))
    return first, last


@njit(cache=True, nogil=True, error_model="numpy")
def _level(
    j: int,
    i: int,
    t: float,
    constant: Floats,
    linear: Floats,
    quadratic: Floats,
    never_grow: bool,
    hole_first: Floats,
    hole_last: Floats,
) -> float:
    """The piece's level set at a raster node: positive inside."""
    value = constant[j, i] + t * (linear[j, i] + t * quadratic[j, i])
    if never_grow:
        value = min(value, constant[j, i])
    return float(min(value, -(hole_first[j, i] if t < 0.5 else hole_last[j, i])))


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
    xm, ym, zm, lx, ly, lz, weight = x, y, z, width, width, height, area * height
    half = 0.5 * width
    if not (
        x - half >= box[0]
        and x + half <= box[3]
        and y - half >= box[1]
        and y + half <= box[4]
        and z - 0.5 * height >= box[2]
        and z + 0.5 * height <= box[5]
    ):
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

    ``out`` receives area fraction, centroid x and y, then the corners (x, y) of the part, and from ``_CUTS`` on the two
    places where the triangle's edges are cut; returns how many corners.
    """
    n, cuts = 0, 0
    for a in range(3):
        b = (a + 1) % 3
        if f[a] > 0.0:
            out[3 + 2 * n], out[4 + 2 * n] = px[a], py[a]
            n += 1
        if (f[a] > 0.0) != (f[b] > 0.0):
            t = f[a] / (f[a] - f[b])
            out[3 + 2 * n], out[4 + 2 * n] = px[a] + t * (px[b] - px[a]), py[a] + t * (py[b] - py[a])
            out[_CUTS + 2 * cuts], out[_CUTS + 1 + 2 * cuts] = out[3 + 2 * n], out[4 + 2 * n]
            n += 1
            cuts += 1
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
    face_first: bool,
    face_last: bool,
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
    part = np.empty(_CUTS + 4)
    # layers -1 and `sublayers` are the end faces: they count for minimum and maximum only
    for layer in range(-1 if face_first else 0, sublayers + 1 if face_last else sublayers):
        face = layer < 0 or layer == sublayers
        t = min(1.0, max(0.0, (layer + 0.5) / sublayers))
        weight = weight_first + t * (weight_last - weight_first)
        z = z0_mm + t * height_mm
        k0, k1 = _indices(z, thickness, origin_mm[2], spacing_mm[2], dose_gy.shape[0])
        for j in range(ny):
            for i in range(nx):
                f[j, i] = _level(j, i, t, constant, linear, quadratic, never_grow, hole_first, hole_last)
        for j in range(ny - 1):
            for i in range(nx - 1):
                positive = (f[j, i] > 0.0) + (f[j, i + 1] > 0.0) + (f[j + 1, i] > 0.0) + (f[j + 1, i + 1] > 0.0)
                if positive == 0:
                    continue
                xa, ya = x0_mm + i * step_mm, y0_mm + j * step_mm
                xc, yc = xa + 0.5 * step_mm, ya + 0.5 * step_mm
                if not face:
                    # a trilinear dose has its inner extremes at the voxels' centres
                    i0, i1 = _indices(xc, step_mm, origin_mm[0], spacing_mm[0], dose_gy.shape[2])
                    j0, j1 = _indices(yc, step_mm, origin_mm[1], spacing_mm[1], dose_gy.shape[1])
                    if i0 <= i1 and j0 <= j1 and k0 <= k1:
                        for dk, dj, di in np.ndindex((k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)):
                            gi, gj, gk = i0 + di, j0 + dj, k0 + dk
                            at = min(1.0, max(0.0, (origin_mm[2] + gk * spacing_mm[2] - z0_mm) / height_mm))
                            u = (origin_mm[0] + gi * spacing_mm[0] - xa) / step_mm
                            v = (origin_mm[1] + gj * spacing_mm[1] - ya) / step_mm
                            level = 0.0
                            for corner in range(4):
                                ci, cj = corner % 2, corner // 2
                                level += ((u if ci else 1.0 - u) * (v if cj else 1.0 - v)) * _level(
                                    j + cj, i + ci, at, constant, linear, quadratic, never_grow, hole_first, hole_last
                                )
                            if level > 0.0:
                                totals[_MIN] = min(totals[_MIN], dose_gy[gk, gj, gi])
                                totals[_MAX] = max(totals[_MAX], dose_gy[gk, gj, gi])
                if positive == 4:
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
                    continue
                for half in range(2):
                    _triangle(i, j, half, xa, ya, step_mm, f, px, py, fc)
                    n = _clip_triangle(px, py, fc, part)
                    if n < 3:
                        continue
                    if min(fc[0], fc[1], fc[2]) <= 0.0:
                        for k in range(_CUTS, _CUTS + 4, 2):
                            _see(part[k], part[k + 1], z, dose_gy, origin_mm, spacing_mm, box, totals)
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
    part = np.empty(_CUTS + 4)
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
