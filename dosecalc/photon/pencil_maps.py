"""Fluence maps convolved with the lateral shapes of pencil kernels, beside and inside the field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft2

from dosecalc.photon.fluence import FluenceMap
from dosecalc.photon.pencil_basis import WIDE
from dosecalc_kernels.registry import Backend, backend

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

#: pixels of the fluence map in one pixel of the wide shapes' map
_COARSE = 4
#: how far beside the fluence map, which goes 20 mm beyond the open field, the narrow shapes are followed: of the widest
#: of them less than 0.2 % lies beyond
NEAR_MARGIN_MM = 25.0
#: FFT lengths are multiples of this, so that the views of an arc share their kernels' transforms
_LENGTH_STEP = 32


@dataclass(frozen=True, eq=False)
class BasisMaps:
    """Convolved fluence of one view, isocentre plane, BLD frame.

    Parameters
    ----------
    near : float32 [rows, columns, shapes], on the device
        Every shape, within `NEAR_MARGIN_MM` of the fluence map.
    far : float32 [rows, columns, wide shapes], on the device
        The wide shapes, as far as was asked for.
    near_first_mm, far_first_mm : (x, y)
        Centre of the first pixel.
    near_pitch_mm, far_pitch_mm : float
    """

    near: Any
    far: Any
    near_first_mm: tuple[float, float]
    far_first_mm: tuple[float, float]
    near_pitch_mm: float
    far_pitch_mm: float


def basis_maps(
    fluence: FluenceMap,
    rates_cm: FloatArray,
    blur_mm: tuple[float, float],
    reach_mm: tuple[float, float],
    sad_mm: float,
    device: Backend | None = None,
) -> BasisMaps:
    """Convolve a fluence map with shapes a exp(-a r)/(2 pi r).

    Parameters
    ----------
    fluence : FluenceMap
    rates_cm : float64 [n]
        a, 1/cm, the `WIDE` smallest first.
    blur_mm : (x, y)
        Sides of a rectangle over which fluence is averaged before.
    reach_mm : (x, y)
        How far from the axis the maps are needed.
    sad_mm : float
        Off the axis, a piece of the plane holds fewer photons of an even beam by the cube of the cosine.
    device : Backend, optional
        Where maps are convolved, and then lie; the CPU by default.
    """
    device = device or backend("cpu")
    xp = device.xp
    pitch = fluence.pitch_mm
    half = [len(axis) // 2 for axis in (fluence.x_mm, fluence.y_mm)]
    margin = round(NEAR_MARGIN_MM / pitch)
    # whole coarse pixels, with their edges on the axis
    near_half = [_up(h + margin, _COARSE) for h in half]
    coarse = pitch * _COARSE
    far_half = [max(n // _COARSE, int(np.ceil(r / coarse))) + 1 for n, r in zip(near_half, reach_mm, strict=True)]

    box = [device.keep(_box, h, b / pitch) for h, b in zip(half, blur_mm, strict=True)]
    values, x_mm, y_mm = (device.put(a) for a in (fluence.values, fluence.x_mm, fluence.y_mm))
    cosine = 1 / xp.sqrt(1 + (x_mm[None] ** 2 + y_mm[:, None] ** 2) / sad_mm**2)
    blurred = (box[1] @ (values * cosine**3) @ box[0].T).astype(np.float32)
    # the box adds a few pixels beside the map
    side = [len(b) // 2 for b in box]
    narrow = _convolve(device, blurred, side, near_half, pitch / 10, tuple(rates_cm[WIDE:]), decayed=margin)
    block_half = [_up(s, _COARSE) // _COARSE for s in side]
    blocks = _blocks(xp, blurred, block_half)
    wide = _convolve(device, blocks, block_half, far_half, coarse / 10, tuple(rates_cm[:WIDE]), decayed=None)

    near = xp.empty((2 * near_half[1], 2 * near_half[0], len(rates_cm)), np.float32)
    rise = [device.keep(_interpolation, n, f) for n, f in zip(near_half, far_half, strict=True)]
    near[..., :WIDE] = (rise[1] @ wide @ rise[0].T).transpose(1, 2, 0)
    near[..., WIDE:] = narrow.transpose(1, 2, 0)
    return BasisMaps(
        near,
        xp.ascontiguousarray(wide.transpose(1, 2, 0)),
        (-(near_half[0] - 0.5) * pitch, -(near_half[1] - 0.5) * pitch),
        (-(far_half[0] - 0.5) * coarse, -(far_half[1] - 0.5) * coarse),
        pitch,
        coarse,
    )


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


@lru_cache(maxsize=64)
def _box(half: int, width: float) -> Float32Array:
    """Mean over a box of some width (pixels) about each pixel: float32 [2 (half + extra), 2 half]."""
    extra = int(np.ceil((width + 1) / 2))
    n = half + extra
    distance = np.abs((np.arange(2 * n) + 0.5 - n)[:, None] - (np.arange(2 * half) + 0.5 - half)[None])
    # overlap of the box with a pixel that far away
    overlap = np.clip((width + 1) / 2 - distance, 0.0, min(1.0, width))
    return np.asarray(overlap / width, np.float32)


def _blocks(xp: Any, values: Any, half: list[int]) -> Any:
    """Means of coarse pixels about the axis: float32 [2 half y, 2 half x]."""
    ny, nx = values.shape
    pad_y, pad_x = half[1] * _COARSE - ny // 2, half[0] * _COARSE - nx // 2
    padded = xp.pad(values, ((pad_y, pad_y), (pad_x, pad_x)))
    return padded.reshape(2 * half[1], _COARSE, 2 * half[0], _COARSE).mean((1, 3))


def _convolve(
    device: Backend,
    values: Any,
    source_half: list[int],
    target_half: list[int],
    pitch_cm: float,
    rates_cm: tuple[float, ...],
    decayed: int | None,
) -> Any:
    """Convolve a map with shapes on a larger map about the same centre: float32 [shapes, y, x].

    ``decayed``: pixels after which the shapes count as nothing; None keeps them as far as the larger map.
    """
    lengths = []
    for s, t in zip(source_half, target_half, strict=True):
        needed = s + t + (t + s if decayed is None else decayed)
        lengths.append(_fast_length(needed))
    ny, nx = lengths[1], lengths[0]
    transforms = device.keep(_shape_transforms, rates_cm, pitch_cm, ny, nx)
    fft, xp = device.fft, device.xp
    found = fft.irfft2(fft.rfft2(values, (ny, nx)) * transforms, (ny, nx), axes=(1, 2))
    rows = (xp.arange(-target_half[1], target_half[1]) + source_half[1]) % ny
    columns = (xp.arange(-target_half[0], target_half[0]) + source_half[0]) % nx
    return found[:, rows][:, :, columns]


def _fast_length(needed: int) -> int:
    length = _up(needed, _LENGTH_STEP)
    while next_fast_len(length, real=True) != length:
        length += _LENGTH_STEP
    return length


@lru_cache(maxsize=24)
def _shape_transforms(rates_cm: tuple[float, ...], pitch_cm: float, ny: int, nx: int) -> NDArray[np.complex64]:
    """Transforms of the shapes, each integrated over pixels: complex64 [shapes, ny, nx // 2 + 1]."""
    y = np.abs(np.fft.fftfreq(ny, 1 / ny))
    x = np.abs(np.fft.fftfreq(nx, 1 / nx))
    n = int(max(y.max(), x.max())) + 1
    out = []
    for rate in rates_cm:
        quadrant = shape_in_pixels(rate, pitch_cm, n)
        out.append(rfft2(quadrant[y.astype(int)][:, x.astype(int)].astype(np.float32)))
    return np.array(out)


@lru_cache(maxsize=32)
def shape_in_pixels(rate_cm: float, pitch_cm: float, n: int) -> FloatArray:
    """Integral of a exp(-a r) / (2 pi r) over square pixels, the first one about the axis: float64 [n, n].

    The share of a pencil's energy in each pixel: all of them together hold 1 - exp(-a R) within a radius R.
    """
    nodes, weights = np.polynomial.legendre.leggauss(3)
    out = np.empty((n, n))
    # the shape varies fast near its axis: pixels there are divided
    for first, stop, parts in ((0, min(n, 8), 16), (8, n, 1)):
        for rows, columns in ((slice(first, stop), slice(0, stop)), (slice(0, first), slice(first, stop))):
            out[rows, columns] = _pixel_integrals(rate_cm, pitch_cm, rows, columns, parts, nodes, weights)
    out[0, 0] = _central_pixel(rate_cm, pitch_cm)
    return out


def _pixel_integrals(
    rate: float, pitch: float, rows: slice, columns: slice, parts: int, nodes: FloatArray, weights: FloatArray
) -> FloatArray:
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return np.zeros((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)))
    offsets = (((np.arange(parts) + 0.5)[:, None] + nodes / 2) / parts - 0.5).ravel()
    share = np.tile(weights / 2 / parts, parts)
    total = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
    for dy, wy in zip(offsets, share, strict=True):
        y2 = (((np.arange(rows.start, rows.stop) + dy) * pitch) ** 2)[:, None]
        for dx, wx in zip(offsets, share, strict=True):
            r = np.sqrt(y2 + (((np.arange(columns.start, columns.stop) + dx) * pitch) ** 2)[None])
            total += wy * wx * np.exp(-rate * r) / r
    return np.asarray(total * rate / (2 * np.pi) * pitch**2)


def _central_pixel(rate: float, pitch: float) -> float:
    """The pixel about the axis, in polar coordinates: mean over angles of 1 - exp(-a R(angle))."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    angle = (nodes + 1) * np.pi / 8
    return float((weights / 2) @ (1 - np.exp(-rate * pitch / 2 / np.cos(angle))))


def _interpolation(near_half: int, far_half: int) -> Float32Array:
    """Linear interpolation from coarse to fine pixels about the axis: float32 [2 near, 2 far]."""
    place = ((np.arange(2 * near_half) + 0.5 - near_half) / _COARSE) + far_half - 0.5
    low = np.floor(place).astype(int)
    upper = place - low
    out = np.zeros((2 * near_half, 2 * far_half), np.float32)
    rows = np.arange(2 * near_half)
    out[rows, low] = 1 - upper
    out[rows, low + 1] = upper
    return out
