"""Vectors of neighbouring points for `dosecalc_kernels.cpu.gamma_near`, in LLVM's own terms.

Compilers do not keep the lanes in registers through the loop over samples by themselves.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: points in a vector
LANES = 4

_I32, _I64, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)


class _Code:
    """Instructions about vectors of `LANES` doubles."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        name = f"llvm.fmuladd.v{LANES}f64"
        self._fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)

    def data(self, n: int) -> Any:
        """Where the array that is argument ``n`` begins."""
        array = self.context.make_array(self.signature.args[n])
        return array(self.context, self.builder, self.args[n]).data

    def at(self, pointer: Any, index: Any) -> Any:
        return self.builder.gep(pointer, [index])

    def load(self, pointer: Any) -> Any:
        value = self.builder.load(self.builder.bitcast(pointer, _VECTOR.as_pointer()))
        value.align = 8
        return value

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, _VECTOR.as_pointer())).align = 8

    def splat(self, value: Any) -> Any:
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, LANES), None))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._fma, [a, b, c])

    def between(self, a: Any, b: Any, share: Any) -> Any:
        return self.fma(share, self.builder.fsub(b, a), a)

    def least_over(self, first: Any, last: Any, best: Any, gamma2: Callable[[Any], Any]) -> None:
        """Lower the vector at ``best`` to the least squared gamma of the samples ``first`` to ``last``."""
        builder = self.builder
        start = self.load(best)
        before, loop, after = builder.block, builder.append_basic_block("samples"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", first, last), loop, after)
        builder.position_at_end(loop)
        s, least = builder.phi(_I64), builder.phi(_VECTOR)
        s.add_incoming(first, before)
        least.add_incoming(start, before)
        value = gamma2(s)
        lower = builder.select(builder.fcmp_ordered("<", value, least), value, least)
        following = builder.add(s, ir.Constant(_I64, 1))
        s.add_incoming(following, loop)
        least.add_incoming(lower, loop)
        builder.cbranch(builder.icmp_signed("<", following, last), loop, after)
        builder.position_at_end(after)
        found = builder.phi(_VECTOR)
        found.add_incoming(start, before)
        found.add_incoming(lower, loop)
        self.store(found, best)


@intrinsic
def visit_volume(
    typingctx: Any, dose: Any, base: Any, row: Any, plane: Any, at: Any, per_dose: Any, own: Any, corner: Any,
    weight: Any, lower: Any, upper: Any, share: Any, r2: Any, first: Any, last: Any, best: Any,
) -> Any:  # fmt: skip
    """Lower ``best`` [at : at + LANES] to the least squared gamma of samples in a volume.

    ``dose`` [n] flat, ``base`` the index of the first point's row, ``row`` and ``plane`` the distances of neighbours
    along y and z; ``per_dose`` the inverse criteria, ``own`` the points' own doses in criteria, from ``at`` on as
    ``best``; by sample:
    ``corner`` to its lowest row, ``weight`` [4] of the rows about it, ``lower`` and ``upper`` to its nodes in a row and
    the ``share`` of the way between them; ``r2``.
    """
    index = types.int64
    signature = types.void(
        dose, index, index, index, index, per_dose, own, corner, weight, lower, upper, share, r2, index, index, best
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = _Code(context, builder, signature, args)
        origin, row, plane = code.at(code.data(0), args[1]), args[2], args[3]
        per_dose, own, best = (code.at(code.data(n), args[4]) for n in (5, 6, 15))
        per_dose, own = code.load(per_dose), builder.fneg(code.load(own))
        corners, weights, low, high, shares, lengths = (code.data(n) for n in range(7, 13))
        aside = [ir.Constant(_I64, 0), row, plane, builder.add(plane, row)]

        def gamma2(s: Any) -> Any:
            corner = code.at(origin, builder.load(code.at(corners, s)))
            weight = code.at(weights, builder.mul(s, ir.Constant(_I64, 4)))
            each = [code.splat(builder.load(code.at(weight, ir.Constant(_I64, c)))) for c in range(4)]
            sums = []
            for nodes in (low, high):
                node = code.at(corner, builder.load(code.at(nodes, s)))
                total = builder.fmul(each[0], code.load(node))
                for c in range(1, 4):
                    total = code.fma(each[c], code.load(code.at(node, aside[c])), total)
                sums.append(total)
            value = code.between(*sums, code.splat(builder.load(code.at(shares, s))))
            apart = code.fma(value, per_dose, own)
            return code.fma(apart, apart, code.splat(builder.load(code.at(lengths, s))))

        code.least_over(args[13], args[14], best, gamma2)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def visit_plane(
    typingctx: Any, dose: Any, base: Any, row: Any, at: Any, per_dose: Any, own: Any, along_y: Any, share_y: Any,
    lower: Any, upper: Any, share_x: Any, r2: Any, first: Any, last: Any, best: Any,
) -> Any:  # fmt: skip
    """Lower ``best`` [at : at + LANES] to the least squared gamma of samples in a plane.

    ``dose`` [n] flat, ``base`` the index of the first point's row, ``row`` the distance of neighbours along y;
    ``at``, ``per_dose`` and ``own`` as in `visit_volume`; by sample: ``along_y`` to its lower row, ``lower`` and
    ``upper`` to its nodes in the row, and the shares between them; ``r2``.
    """
    index = types.int64
    signature = types.void(
        dose, index, index, index, per_dose, own, along_y, share_y, lower, upper, share_x, r2, index, index, best
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = _Code(context, builder, signature, args)
        origin, row = code.at(code.data(0), args[1]), args[2]
        per_dose, own, best = (code.at(code.data(n), args[3]) for n in (4, 5, 14))
        per_dose, own = code.load(per_dose), builder.fneg(code.load(own))
        tables = [code.data(n) for n in range(6, 12)]

        def gamma2(s: Any) -> Any:
            along, at_y, low, high, at_x, length2 = (builder.load(code.at(t, s)) for t in tables)
            corner = code.at(origin, along)
            values = []
            for aside in (ir.Constant(_I64, 0), row):
                v0, v1 = (code.load(code.at(corner, builder.add(aside, x))) for x in (low, high))
                values.append(code.between(v0, v1, code.splat(at_x)))
            apart = code.fma(code.between(*values, code.splat(at_y)), per_dose, own)
            return code.fma(apart, apart, code.splat(length2))

        code.least_over(args[12], args[13], best, gamma2)
        return context.get_dummy_value()

    return signature, codegen
