// What several kernels share. No standard headers: NVRTC has none; the host shim brings its own.
#pragma once

typedef long long i64;

// dynamic shared memory: DYNAMIC_SHARED(float, name); in a kernel
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// 1 - 2^-y for y >= 0, relative error below 6e-7: small y keep their digits, y above 126 give 1.
// 1 + f Q(f) = 2^-f on [-1/2, 1/2]: Q of degree 4, least maximum relative error, 4.4e-7.
// Adding 1.5 x 2^23 rounds to a whole number whose low bits are those of the float: no conversion instruction.
__device__ __forceinline__ float one_minus_exp2_minus(float y)
{
    y = y > 126.0f ? 126.0f : y; // fminf would turn NaN into 126
    const float magic = 12582912.0f;
    const float shifted = y + magic;
    const float f = y - (shifted - magic);
    const float scale = __int_as_float((127 << 23) - (__float_as_int(shifted) << 23));
    const float q = fmaf(f, fmaf(f, fmaf(f, fmaf(f, -0.00133335381f, 0.00966624543f), -0.0555050038f), 0.240223512f), -0.693147123f);
    return fmaf(-scale, f * q, 1.0f - scale);
}
