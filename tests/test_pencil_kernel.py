"""Pencil kernels and their decomposition: energy, closed forms, and the shapes in pixels."""

import numpy as np
import pytest
from builders_engine import bare_machine
from numpy.testing import assert_allclose

from dosecalc.errors import MachineError
from dosecalc.machine.model import spectrum_nodes
from dosecalc.photon.fluence import FluenceMap
from dosecalc.photon.pencil_basis import RATES_CM, mean_weights, pencil_basis, table_depths, table_scales
from dosecalc.photon.pencil_kernel import divergent, pencil_kernel
from dosecalc.photon.pencil_maps import basis_maps, shape_in_pixels
from dosecalc.photon.tables import attenuation_table, point_kernels

GY_PER_MEV_G = 1.602176634e-10


def spectrum(mv):
    return bare_machine(mv).energies[0].spectrum


def mono(energy_mev):
    return pencil_kernel(np.array([energy_mev]), np.array([1.0]))


@pytest.mark.parametrize("energy_mev", [0.3, 1.25, 6.0])
def test_the_kernel_holds_the_energy_released_less_what_leaves_the_point_kernels(energy_mev):
    """All energy that a pencil deposits, over depth and radius, is that of its photons, less what goes back out."""
    k = mono(energy_mev)
    step = k.depths_gcm2[1] - k.depths_gcm2[0]
    mu = attenuation_table().coefficients("water", np.array([energy_mev]))[0][0]
    deposited = (k.primary[:, -1] + k.scatter[:, -1]).sum() * step
    table = point_kernels()
    n = int(np.flatnonzero(np.isclose(table.energies_mev, energy_mev))[0])
    bins = table.primary[n] + table.scatter[n]
    theta = (table.theta_edges_rad[1:] + table.theta_edges_rad[:-1]) / 2
    radius = (table.r_edges_cm[1:] + table.r_edges_cm[:-1]) / 2
    along = np.cos(theta)[:, None] * radius
    # a bin that lies behind the interaction is outside for interactions nearer to the surface than that
    outside = (bins * np.where(along < 0, -np.expm1(mu * np.minimum(along, 0)), 0)).sum()
    # and the tables end at 120 g/cm2
    outside += (bins * np.exp(mu * (along - 120))).sum()
    released = energy_mev * GY_PER_MEV_G  # per photon/cm2
    # bins' middles against monotone cubics through them: 0.3 %
    assert_allclose(deposited, released * (bins.sum() - outside), rtol=3e-3)
    assert bins.sum() > 0.9


def test_dose_in_depth_is_the_primary_kernel_in_equilibrium():
    """Behind the build-up of a field without end the primary is kerma with a gradient: e^(mu z) in the forward mean."""
    energy = 1.25
    k = mono(energy)
    mu = attenuation_table().coefficients("water", np.array([energy]))[0][0]
    n = int(np.flatnonzero(np.isclose(point_kernels().energies_mev, energy))[0])
    kerma = energy * mu * GY_PER_MEV_G * point_kernels().primary[n].sum() * np.exp(-mu * k.depths_gcm2)
    deep = (k.depths_gcm2 > 5) & (k.depths_gcm2 < 40)
    # the kernel's mean of e^(mu z) is 1 + mu <z> up to (mu z)^2/2 with z below 0.5 g/cm2: 5e-4
    assert_allclose(k.primary[deep, -1] / kerma[deep], 1 + mu * k.primary_range, rtol=5e-4)


def test_a_spectrum_is_the_sum_of_its_energies():
    both = pencil_kernel(np.array([1.0, 4.0]), np.array([0.7, 0.3]))
    ones = [pencil_kernel(np.array([e]), np.array([w])) for e, w in ((1.0, 0.7), (4.0, 0.3))]
    for part in ("primary", "scatter", "terma"):
        # FFTs in float64 of float32 kernels
        total = sum(getattr(k, part) for k in ones)
        assert_allclose(getattr(both, part), total, rtol=1e-6, atol=1e-9 * total.max())


def test_energies_outside_the_point_kernels_are_refused():
    for energy in (0.05, 25.0):
        with pytest.raises(MachineError) as e:
            mono(energy)
        assert e.value.reason == "ENERGY_OUTSIDE_TABLE"


