"""The exact superposition in layers, on cases that have a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.exact_slabs import Layers, dose, release
from dosecalc.machine.model import Spectrum
from dosecalc.photon.kernel import collision_fraction, kernel_bins
from dosecalc.photon.spectral import GY_PER_MEV_G
from dosecalc.photon.tables import attenuation_table, point_kernels

FAR_CM = 1e6
ONE_ENERGY = Spectrum(edges_mev=(1.9, 2.1), photons_per_bin=(1.0,), source="a test")
ENERGY = np.array([2.0])


def primary_at(depth_cm, layers, kernels="own"):
    points = np.array([[0.0, 0.0, depth_cm]])
    return dose(points, layers, release(layers, ONE_ENERGY, kernels), (1e3, 1e3), FAR_CM)[0][0]


def closed_form(depth_gcm2):
    """Kerma times the integral of the kernel with the growth of the kerma against the beam (manual, eq. 3.8)."""
    k = point_kernels()
    mu, _ = attenuation_table().coefficients("water", ENERGY)
    polar = (k.theta_edges_rad[1:] + k.theta_edges_rad[:-1]) / 2
    radius = (k.r_edges_cm[1:] + k.r_edges_cm[:-1]) / 2
    primary = kernel_bins(ENERGY)[0][0]
    growth = np.exp(mu[0] * np.cos(polar)[:, None] * radius)
    kerma = 2.0 * mu[0] * collision_fraction(ENERGY)[0] * GY_PER_MEV_G * np.exp(-mu[0] * depth_gcm2)
    return kerma * (primary * growth).sum()


@pytest.mark.parametrize("kernels", ["own", "mean", "weighted"])
def test_primary_dose_of_a_wide_beam_is_the_closed_form(kernels):
    water = Layers(np.array([0.0, 60.0]), np.ones(1), ("water",), (500.0, 500.0))
    # of one energy the mean kernel is its own and its weight is 1; directions and radii are midpoints on both sides
    assert primary_at(10.0, water, kernels) == pytest.approx(closed_form(10.0), rel=2e-3)


def test_layers_of_other_density_shift_by_their_mass():
    layers = Layers(np.array([0.0, 8.0, 20.0, 80.0]), np.array([1.0, 0.25, 1.0]), ("water",) * 3, (500.0, 500.0))
    # 8 + 3 + 10 g/cm2; beyond the range of electrons of the layers, and steps that cross a face count as one density
    assert primary_at(30.0, layers) == pytest.approx(closed_form(21.0), rel=3e-3)


def test_no_dose_before_the_phantom_or_beside_the_field():
    water = Layers(np.array([0.0, 20.0]), np.ones(1), ("water",), (15.0, 15.0))
    primary, scatter = dose(np.array([[8.0, 0.0, 5.0]]), water, release(water, ONE_ENERGY), (4.0, 4.0), 100.0)
    # 6 cm from the field's edge no electron of 2 MeV arrives, but scatter does
    assert primary[0] == 0.0
    assert scatter[0] > 0.0
