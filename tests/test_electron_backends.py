"""The electrons' transport on every backend: against the plain oracle, against Numba, whatever the launch."""

from dataclasses import replace

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from builders_engine import bare_machine, box, field, plan_of
from electron_oracle import transport
from numpy.testing import assert_allclose, assert_array_equal

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.photon.collapsed_cone import CollapsedCone
from dosecalc_kernels import registry
from dosecalc_kernels.cuda.host import HostLauncher
from dosecalc_kernels.registry import Backend

SPACING = (0.25, 0.3, 0.2)
MAX_TILT = 0.2
#: a source 25 cm above, so near that tilts pass the range of the polynomials within rows of every axis
NEAR = np.array([[0.25, 0, 0, -5.0], [0, 0, 0.2, -1.0], [0, 0.3, 0, 25.0]])
#: no tilt
FAR = np.array([[0.25, 0, 0, 0], [0, 0.3, 0, 0], [0, 0, 0.2, 1e4]])


def matter(rng, shape):
    """Heterogeneous matter of three materials with a cavity, and kerma in a part of it."""
    density = rng.uniform(0.05, 2.0, shape).astype(np.float32)
    density[:, shape[1] // 3 : shape[1] // 2, 4:-3] = 0.0012
    material = rng.integers(0, 3, shape).astype(np.uint8)
    kerma = rng.random(shape).astype(np.float32)
    kerma[:, :2] = 0
    kerma[..., -5:] = 0
    return density, material, kerma


def tables(rng, n, groups=3):
    """Directions of all kinds, along axes, diagonals and across; groups, polynomials and matrices without symmetry."""
    directions = rng.normal(size=(n, 3))
    directions[:6] = [(0, 0, 1), (0, 0, -1), (0, 1, 0), (1, 0, 0), (-1, 1, 0), (1, 1, 1)]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # each term as large as the constant at the largest tilt, so that a wrong tilt shows
    terms = np.repeat([1.0, 1 / MAX_TILT, MAX_TILT**-2, MAX_TILT**-3], [1, 2, 3, 4])
    source = rng.normal(size=(groups, n, 10)) * 0.2 * terms
    source[..., 0] = rng.uniform(0.5, 1.5, (groups, n))
    scattering = rng.uniform(0, 1, (groups - 1, 3, n, n)) ** 8
    scattering /= scattering.sum(-1, keepdims=True)
    width, deposit = rng.uniform(0.1, 0.5, (2, groups))
    return directions, width, deposit, source, rng.uniform(0.8, 1.1, (groups, 3)), scattering, 0.6


def transported(backend, scene, arguments, projection=NEAR):
    density, material, kerma = scene
    kernel = backend.kernel("ElectronTransport")(density, material, SPACING)
    shares = list(kernel.run(kerma, *arguments, projection, MAX_TILT))
    assert shares == sorted(shares) and shares[-1] == 1.0
    return backend.get(kernel.dose())


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_transport_agrees_with_the_contract_line_by_line(backend):
    rng = np.random.default_rng(21)
    density, material, kerma = scene = matter(rng, (7, 6, 9))
    directions, *rest = arguments = tables(rng, 9)
    arguments[3][..., 1:] = 0.0  # the oracle knows no tilt
    expected = transport(kerma, density, material, SPACING, directions, *rest)
    # float32 over three groups; in thin cells a difference of fluxes is divided by a small thickness
    assert_allclose(transported(backend, scene, arguments, FAR), expected, rtol=2e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("n", [20, 110])  # of all directions a third are turned, 32 at a time
@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_twins_agree_with_numba_everywhere(backend, n):
    rng = np.random.default_rng(22)
    scene, arguments = matter(rng, (11, 14, 37)), tables(rng, n)
    expected = transported(registry.backend("cpu"), scene, arguments)
    found = transported(backend, scene, arguments)
    assert (expected > 0.01 * expected.max()).mean() > 0.5
    # the target for twins is 1e-4 of the maximum; both round float32 sums over directions, in different orders
    assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


@needs_compiler
def test_bits_do_not_depend_on_the_launch():
    rng = np.random.default_rng(23)
    scene, arguments = matter(rng, (8, 9, 21)), tables(rng, 14)
    first, *others = [transported(b, scene, arguments) for b in host_backends()]
    for other in others:
        assert_array_equal(other, first)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_no_kerma_gives_no_dose_and_a_lost_number_shows(backend):
    rng = np.random.default_rng(24)
    density, material, kerma = matter(rng, (6, 7, 12))
    arguments = tables(rng, 8)
    assert not transported(backend, (density, material, np.zeros_like(kerma)), arguments).any()
    kerma[3, 4, 5] = np.nan  # a wrong input must not become a plausible dose
    assert np.isnan(transported(backend, (density, material, kerma), arguments)[3, 4, 5])


# --- engine ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patient():
    """Water with lung, bone and a cavity."""
    whole = box((100.0, 90.0, 80.0), (5.0, 5.0, 5.0))
    density, material = whole.density.values.copy(), whole.material.copy()
    density[4:12, 4:12, 4:16] = 0.26
    density[8:12, 12:15, 8:14] = 1.7
    density[6:9, 2:4, 6:12] = 0.0012
    return replace(whole, density=replace(whole.density, values=density), material=material)


def dose_of(patient, device, **settings):
    plan = plan_of(field(20.0, 25.0, gantry=290.0, couch=10.0))
    chosen = {"heterogeneity": "electron_transport", "grid": patient.density.grid, "device": device} | settings
    return compute_dose(patient, plan, bare_machine(), DoseSettings(**chosen))


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_a_beam_has_the_dose_of_the_cpu(backend, patient):
    expected = dose_of(patient, "cpu").total_gy
    found = dose_of(patient, backend.name)
    assert backend.name in found.provenance["device"]
    # the target for twins is 1e-4 of the maximum, everywhere
    assert_allclose(found.total_gy, expected, rtol=0, atol=1e-5 * expected.max())
    plain = dose_of(patient, backend.name, heterogeneity="density_scaling").total_gy
    assert abs(plain - found.total_gy).max() > 0.02 * expected.max()  # so it did travel


@needs_compiler
def test_the_estimate_of_memory_holds(monkeypatch, patient):
    needed = CollapsedCone.device_bytes(patient.density.grid, "electron_transport")
    launcher = HostLauncher()
    least = [launcher.free_bytes()]
    empty = launcher.empty

    def watched(shape, dtype):
        out = empty(shape, dtype)
        least[0] = min(least[0], launcher.free_bytes())
        return out

    monkeypatch.setattr(launcher, "empty", watched)
    monkeypatch.setattr("dosecalc.engine.open_devices", lambda *_: (Backend("host-cuda", launcher),))
    dose_of(patient, "cuda")
    taken = launcher.total_bytes() - least[0]
    # tables of directions, groups and cones come on top: matrices of 26 groups in one material are 1 MB each way
    assert 0.4 * needed < taken < needed + 4_000_000
