"""Cone transport and ray tracing on every backend: against naive oracles, against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from numpy.testing import assert_allclose, assert_array_equal
from oracle import cone_sweep

from dosecalc_kernels import registry
from dosecalc_kernels.cuda import collapsed_cone

SPACING = (0.25, 0.3, 0.2)
MAX_TILT = 0.2
CPU = registry.backend("cpu")


def body(rng, shape=(9, 23, 70)):
    """Heterogeneous matter with a cavity, air beside it and rows without matter."""
    density = rng.uniform(0.05, 2.0, shape).astype(np.float32)
    density[:, 8:12, 20:40] = 0.0012  # air within
    density[:, :, -6:] = 0.0
    density[:2, :3] = 0.005  # rows that hold nothing
    return density


def beam(rng, density):
    """Energy in a part of the volume, none in air."""
    kerma, scerma = rng.random((2, *density.shape)).astype(np.float32)
    for a in (kerma, scerma):
        a[density < 0.01] = 0
        a[:, :5] = 0
        a[..., :11] = 0
        a[..., 45:] = 0
    return kerma, scerma


def cones(rng, n=40):
    """Directions of all kinds, rates and tilt polynomials of the size that fitted kernels have."""
    directions = rng.normal(size=(n, 3))
    directions[:6] = [(0, 0, 1), (0, 0, -1), (0, 1, 0), (1, 0, 0), (-1, 1, 0), (1, 1, 1)]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rates = np.tile([2.2, 8.0, 0.04, 0.9], (n, 1)) * rng.uniform(0.8, 1.2, (n, 4))
    # each term as large as the amplitude itself at the largest tilt, so that a wrong tilt shows
    terms = np.repeat([1.0, 1 / MAX_TILT, MAX_TILT**-2, MAX_TILT**-3], [1, 2, 3, 4])
    amplitudes = 0.3 * rng.normal(size=(n, 4, 10)) * [[0.02], [0.003], [0.02], [0.003]] * terms
    amplitudes[:, :, 0] = (0.02, 0.003, 0.02, -0.001)
    return directions, rates, amplitudes


#: sources 30 cm above, so near that tilts pass the range of the polynomials at the ends of rows, and 1 m above
NEAR, FAR = (np.array([[0.25, 0, 0, -8.0], [0, 0, 0.2, -1.0], [0, 0.3, 0, d]]) for d in (30.0, 100.0))


def swept(backend, density, kerma, scerma, cone_set, projection=NEAR, wanted=None):
    transport = backend.kernel("ConeTransport")(density, SPACING)
    transport.load(kerma, scerma, wanted)
    done = list(transport.sweep(*cone_set, projection, MAX_TILT))
    assert done == sorted(done) and done[-1] == len(cone_set[0])
    return backend.get(transport.dose())


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize(
    "direction", [(0, 0, 1), (0.3, -0.5, 0.8), (0.9, 0.2, -0.4), (-0.1, -0.95, 0.3), (-0.7, 0.7, 0.1)]
)
def test_one_cone_agrees_with_the_oracle(backend, direction):
    rng = np.random.default_rng(7)
    shape = (9, 11, 40)
    density = rng.uniform(0.05, 2.0, shape).astype(np.float32)
    kerma, scerma = rng.random((2, *shape)).astype(np.float32)
    direction = np.array(direction, float) / np.linalg.norm(direction)
    rates, amplitude = np.array([2.2, 8.0, 0.05, 0.9]), np.array([0.02, 0.003, 0.02, -0.001])
    polynomials = np.zeros((1, 4, 10))
    polynomials[0, :, 0] = amplitude
    expected = cone_sweep(kerma, scerma, density, np.array(SPACING), direction, rates, amplitude)
    dose = swept(backend, density, kerma, scerma, (direction[None], rates[None], polynomials))
    # float32 against float64: a few hundred steps of 6e-8 at most
    assert_allclose(dose, expected, rtol=0, atol=2e-6 * expected.max())


@pytest.fixture(params=["small", "large"])
def volume(request, monkeypatch):
    """Volumes are swept in two ways; the tests' small ones also as large ones are."""
    if request.param == "large":
        monkeypatch.setattr(collapsed_cone, "_SMALL_VOXELS", 0)


@pytest.mark.usefixtures("volume")
@pytest.mark.parametrize("projection", [NEAR, FAR], ids=["near", "far"])
@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_transport_agrees_with_numba_everywhere(backend, projection):
    rng = np.random.default_rng(11)
    density = body(rng)
    released, cone_set = beam(rng, density), cones(rng)
    expected = swept(CPU, density, *released, cone_set, projection)
    dose = swept(backend, density, *released, cone_set, projection)
    # the target for twins is 1e-4 of the maximum; both round float32 sums of 40 cones
    assert_allclose(dose, expected, rtol=0, atol=2e-6 * expected.max())
    # small doses, too: in voxels of air, where a step is short and a difference of fluences becomes a dose
    assert_allclose(dose, expected, rtol=1e-3, atol=1e-6 * expected.max())


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_dose_where_it_is_wanted_is_that_of_all_lines(backend):
    rng = np.random.default_rng(13)
    density = body(rng)
    released, cone_set = beam(rng, density), cones(rng)
    wanted = np.zeros(density.shape, bool)
    wanted[3:6, 9:17, 25:60] = True
    everywhere = swept(CPU, density, *released, cone_set)
    dose = swept(backend, density, *released, cone_set, wanted=backend.put(wanted))
    # as between twins
    assert_allclose(dose[wanted], everywhere[wanted], rtol=0, atol=2e-6 * everywhere.max())


@needs_compiler
@pytest.mark.usefixtures("volume")
def test_bits_of_the_transport_do_not_depend_on_the_launch():
    rng = np.random.default_rng(12)
    density = body(rng)
    released, cone_set = beam(rng, density), cones(rng, 18)
    doses = [swept(b, density, *released, cone_set) for b in host_backends()]
    for dose in doses[1:]:
        assert_array_equal(dose, doses[0])


@pytest.mark.gpu
def test_bits_of_the_transport_are_the_same_in_every_run(request):
    from backends import usable

    backend = usable("cuda")
    rng = np.random.default_rng(13)
    density = body(rng)
    released, cone_set = beam(rng, density), cones(rng)
    first, second = (swept(backend, density, *released, cone_set) for _ in range(2))
    assert_array_equal(first, second)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_no_energy_gives_no_dose_and_a_lost_number_shows(backend):
    rng = np.random.default_rng(14)
    density = body(rng)
    kerma, scerma = beam(rng, density)
    cone_set = cones(rng, 10)
    nothing = np.zeros_like(kerma)
    assert not swept(backend, density, nothing, nothing, cone_set).any()
    kerma[4, 15, 30] = np.nan  # a wrong input must not become a plausible dose
    assert np.isnan(swept(backend, density, kerma, scerma, cone_set)[4, 15, 30])
