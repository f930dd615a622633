"""Scatter that does not come back: two flights of photons against what is known of them otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from builders_engine import bare_machine, box, field, plan_of
from numpy.testing import assert_allclose

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.machine.model import spectrum_nodes
from dosecalc.photon.missing_scatter import MissingScatter, build_flights
from dosecalc.photon.multiple_scatter import compton, flight_kernels
from dosecalc.photon.tables import point_kernels
from dosecalc_kernels.registry import backend

DOWN = np.array([[0.5, 0, 0, -12.0], [0, 0.5, 0, -12.0], [0, 0, -0.5, 130.0]])


@pytest.fixture(scope="module")
def spectrum():
    energies, photons = spectrum_nodes(bare_machine().energies[0].spectrum)
    return energies, photons * energies


@pytest.fixture(scope="module")
def flights(spectrum):
    return build_flights(*spectrum, 0.115)


def lost(density, released, flights):
    missing = MissingScatter(density.astype(np.float32), (0.5, 0.5, 0.5), backend("cpu"))
    return missing.dose(released.astype(np.float32), flights, np.eye(3), DOWN)


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


def test_flights_carry_the_energy_of_the_multiple_scatter(spectrum):
    """Shares that follow from the energies alone."""
    first, onward, back = flight_kernels(*spectrum)
    # between a half and two thirds of the scerma scatters again: photons of 0.3 to 0.8 MeV leave (mu - mu_tr)/mu there
    assert 0.5 < first.scatter[-1, -1] < 0.67
    for kernel in (onward, back):
        for part in (kernel.primary, kernel.scatter):
            assert np.all(np.diff(part[-1]) >= 0)
    # a photon of 0.2 to 0.5 MeV gives 0.21 to 0.34 of its energy to electrons (mu_tr/mu), of 1 MeV 0.44: more goes on
    # of the soft photons, which were scattered far round
    assert 0.5 < onward.primary[-1, -1] < onward.scatter[-1, -1] < 0.8
    # in the end nearly all is deposited within 60 cm, of soft photons more
    assert 0.9 < back.primary[-1, -1] < back.scatter[-1, -1] < 1.0


def test_a_flight_keeps_on_into_the_direction_that_it_had(spectrum):
    """Photons that came forwards carry more into the half space ahead of the beam than those that did not."""
    _, onward, back = flight_kernels(*spectrum)
    for kernel in (onward, back):
        ahead = int(np.searchsorted(-kernel.cos_theta_edges, 0.0))
        forwards, rest = (part[ahead, -1] / part[-1, -1] for part in (kernel.primary, kernel.scatter))
        # those from 68 degrees on fly across the beam on average: half of what they carry goes ahead of it
        assert forwards > rest + 0.1


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
        return missing.dose(np.ascontiguousarray(r, np.float32), flights, np.eye(3), projection)

    there, here = of(density, released), of(density[:, :, ::-1].copy(), released[:, :, ::-1].copy())
    # the same terms in another order, in float32
    assert_allclose(here, there[:, :, ::-1], rtol=0, atol=1e-5 * there.max())


def test_no_dose_is_negative():
    patient = box((200.0, 200.0, 200.0), (5.0, 5.0, 5.0))
    settings = DoseSettings(grid=patient.density.grid)
    assert compute_dose(patient, plan_of(field(50, 50)), bare_machine(), settings).total_gy.min() >= 0
