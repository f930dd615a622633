"""Dose of the electrons that photons set in motion, by explicit transport through the patient's matter."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import InputError
from dosecalc.machine.model import Spectrum, spectrum_nodes
from dosecalc.photon.electron_directions import direction_set
from dosecalc.photon.electron_groups import THETA, ElectronGroups, electron_groups
from dosecalc_kernels.cpu.electron_transport import ElectronTransport
from dosecalc_kernels.cuda.electron_transport import bytes_needed
from dosecalc_kernels.registry import Backend, backend

#: coarser voxels smear electrons by more than the density scaling that they are to mend
COARSEST_MM = 5.0
#: memory of the host beyond which a grid is refused, bytes
_MOST_BYTES = 16e9
#: electrons are followed so far beside what photons hit: half the longest range in the thinnest matter, mm at most
_MOST_BESIDE_MM = 40.0
_THINNEST_G_CM3 = 0.2
#: between two looks at the caller while tables are prepared
_LOOK_S = 0.1


class SecondaryElectrons:
    """Turns collision kerma into dose by the electrons' transport equation instead of scaled kernels.

    Parameters
    ----------
    density : float32 [z, y, x]
        g/cm3.
    material : uint8 [z, y, x]
    materials : tuple of str
        What electrons travel in, by material index; all water for dose to water-equivalent medium.
    spacing_mm : (dx, dy, dz)
    device : Backend, optional
        Where it computes; the CPU by default.

    Raises
    ------
    InputError
        ``VOXELS_TOO_COARSE``
    """

    def __init__(
        self,
        density: NDArray[np.float32],
        material: NDArray[np.uint8],
        materials: tuple[str, ...],
        spacing_mm: tuple[float, float, float],
        device: Backend | None = None,
    ) -> None:
        if max(spacing_mm) > COARSEST_MM:
            raise InputError(
                "VOXELS_TOO_COARSE",
                f"The electrons' transport needs voxels of at most {COARSEST_MM:g} mm, and the dose grid has "
                f"{max(spacing_mm):g} mm; choose a finer grid, or density scaling.",
                field="heterogeneity",
            )
        self._device = device or backend("cpu")
        self._density, self._material = self._device.put(density), self._device.put(material)
        self._materials = materials
        self._spacing_mm = np.array(spacing_mm)
        matter = density[density > 0.05]
        self._thin = float(np.clip(np.percentile(matter, 5), _THINNEST_G_CM3, 1.0)) if matter.size else 1.0

    def run(
        self,
        kerma: Any,
        spectrum: Spectrum,
        max_tilt: float,
        directions_to_grid: NDArray[np.float64],
        projection: NDArray[np.float64],
        dose: Any,
    ) -> Iterator[float]:
        """Add the electrons' dose; yields the share that is done.

        Parameters
        ----------
        kerma : float32 [z, y, x], on the device
            Collision kerma, Gy (or Gy per anything).
        spectrum : Spectrum
        max_tilt : float
        directions_to_grid : float64 [3, 3]
            Row vectors of the gantry frame times this are vectors along the grid's axes.
        projection : float64 [3, 4]
            From (ix, iy, iz, 1) to (x, y, depth) of the gantry frame, cm.
        dose : float32 [z, y, x], on the device
            In the unit of the kerma; changed in place.

        Raises
        ------
        InputError
            ``GRID_TOO_LARGE``
        MachineError
            ``MATERIAL_UNKNOWN``
        """
        groups = yield from self._prepared(spectrum, max_tilt)
        window = self._window(kerma, groups)
        if window is None:
            return
        begin = np.array([w.start for w in window[::-1]], float)
        moved = projection.copy()
        moved[:, 3] += projection[:, :3] @ begin
        put = self._device.put
        density = put(self._density[window])
        if self._device.launcher is None:  # a device was asked for its room before
            _check_memory(density.shape, len(groups.directions))
        transport = self._device.kernel("ElectronTransport")(
            density, put(self._material[window]), tuple(self._spacing_mm / 10)
        )
        yield from transport.run(
            put(kerma[window]), groups.directions.directions @ directions_to_grid,
            groups.width, groups.deposit, groups.source, groups.stopping, groups.scattering, THETA, moved, max_tilt,
        )  # fmt: skip
        dose[window] += transport.dose()

    def _prepared(self, spectrum: Spectrum, max_tilt: float) -> Generator[float, None, ElectronGroups]:
        """The beam quality's tables; the caller has a look in between, for the first time takes a second or more."""
        with_them = ThreadPoolExecutor(1)
        try:
            groups = with_them.submit(_groups, spectrum, self._materials, max_tilt)
            while wait([groups], _LOOK_S).not_done:
                yield 0.0
            return groups.result()
        finally:
            with_them.shutdown(wait=False)

    def _window(self, kerma: Any, groups: ElectronGroups) -> tuple[slice, slice, slice] | None:
        """What photons hit, and as far beside it as electrons get."""
        beside = min(_MOST_BESIDE_MM, 10 * 0.5 * groups.longest_gcm2 / self._thin)
        hit = kerma > 0
        out = []
        for axis in range(3):
            where = np.flatnonzero(self._device.get(hit.any(tuple(a for a in range(3) if a != axis))))
            if not where.size:
                return None
            more = math.ceil(beside / self._spacing_mm[2 - axis])
            out.append(slice(max(0, int(where[0]) - more), min(kerma.shape[axis], int(where[-1]) + 1 + more)))
        return out[0], out[1], out[2]


def device_bytes(shape: tuple[int, int, int]) -> int:
    """Memory of a device that the electrons' transport takes at most for a grid, beside what lies there anyway."""
    density_and_material = math.prod(shape) * 5
    return bytes_needed(shape, len(direction_set())) + density_and_material


@lru_cache(maxsize=4)
def _groups(spectrum: Spectrum, materials: tuple[str, ...], max_tilt: float) -> ElectronGroups:
    energies, photons = spectrum_nodes(spectrum)
    return electron_groups(energies, photons, materials, max_tilt)


def _check_memory(shape: tuple[int, ...], directions: int) -> None:
    needed = ElectronTransport.bytes_needed(math.prod(shape), directions)
    if needed > _MOST_BYTES:
        raise InputError(
            "GRID_TOO_LARGE",
            f"The electrons' transport would need {needed / 1e9:.0f} GB for {math.prod(shape)} voxels, more than "
            f"{_MOST_BYTES / 1e9:.0f} GB; choose larger voxels, or density scaling.",
            field="heterogeneity",
        )