@pytest.mark.parametrize("mv", [6, 10, 15])
def test_the_sum_of_shapes_gives_circular_fields(mv):
    basis = pencil_basis(spectrum(mv))
    assert basis.residual < 0.004 and basis.residual_lung < 0.004  # what the manual states
    depths, scales = table_depths(), table_scales()
    kernel = basis.kernel
    for depth in (1.5, 10.0, 25.0):
        d = int(np.argmin(np.abs(depths - depth)))
        for scale in (0.3, 1.0, 1.9):
            s = int(np.argmin(np.abs(scales - scale)))
            weights = basis.primary[d, s].astype(float) + basis.scatter[d, s]
            row = np.array([np.interp(depths[d], kernel.depths_gcm2, c) for c in (kernel.primary + kernel.scatter).T])
            # the energy of a field without end is exact, to float32
            assert_allclose(weights.sum(), row[-1], rtol=1e-5)
            for radius in (0.5, 2.0, 8.0):
                wanted = np.interp(radius * scales[s], kernel.radii_gcm2, row)
                found = weights @ (1 - np.exp(-RATES_CM * radius))
                # the stated residual is below 0.4 %; linear interpolation of the table in radius adds 0.2 %
                assert_allclose(found, wanted, rtol=0.006)


def test_weights_are_averaged_over_a_voxel():
    weights, depths = mean_weights(spectrum(6), None, 0.4), table_depths()
    basis = pencil_basis(spectrum(6))
    s = int(np.argmin(np.abs(table_scales() - 1)))
    fine = np.linspace(0, 0.4, 401)
    dose = basis.primary[:, s].sum(1)
    at = int(np.argmin(np.abs(depths - 0.2)))
    low, high = depths[at] - 0.2, depths[at] + 0.2
    wanted = np.interp(low + fine / 0.4 * (high - low), depths, dose).mean()
    # a sum of 401 points against an exact integral
    assert_allclose(weights[0][at, s].sum(), wanted, rtol=1e-3)


def test_photons_that_a_plate_takes_away_are_left_out():
    s = spectrum(6)
    energies, photons = spectrum_nodes(s)
    survive = tuple(np.exp(-0.3 / energies))
    filtered = pencil_basis(s, survive).kernel
    assert_allclose(filtered.primary, divergent(pencil_kernel(energies, photons * survive)).primary, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.012, 0.5, 28.0])
def test_pixels_hold_all_of_a_shape(rate):
    pitch, n = 0.1, 120
    pixels = shape_in_pixels(rate, pitch, n)
    whole = pixels[0, 0] + 2 * pixels[0, 1:].sum() + 2 * pixels[1:, 0].sum() + 4 * pixels[1:, 1:].sum()
    angle = (np.arange(4000) + 0.5) / 4000 * np.pi / 4
    expected = np.mean(1 - np.exp(-rate * (n - 0.5) * pitch / np.cos(angle)))
    assert_allclose(whole, expected, rtol=1e-7)


def test_maps_of_a_square_field_are_closed_forms_in_its_middle_and_far_away():
    axis = np.arange(-39.5, 40.0)
    open_field = ((np.abs(axis)[:, None] < 24) & (np.abs(axis)[None] < 24)).astype(float)
    maps = basis_maps(FluenceMap(open_field, axis, axis), RATES_CM, (0.1, 0.1), (160.0, 160.0), 1e6)
    angle = (np.arange(4000) + 0.5) / 4000 * np.pi / 4
    expected = np.mean(1 - np.exp(-RATES_CM[:, None] * 2.4 / np.cos(angle)), axis=1)
    ny, nx, _ = maps.near.shape
    centre = maps.near[ny // 2 - 1 : ny // 2 + 1, nx // 2 - 1 : nx // 2 + 1].mean((0, 1))
    # wide shapes are convolved in pixels of 4 mm and are linear between them: of the top of so small a field 0.3 % of
    # a shape is cut, and wide shapes carry a tenth of the dose
    assert_allclose(centre, expected, rtol=4e-3)
    # 15 cm beside a field of 4.8 cm: a sum over its pixels, as points
    y, x = maps.far_first_mm[1] + 4 * 38, maps.far_first_mm[0] + 4 * 3
    r = np.hypot(axis[None] - x, axis[:, None] - y)[open_field > 0] / 10
    for k in (0, 1, 2):
        wanted = (RATES_CM[k] * np.exp(-RATES_CM[k] * r) / (2 * np.pi * r)).sum() * 0.01
        assert_allclose(maps.far[38, 3, k], wanted, rtol=2e-3)


def test_near_and_far_maps_agree_where_they_meet():
    axis = np.arange(-29.5, 30.0)
    open_field = ((np.abs(axis)[:, None] < 15) & (np.abs(axis)[None] < 15)).astype(float)
    maps = basis_maps(FluenceMap(open_field, axis, axis), RATES_CM, (2.5, 2.5), (160.0, 160.0), 1000.0)
    # what the narrow shapes still have at the rim of the near map is what is lost beyond it
    rim = np.abs(maps.near[0, :, 4:]).max()
    assert rim < 2e-3
    total = maps.near[maps.near.shape[0] // 2, maps.near.shape[1] // 2]
    assert_allclose(total[4:], 1.0, rtol=0.16)  # all narrow shapes end within the field, but for a sixth of the widest
