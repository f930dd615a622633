"""Line integrals of densities along eight rays at a time, voxel by voxel and exactly (Amanatides and Woo 1987).

The way from face to face is a chain in which each step waits for the one before; eight rays side by side hide that.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

#: rays side by side
LANES = 8
#: rows of a ray's numbers: next faces across x, y, z; from face to face; where it is; where it ends; the limit
_NEXT, _OVER, _AT, _END, _LIMIT, _ROWS = 0, 3, 6, 7, 8, 9
#: how much before its end a ray stops, in its own length: a face there must not lead out of the volume by rounding
_SHORT = 1e-10
#: instead of a length of nothing along an axis
_LEAST = 1e-30

_DOUBLES, _FLOATS, _INTS = (ir.VectorType(t, LANES) for t in (ir.DoubleType(), ir.FloatType(), ir.IntType(64)))


@njit
def scratch():
    """Room for eight rays: `ways` and `cells`, which only this module reads, and what it finds, float64 [2, LANES]."""
    return np.empty((_ROWS, LANES)), np.empty((4, LANES), np.int64), np.empty((2, LANES))


@njit(parallel=True, error_model="numpy", cache=True)
def side_by_side(a, b):
    """Two volumes float32 [z, y, x] as one, flat, with the two values of a voxel side by side."""
    nz, ny, nx = a.shape
    out = np.empty((nz, ny, nx, 2), np.float32)
    for z in prange(nz):
        out[z, :, :, 0] = a[z]
        out[z, :, :, 1] = b[z]
    return out.ravel()


def _row(builder: Any, data: Any, n: int, vector: Any) -> Any:
    """Load a row of eight."""
    at = builder.gep(data, [ir.Constant(ir.IntType(64), n * LANES)])
    return builder.load(builder.bitcast(at, vector.as_pointer()), align=8)


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _least(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _gathered(builder: Any, data: Any, cells: Any, values: int) -> list[Any]:
    """The densities of eight voxels, as doubles; voxels hold them side by side."""
    item: Any = ir.FloatType() if values == 1 else ir.IntType(64)
    found = ir.Constant(ir.VectorType(item, LANES), ir.Undefined)
    pointer = builder.bitcast(data, item.as_pointer())
    for lane in range(LANES):
        n = ir.Constant(ir.IntType(32), lane)
        value = builder.load(builder.gep(pointer, [builder.extract_element(cells, n)]), align=4)
        found = builder.insert_element(found, value, n)
    if values == 1:
        return [builder.fpext(found, _DOUBLES)]
    both = builder.bitcast(found, ir.VectorType(ir.FloatType(), 2 * LANES))
    nothing = ir.Constant(both.type, ir.Undefined)

    def every_other(first: int) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(first, 2 * LANES, 2)))
        return builder.fpext(builder.shuffle_vector(both, nothing, mask), _DOUBLES)

    return [every_other(0), every_other(1)]


def _march(values: int) -> Any:
    @intrinsic
    def march(typingctx: Any, volume: Any, ways: Any, cells: Any, sums: Any) -> Any:
        """Follow eight rays to their ends, or until the first sums of all of them are beyond their limits."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data, way, cell, out = (_data(context, builder, k, a) for k, a in zip(signature.args, args, strict=True))
            over = [_row(builder, way, _OVER + i, _DOUBLES) for i in range(3)]
            end, limit = (_row(builder, way, n, _DOUBLES) for n in (_END, _LIMIT))
            steps = [_row(builder, cell, 1 + i, _INTS) for i in range(3)]
            still = ir.Constant(_DOUBLES, None)
            before = builder.block
            loop, after = builder.append_basic_block("march"), builder.append_basic_block("there")
            starts = [_row(builder, way, n, _DOUBLES) for n in (*range(3), _AT)]
            starts += [still] * values + [_row(builder, cell, 0, _INTS)]
            builder.branch(loop)
            builder.position_at_end(loop)
            phis = [builder.phi(s.type) for s in starts]
            for phi, s in zip(phis, starts, strict=True):
                phi.add_incoming(s, before)
            x, y, z, at = phis[:4]
            found, here = phis[4:-1], phis[-1]
            x_before_y = builder.fcmp_ordered("<=", x, y)
            face = _least(builder, builder.select(x_before_y, x, y), z)
            to = _least(builder, face, end)
            length = builder.fsub(to, at)
            densities = _gathered(builder, data, here, values)
            sums = [
                builder.fadd(s, builder.fmul(length, d, flags=("contract",)), flags=("contract",))
                for s, d in zip(found, densities, strict=True)
            ]
            going = builder.and_(builder.fcmp_ordered("<", face, end), builder.fcmp_ordered("<=", sums[0], limit))
            in_z = builder.fcmp_ordered("==", face, z)
            in_x = builder.and_(builder.not_(in_z), x_before_y)
            in_y = builder.not_(builder.or_(in_z, in_x))
            on = [builder.and_(going, m) for m in (in_x, in_y, in_z)]
            moved = [builder.select(m, builder.fadd(p, d), p) for m, p, d in zip(on, (x, y, z), over, strict=True)]
            next_cell = here
            for m, s in zip(on, steps, strict=True):
                next_cell = builder.select(m, builder.add(here, s), next_cell)
            for phi, value in zip(phis, [*moved, to, *sums, next_cell], strict=True):
                phi.add_incoming(value, builder.block)
            any_going = builder.icmp_unsigned(
                "!=", builder.bitcast(going, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0)
            )
            builder.cbranch(any_going, loop, after)
            builder.position_at_end(after)
            for n, value in enumerate(sums):
                to_row = builder.gep(out, [ir.Constant(ir.IntType(64), n * LANES)])
                builder.store(value, builder.bitcast(to_row, _DOUBLES.as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(volume, ways, cells, sums), codegen

    return march


_march_1, _march_2 = _march(1), _march(2)


@njit(error_model="numpy", inline="always")
def _inside(start, over, lower, upper):
    """Shares of a way, of which ``over`` is the inverse length along an axis, at which it enters and leaves a range."""
    a, b = (lower - start) * over, (upper - start) * over
    return min(a, b), max(a, b)


@njit(error_model="numpy", inline="always")
def _axis_out(ways, cells, axis, lane, start, way, over, first, origin, spacing, n, stride):
    """Numbers of one axis of a ray: the next face, from face to face, the step; returns what the first voxel adds."""
    # a hair inside, so that the first voxel is the one that the ray enters
    place = (start + (first + 1e-9) * way - origin) / spacing + 0.5
    i = min(max(np.floor(place), 0.0), n - 1.0)
    half = 0.5 * spacing if over > 0.0 else -0.5 * spacing
    ways[_NEXT + axis, lane] = (origin + i * spacing + half - start) * over
    ways[_OVER + axis, lane] = abs(spacing * over)
    cells[1 + axis, lane] = stride if over > 0.0 else -stride
    return i * stride


@njit(error_model="numpy", inline="always")
def _set_out(ways, cells, lane, start, way, shape, origin, spacing, limit):
    """Numbers of one ray: where it enters the volume, its first voxel, the faces that come next."""
    nz, ny, nx = shape
    over_x = 1.0 / (way[0] if abs(way[0]) > _LEAST else _LEAST)
    over_y = 1.0 / (way[1] if abs(way[1]) > _LEAST else _LEAST)
    over_z = 1.0 / (way[2] if abs(way[2]) > _LEAST else _LEAST)
    ax, bx = _inside(start[0], over_x, origin[0] - 0.5 * spacing[0], origin[0] + (nx - 0.5) * spacing[0])
    ay, by = _inside(start[1], over_y, origin[1] - 0.5 * spacing[1], origin[1] + (ny - 0.5) * spacing[1])
    az, bz = _inside(start[2], over_z, origin[2] - 0.5 * spacing[2], origin[2] + (nz - 0.5) * spacing[2])
    first, last = max(0.0, ax, ay, az), min(1.0, bx, by, bz) - _SHORT
    ways[_AT, lane], ways[_END, lane], ways[_LIMIT, lane] = first, max(first, last), limit
    cell = _axis_out(ways, cells, 0, lane, start[0], way[0], over_x, first, origin[0], spacing[0], nx, 1)
    cell += _axis_out(ways, cells, 1, lane, start[1], way[1], over_y, first, origin[1], spacing[1], ny, nx)
    cell += _axis_out(ways, cells, 2, lane, start[2], way[2], over_z, first, origin[2], spacing[2], nz, nx * ny)
    cells[0, lane] = int(cell)


@njit(error_model="numpy")
def trace_pairs(pairs, shape, origin_mm, spacing_mm, start_mm, places_mm, ways, cells, means):
    """Mean densities on straight ways from one place to up to eight others.

    Parameters
    ----------
    pairs : float32 [2 z y x]
        Two densities of each voxel, see `side_by_side`.
    shape : (nz, ny, nx)
    origin_mm, spacing_mm, start_mm : float64 [3]
        Of the volume, and where the rays begin, inside it or outside.
    places_mm : float64 [1 to LANES, 3]
        Where they end: inside the volume.
    ways, cells, means
        From `scratch`; ``means``, [2, LANES], is filled: line integral over length, with nothing outside the volume.
    """
    start = (start_mm[0], start_mm[1], start_mm[2])
    origin, spacing = (origin_mm[0], origin_mm[1], origin_mm[2]), (spacing_mm[0], spacing_mm[1], spacing_mm[2])
    for lane in range(LANES):
        m = min(lane, len(places_mm) - 1)
        way = (places_mm[m, 0] - start[0], places_mm[m, 1] - start[1], places_mm[m, 2] - start[2])
        _set_out(ways, cells, lane, start, way, shape, origin, spacing, np.inf)
    _march_2(pairs, ways, cells, means)


@njit(error_model="numpy")
def trace_back(density, shape, origin_mm, spacing_mm, source_mm, places_mm, limit_gcm2, ways, cells, means):
    """Mean density on straight ways from up to eight places in a volume back to a source, as far as a mass path.

    Parameters
    ----------
    density : float32 [z y x]
        g/cm3, flat.
    shape, origin_mm, spacing_mm, source_mm, places_mm, ways, cells
        As for `trace_pairs`, but that the rays go the other way.
    limit_gcm2 : float
        Rays may end where their path is longer than this.
    means
        From `scratch`; the first row is filled: the path over the whole way's length.
    """
    source = (source_mm[0], source_mm[1], source_mm[2])
    origin, spacing = (origin_mm[0], origin_mm[1], origin_mm[2]), (spacing_mm[0], spacing_mm[1], spacing_mm[2])
    for lane in range(LANES):
        m = min(lane, len(places_mm) - 1)
        start = (places_mm[m, 0], places_mm[m, 1], places_mm[m, 2])
        way = (source[0] - start[0], source[1] - start[1], source[2] - start[2])
        limit = 10.0 * limit_gcm2 / math.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2)
        _set_out(ways, cells, lane, start, way, shape, origin, spacing, limit)
    _march_1(density, ways, cells, means)
