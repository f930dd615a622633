"""Dose that photons scattered more than once would bring back if the patient went on as water, to be taken away."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dosecalc.photon.cones import ConeSet, Ring, build_cones
from dosecalc.photon.multiple_scatter import FORWARD_DEG, flight_kernels
from dosecalc_kernels.cpu.collapsed_cone import VACUUM_G_CM3
from dosecalc_kernels.cuda.collapsed_cone import bytes_needed
from dosecalc_kernels.registry import Backend

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

#: multiply scattered photons vary over their mean free path of 5 to 10 cm: voxels and directions may be coarse
COARSE_CM = 1.5
#: water that is imagined around the patient: what comes back from further out is a tenth of what comes back at all
MARGIN_CM = 15.0
#: thinner gas lets photons leave, g/cm3
OUTSIDE_G_CM3 = 0.05
#: flights after the first that are followed inside: later ones carry a tenth of what comes back
FURTHER_FLIGHTS = 2
#: directions of the flights; one ring ends where the kernels tell forwards from the rest
RINGS = (
    Ring(0.0, 15.0, 4), Ring(15.0, 30.0, 8), Ring(30.0, 47.0, 8), Ring(47.0, FORWARD_DEG, 8),
    Ring(FORWARD_DEG, 92.0, 8), Ring(92.0, 125.0, 8), Ring(125.0, 180.0, 4),
)  # fmt: skip
_FORWARD_CONES = sum(ring.cones for ring in RINGS if ring.theta_high_deg <= FORWARD_DEG)


class Flights(NamedTuple):
    """The kernels of `dosecalc.photon.multiple_scatter.FlightKernels`, collapsed on cones."""

    first: ConeSet
    onward: ConeSet
    back: ConeSet


def build_flights(
    energies_mev: FloatArray, energy_fluence: FloatArray, max_tilt: float, look: Callable[[], None] = lambda: None
) -> Flights:
    """Collapse the flights of a spectrum's multiply scattered photons.

    Parameters
    ----------
    energies_mev, energy_fluence : float64 [n]
        See `flight_kernels`.
    max_tilt : float
        See `build_cones`.
    look : callable, optional
        Called between steps of a fraction of a second; what it raises ends the work.
    """
    kernels = flight_kernels(energies_mev, energy_fluence, look)
    return Flights(*(build_cones(kernel, RINGS, max_tilt, look) for kernel in kernels))


class MissingScatter:
    """What point kernels of endless water give too much of in a patient that ends.

    A kernel's multiply scattered photons have been everywhere around its centre, also where the patient has ended and
    nothing sends them back. Here the patient is laid into water, and photons are followed flight by flight from the
    second interaction on: what they carry into that water, and what of it would come back, is the dose to be taken away
    (physics manual, section 3.6).

    Parameters
    ----------
    density : float32 [z, y, x]
        g/cm3.
    spacing_cm : (dx, dy, dz)
    device : Backend
        Where cones are swept.
    key : str
        Names the content of the density; a device keeps what is made of it under this name.
    passes : int
        See `dosecalc_kernels.cuda.collapsed_cone.ConeTransport`.
    """

    def __init__(
        self,
        density: Float32Array,
        spacing_cm: tuple[float, float, float],
        device: Backend,
        key: str = "",
        passes: int = 1,
    ) -> None:
        put = device.put
        counts = _counts(density.shape, spacing_cm)
        self._factors = tuple(n / m for n, m in zip(density.shape, counts, strict=True))
        coarse_cm = [f * step for f, step in zip(self._factors, spacing_cm[::-1], strict=True)]
        self._pads = tuple(int(np.ceil(MARGIN_CM / step)) for step in coarse_cm)
        axes = tuple(zip(density.shape, counts, self._pads, strict=True))
        self._device = device
        self._share = [put(_overlap(n, m, pad)) for n, m, pad in axes]
        self._interpolation = [put(_linear(n, m, pad)) for n, m, pad in axes]

        def made() -> tuple[Any, ...]:
            there = put(density)
            water = 1.0 - self._mean(put(~_outside(density)))
            return there, put(density > VACUUM_G_CM3), water, self._mean(there) + water

        kept = device.kept_under((key, "missing scatter", spacing_cm), made)
        self._density, self._is_matter, self._water, self._mass = kept
        coarse = device.get(self._mass).astype(np.float32)
        options = {} if device.launcher is None else {"passes": passes}
        # where the interpolation asks for a dose: voxels that share a corner with matter
        near_matter = [self._device.xp.ascontiguousarray(m.T) for m in self._interpolation]
        self._wanted = _along_axes(near_matter, self._is_matter.astype(np.float64)) > 0
        self._transport = device.kernel("ConeTransport")(coarse, tuple(coarse_cm[::-1]), **options)

    def dose(
        self,
        scerma: Any,
        flights: Flights,
        turn: FloatArray,
        projection: FloatArray,
        look: Callable[[], None] = lambda: None,
    ) -> Any:
        """The dose that does not come back.

        Parameters
        ----------
        scerma : float32 [z, y, x]
            An array of the device.
        flights : Flights
        turn : float64 [3, 3]
            Directions of the axial frame, as rows, times this are directions along the grid's axes.
        projection : float64 [3, 4]
            From voxel indices to the gantry frame, see `dosecalc_kernels.contract`.
        look : callable, optional
            Called between steps of a fraction of a second; what it raises ends the work.

        Returns
        -------
        float32 [z, y, x]
            On the device, in the unit of the scerma, at most a few percent of the dose.
        """

        def swept(forwards: Any, rest: Any, cones: ConeSet, wanted: Any = None) -> Any:
            """What cones carry from the photons that fly forwards, and from the rest."""
            self._transport.load(forwards, rest, wanted)
            for _ in self._transport.sweep(
                cones.directions @ turn, cones.rates, cones.amplitudes, onto_coarse, cones.max_tilt
            ):
                look()
            return self._transport.dose()

        released = (self._mean(self._density * scerma) / self._mass).astype(np.float32)
        onto_coarse = self._projection(projection)
        outside = (self._water / self._mass).astype(np.float32)
        inside = np.float32(1) - outside

        def arrived(forwards: Any, rest: Any, cones: ConeSet) -> tuple[Any, Any]:
            """What a flight carries to its end: along the forward cones, and along the rest."""
            parts = (_some(cones, slice(None, _FORWARD_CONES)), _some(cones, slice(_FORWARD_CONES, None)))
            there = [swept(forwards, rest, part) for part in parts]
            return there[0], there[1]

        forwards, rest = arrived(self._device.zeros(released.shape, np.float32), released, flights.first)
        gone = [forwards * outside, rest * outside]
        for _ in range(FURTHER_FLIGHTS):
            forwards, rest = arrived(forwards * inside, rest * inside, flights.onward)
            gone[0] += forwards * outside
            gone[1] += rest * outside
        back = swept(gone[0], gone[1], flights.back, self._wanted)
        onto_fine = _along_axes(self._interpolation, back.astype(np.float64))
        return (onto_fine * self._is_matter).astype(np.float32)

    def _mean(self, values: Any) -> Any:
        """Means over coarse voxels, of values that are zero in the margin."""
        return _along_axes(self._share, values.astype(np.float64))

    def _projection(self, projection: FloatArray) -> FloatArray:
        """The projection from indices of the coarse voxels."""
        factor = np.array(self._factors[::-1])
        start = (factor - 1) / 2 - factor * np.array(self._pads[::-1])
        out = projection.copy()
        out[:, :3] *= factor
        out[:, 3] += projection[:, :3] @ start
        return out


def _along_axes(matrices: list[Any], values: Any) -> Any:
    """A matrix applied along each axis (z, y, x) of a volume, on the device of both.

    As many small products, which a library for matrices does without copies of the volume or threads of its own.
    """
    along_z, along_y, along_x = matrices
    return (along_y @ (along_z @ values.swapaxes(0, 1)).swapaxes(0, 1)) @ along_x.T


def _some(cones: ConeSet, which: slice) -> ConeSet:
    return replace(
        cones, directions=cones.directions[which], rates=cones.rates[which], amplitudes=cones.amplitudes[which]
    )


def device_bytes(shape: tuple[int, int, int], spacing_cm: tuple[float, float, float], passes: int = 1) -> int:
    """Memory of a device that a `MissingScatter` takes for a grid."""
    coarse = [
        n + 2 * int(np.ceil(MARGIN_CM / (whole * step / n)))
        for n, whole, step in zip(_counts(shape, spacing_cm), shape, spacing_cm[::-1], strict=True)
    ]
    # on the grid density, which voxels are matter, and temporaries in float64
    return bytes_needed((coarse[0], coarse[1], coarse[2]), passes) + math.prod(shape) * (4 + 1 + 3 * 8)


def _counts(shape: tuple[int, ...], spacing_cm: tuple[float, float, float]) -> list[int]:
    """Whole coarse voxels over each axis (z, y, x), so that mirrored patients get mirrored doses."""
    return [max(1, round(n * step / COARSE_CM)) for n, step in zip(shape, spacing_cm[::-1], strict=True)]


def _outside(density: Float32Array) -> NDArray[np.bool_]:
    """Air that is joined to the outside of the grid; cavities are not: the patient goes on behind them."""
    padded = np.pad(density < OUTSIDE_G_CM3, 1, constant_values=True)
    labels, _ = ndimage.label(padded)
    return np.asarray(labels[1:-1, 1:-1, 1:-1] == labels[0, 0, 0])


def _overlap(n: int, coarse: int, pad: int) -> FloatArray:
    """Share of each coarse voxel, with their margin, that each of n fine ones fills: [coarse, n]."""
    edges = np.arange(-pad, coarse + pad + 1) * n / coarse
    fine = np.arange(n)
    shared = np.minimum(edges[1:, None], fine + 1) - np.maximum(edges[:-1, None], fine)
    return np.asarray(np.maximum(shared, 0.0) * coarse / n)


def _linear(n: int, coarse: int, pad: int) -> FloatArray:
    """Linear interpolation from coarse voxels, with their margin, to n fine ones: [n, coarse]."""
    position = (np.arange(n) + 0.5) * coarse / n - 0.5 + pad
    low = position.astype(int)
    out = np.zeros((n, coarse + 2 * pad))
    rows = np.arange(n)
    out[rows, low] = 1.0 - (position - low)
    out[rows, low + 1] += position - low
    return out
