"""Scatter that does not come back: two flights of photons against what is known of them otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from builders_engine import bare_machine, box, field, plan_of
from numpy.testing import assert_allclose

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.machine.model import spectrum_nodes
from dosecalc.photon.cones import build_cones
from dosecalc.photon.missing_scatter import RINGS, MissingScatter
from dosecalc.photon.multiple_scatter import compton, two_flight_kernel
from dosecalc.photon.tables import point_kernels
from dosecalc_kernels.registry import backend

DOWN = np.array([[0.5, 0, 0, -12.0], [0, 0.5, 0, -12.0], [0, 0, -0.5, 130.0]])


@pytest.fixture(scope="module")
def spectrum():
    energies, photons = spectrum_nodes(bare_machine().energies[0].spectrum)
    return energies, photons * energies


@pytest.fixture(scope="module")
def flights(spectrum):
    return build_cones(two_flight_kernel(*spectrum), RINGS, 0.115)


def lost(density, released, flights):
    missing = MissingScatter(density.astype(np.float32), (0.5, 0.5, 0.5), backend("cpu"))
    return missing.dose(released.astype(np.float32), flights, flights.directions, DOWN)


def beam_in(density):
    """Released energy under a field of 10 cm, falling with depth along -z."""
    n = density.shape
    x = 0.5 * (np.arange(n[2]) - (n[2] - 1) / 2)
    inside = (np.abs(x) < 5)[None, None, :] & (np.abs(x) < 5)[None, :, None]
    mass = (density[::-1].cumsum(0)[::-1] - density / 2) * 0.5
    return np.where(inside & (density > 0), np.exp(-0.05 * mass), 0.0)


def test_compton_energy_is_that_of_the_kernels():
    """Scattered energy per interaction: Klein and Nishina here, 1 - primary share of EGSnrc there, where pairs are few.

    At 0.5 and 1 MeV photons that are not Compton-scattered are below 0.1 %, and electrons radiate 0.1 %: 0.4 % together
    with the statistics of the kernels.
    """
    k = point_kernels()
    edges = np.linspace(0, np.pi, 2001)
    cosine, omega = np.cos((edges[1:] + edges[:-1]) / 2), -2 * np.pi * np.diff(np.cos(edges))
    for energy in (0.5, 1.0):
        share, scattered = compton(np.array(energy), cosine)
        n = int(np.argmin(np.abs(k.energies_mev - energy)))
        assert (share * omega).sum() == pytest.approx(1 - k.primary[n].sum(), rel=4e-3)
        # a photon scattered backwards has 1/(1 + 2 E/mc2) of its energy
        assert scattered.min() == pytest.approx(energy / (1 + 2 * energy / 0.51099895), rel=1e-4)


def test_two_flights_carry_the_energy_of_the_multiple_scatter(spectrum):
    """Shares that follow from the energies alone."""
    kernel = two_flight_kernel(*spectrum)
    # between a half and two thirds of the scerma scatters again: photons of 0.3 to 0.8 MeV leave (mu - mu_tr)/mu there
    assert 0.5 < kernel.scatter[-1, -1] < 0.67
    # of a second flight nearly all ends within 60 cm, for low energies more than for the scerma's own
    assert 0.92 < kernel.primary[-1, -1] < 1.0
    assert np.all(np.diff(kernel.primary[-1]) >= 0) and np.all(np.diff(kernel.scatter[-1]) >= 0)


def test_what_is_missing_grows_towards_the_exit(flights):
    density = np.ones((48, 48, 48))
    gone = lost(density, beam_in(density), flights)
    axis = gone[:, 23:25, 23:25].mean((1, 2))[::-1]  # by depth
    assert np.all(gone >= 0)
    assert axis[-1] > 2 * axis[24] > 0


def test_nothing_is_missing_behind_a_cavity(flights):
    """Air inside the patient is not the outside: what lies behind it sends photons back."""
    solid = np.ones((48, 48, 48))
    hollow = solid.copy()
    hollow[20:26, 20:28, 20:28] = 0.001
    released = beam_in(solid)
    cavity = np.s_[20:26, 20:28, 20:28]
    before, after = lost(solid, released, flights), lost(hollow, released * (hollow > 0.5), flights)
    after[cavity] = before[cavity]
    # an opened box loses a tenth of a percent of the release at its exit; a hole of 50 cm3 must not do that inside
    assert np.abs(after - before).max() < 0.1 * before.max()


def test_more_patient_behind_the_beam_loses_less(flights):
    short, long = np.zeros((48, 48, 48)), np.ones((48, 48, 48))
    short[12:] = 1.0
    released = beam_in(short)
    at = np.s_[14:18, 20:28, 20:28]  # just before the short one's exit
    assert lost(long, released, flights)[at].max() < 0.5 * lost(short, released, flights)[at].min()


def test_mirrored_patients_lose_mirrored_doses(flights):
    density = np.ones((41, 46, 47))
    density[:, :, 30:] = 0.3
    released = np.zeros_like(density)
    released[5:36, 10:36, 10:37] = 1.0
    projection = np.array([[0.5, 0, 0, -11.5], [0, 0.5, 0, -11.25], [0, 0, -0.5, 120.0]])

    def of(d, r):
        missing = MissingScatter(d.astype(np.float32), (0.5, 0.5, 0.5), backend("cpu"))
        return missing.dose(np.ascontiguousarray(r, np.float32), flights, flights.directions, projection)

    there, here = of(density, released), of(density[:, :, ::-1].copy(), released[:, :, ::-1].copy())
    # the same terms in another order, in float32
    assert_allclose(here, there[:, :, ::-1], rtol=0, atol=1e-5 * there.max())


def test_no_dose_is_negative():
    patient = box((200.0, 200.0, 200.0), (5.0, 5.0, 5.0))
    settings = DoseSettings(grid=patient.density.grid)
    assert compute_dose(patient, plan_of(field(50, 50)), bare_machine(), settings).total_gy.min() >= 0
