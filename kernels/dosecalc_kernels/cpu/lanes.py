"""Sums over a few neighbouring float32 in one vector: short loops that Numba unrolls before it could vectorise them."""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _corner_sum(builder: Any, data: Any, offset: Any, steps: tuple[Any, Any], weights: list[Any], lanes: int) -> Any:
    """sum over the four corners of a cell of weight x lanes; each corner holds its lanes side by side."""
    vector = ir.VectorType(ir.FloatType(), lanes)
    corners = [
        offset,
        builder.add(offset, steps[0]),
        builder.add(offset, steps[1]),
        builder.add(builder.add(offset, steps[0]), steps[1]),
    ]
    total = None
    for corner, weight in zip(corners, weights, strict=True):
        place = builder.bitcast(builder.gep(data, [corner]), vector.as_pointer())
        values = builder.load(place, align=4)
        term = builder.fmul(values, _spread(builder, weight, lanes), flags=("contract",))
        total = term if total is None else builder.fadd(total, term, flags=("contract",))
    return total


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    vector = ir.VectorType(ir.FloatType(), lanes)
    out = ir.Constant(vector, ir.Undefined)
    for i in range(lanes):
        out = builder.insert_element(out, value, ir.Constant(ir.IntType(32), i))
    return out


def _add_lanes(builder: Any, vector: Any, lanes: int) -> Any:
    """The sum of all lanes, halves first, always in the same order."""
    parts = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(lanes)]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [builder.fadd(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
    return parts[0]


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _shape_sum(lanes: int) -> Any:
    @intrinsic
    def shape_sum(
        typingctx: Any, primary: Any, p_at: Any, p_weights: Any, scatter: Any, s_at: Any, s_weights: Any,
        table_steps: Any, maps: Any, m_at: Any, m_weights: Any, map_steps: Any,
    ) -> Any:  # fmt: skip
        """sum_k (primary_k + scatter_k) map_k, each interpolated between the four corners of its cell."""
        offset, quartet = types.uint64, types.UniTuple(types.float32, 4)
        pair = types.UniTuple(types.uint64, 2)
        signature = types.float32(primary, offset, quartet, scatter, offset, quartet, pair, maps, offset, quartet, pair)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args

            def interpolated(n: int, steps: int) -> Any:
                step = tuple(builder.extract_value(args[steps], i) for i in (0, 1))
                weights = [builder.extract_value(args[n + 2], i) for i in range(4)]
                data = _data(context, builder, kinds[n], args[n])
                return _corner_sum(builder, data, args[n + 1], step, weights, lanes)

            weight = builder.fadd(interpolated(0, 6), interpolated(3, 6))
            return _add_lanes(builder, builder.fmul(weight, interpolated(7, 10)), lanes)

        return signature, codegen

    return shape_sum


#: of all eight shapes, and of the four wide ones
shape_sum_8 = _shape_sum(8)
shape_sum_4 = _shape_sum(4)


@intrinsic
def trilinear_4(typingctx: Any, data: Any, at: Any, weights: Any, steps: Any, lower: Any, upper: Any) -> Any:
    """Four values side by side, interpolated between the corners of a cell, as a tuple of float32.

    The cell's lower face has its corners at ``at`` and the two ``steps``; its upper face follows four values later.
    """
    quartet = types.UniTuple(types.float32, 4)
    signature = quartet(data, types.uint64, quartet, types.UniTuple(types.uint64, 2), types.float32, types.float32)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _data(context, builder, signature.args[0], args[0])
        steps = tuple(builder.extract_value(args[3], i) for i in (0, 1))
        corners = [builder.extract_value(args[2], i) for i in range(4)]
        total = None
        for face, share in ((0, args[4]), (4, args[5])):
            offset = builder.add(args[1], ir.Constant(ir.IntType(64), face))
            part = _corner_sum(builder, pointer, offset, steps, corners, 4)
            part = builder.fmul(part, _spread(builder, share, 4))
            total = part if total is None else builder.fadd(total, part)
        values = [builder.extract_element(total, ir.Constant(ir.IntType(32), i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, values)

    return signature, codegen
