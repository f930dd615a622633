"""Contamination electrons: where they arrive, and how much dose they give at the surface."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dosecalc.geometry import Grid
from dosecalc.machine.model import ContaminationElectrons, Energy
from dosecalc.photon.fluence import FluenceMap
from dosecalc.photon.spectral import spectral_model
from dosecalc_kernels.registry import Backend, backend

FloatArray = NDArray[np.float64]

#: depths, in units of that of 1/e, beyond which the electrons are neglected: 3e-4 of the surface
REACH = 8.0
#: pixels of the map of electrons in one width of their Gaussian, which is centimetres wide
_PIXELS = 6


def electron_map(fluence: FluenceMap, electrons: ContaminationElectrons, device: Backend) -> FluenceMap:
    """Electrons at the isocentre plane: the photons, spread by a Gaussian; 1 in the middle of a very wide field.

    Parameters
    ----------
    fluence : FluenceMap
        Photons of the same view, on the device or on the host.
    electrons : ContaminationElectrons
    device : Backend

    Returns
    -------
    FluenceMap
        In coarser pixels, three widths beyond the photons.
    """
    parts = max(1, int(electrons.sigma_mm / _PIXELS / fluence.pitch_mm))
    pitch = parts * fluence.pitch_mm
    rim = int(np.ceil(3 * electrons.sigma_mm / pitch))
    rows, columns = (-(-n // parts) for n in fluence.values.shape)
    padded = device.zeros((rows * parts, columns * parts), np.float64)
    padded[: fluence.values.shape[0], : fluence.values.shape[1]] = device.put(fluence.values)
    coarse = padded.reshape(rows, parts, columns, parts).mean((1, 3))
    along_y, along_x = (device.keep(_spread, n, rim, electrons.sigma_mm / pitch) for n in (rows, columns))
    spread = along_y @ coarse @ along_x.T
    x_mm, y_mm = (
        first - fluence.pitch_mm / 2 + (np.arange(n) - rim + 0.5) * pitch
        for first, n in ((fluence.x_mm[0], spread.shape[1]), (fluence.y_mm[0], spread.shape[0]))
    )
    return FluenceMap(spread, x_mm, y_mm)


@lru_cache(maxsize=64)
def _spread(n: int, rim: int, sigma: float) -> FloatArray:
    """Gaussian that spreads n pixels over as many and a rim on both sides, float64 [n + 2 rim, n]; sigma in pixels."""
    pixels = np.pad(np.eye(n), ((rim, rim), (0, 0)))
    return np.asarray(gaussian_filter1d(pixels, sigma, axis=0, mode="constant", truncate=3.5))


@lru_cache(maxsize=16)
def surface_dose_gy(energy: Energy) -> float:
    """Dose of the electrons at the surface of a very wide field, Gy per photon/cm2 of the calibration field's axis."""
    if energy.electrons is None:
        return 0.0
    kerma = float(spectral_model(energy, ("water",), "water_equivalent").release_kerma.sum())
    return energy.electrons.surface_dose * kerma


class ElectronDose:
    """Dose of contamination electrons on a patient's grid, summed over the views of a beam.

    Any photon engine adds it to its own: the electrons do not depend on how photons are transported.

    Parameters
    ----------
    grid : Grid
    density : float32 [z, y, x], on the host or the device
        g/cm3.
    release_index : int16 [z, y, x], on the host or the device
        Negative where no dose is given (air).
    device : Backend, optional
        Where it computes; the CPU by default.
    """

    def __init__(self, grid: Grid, density: Any, release_index: Any, device: Backend | None = None) -> None:
        self._grid = grid
        self._device = device or backend("cpu")
        self._density = self._device.put(density)
        self._release_index = self._device.put(release_index)
        self._add = self._device.kernel("add_contamination")

    def add(
        self,
        dose: Any,
        fluence: FluenceMap,
        energy: Energy,
        source_mm: FloatArray,
        bld_from_patient: FloatArray,
        sad_mm: float,
    ) -> None:
        """Add what comes with the photons of one map, which no plate of a wedge has weakened.

        Parameters
        ----------
        dose : float32 [z, y, x], on the device
            Gy per photon/cm2 of the calibration field's axis; changed in place.
        fluence : FluenceMap
        energy : Energy
        source_mm, bld_from_patient, sad_mm
            Of the view, as for the ray tracing.
        """
        if energy.electrons is None or energy.electrons.surface_dose == 0:
            return
        electrons = electron_map(fluence, energy.electrons, self._device)
        self._add(
            dose, self._density, self._release_index,
            np.array(self._grid.origin_mm), np.array(self._grid.spacing_mm),
            source_mm, bld_from_patient, sad_mm, electrons.values,
            np.array([electrons.x_mm[0], electrons.y_mm[0]]), electrons.pitch_mm,
            surface_dose_gy(energy), energy.electrons.depth_gcm2, REACH * energy.electrons.depth_gcm2,
        )  # fmt: skip
