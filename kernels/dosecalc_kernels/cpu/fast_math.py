"""1 - exp(-x) in float32 that LLVM turns into vector code without a vendor's mathematics library."""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float32, njit, types
from numba.extending import intrinsic

LOG2E = float32(1.4426950408889634)
# 1 + f Q(f) = 2**-f on [0, 1]: Q of degree 4, least maximum relative error of 1 - 2**-f, 4e-7
Q0, Q1, Q2 = float32(-0.693146916), float32(0.240213823), float32(-0.0554043383)
Q3, Q4 = float32(0.00933759402), float32(-0.00100035295)


@intrinsic
def _float_from_bits(typingctx: Any, bits: Any) -> Any:
    """Read the 32 bits of an int32 as a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _truncate(typingctx: Any, value: Any) -> Any:
    """Integer part of a float32 as int32; Numba's own conversion goes through int64, which does not vectorise well."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fptosi(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _to_float(typingctx: Any, value: Any) -> Any:
    """An int32 as float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sitofp(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _exponent_bits(typingctx: Any, n: Any) -> Any:
    """Bits of the float32 2**-n for n in 0..126."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        return builder.shl(builder.sub(ir.Constant(i32, 127), args[0]), ir.Constant(i32, 23))

    return types.int32(types.int32), codegen


@njit(inline="always")
def one_minus_exp2_minus(y):
    """1 - 2**-y for float32 y >= 0, relative error below 3e-7: small y keep their digits, y above 126 give 1."""
    y = min(y, float32(126.0))
    n = _truncate(y)
    f = y - _to_float(n)
    scale = _float_from_bits(_exponent_bits(n))
    q = Q0 + f * (Q1 + f * (Q2 + f * (Q3 + f * Q4)))
    return (float32(1) - scale) - scale * (f * q)
