"""Mean transmission of collimators on every backend: against a naive oracle, against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from numpy.testing import assert_allclose, assert_array_equal
from oracle import transmission

from dosecalc_kernels import registry


def case(rng, layers, tips, rows=14, columns=37, pairs=6):
    """Jaws and leaves that move against each other, strips between leaves, rows beyond the last leaf."""
    along, across = np.linspace(-60, 60, columns), np.linspace(-40, 40, rows)
    jaws = [np.sort(rng.uniform(-50, 50, (2, 2)), axis=1) for _ in range(2)]
    own = rng.integers(-1, pairs, (layers, rows))
    neighbour = np.where(rng.random((layers, rows)) < 0.4, np.minimum(own + 1, pairs - 1), own)
    return {
        "along": along, "across": across, "jaw_along": jaws[0], "jaw_across": jaws[1],
        "jaw_transmission": rng.uniform(0, 0.1, 4),
        "pair_of_row": np.stack([own, neighbour], 1).astype(np.int64).reshape(layers, 2, rows),
        "closed": np.sort(rng.uniform(0, 0.3, (layers, 2, rows)), axis=1),
        "leaf_start": np.sort(rng.uniform(-50, 50, (layers, pairs, 2)), axis=2),
        "leaf_end": np.sort(rng.uniform(-50, 50, (layers, pairs, 2)), axis=2),
        "tip_mm": np.sort(rng.uniform(-1, 2, (layers, tips)), axis=1),
        "tip_share": rng.dirichlet(np.ones(tips), layers),
        "weight": 0.7,
    }  # fmt: skip


def averaged(backend, c):
    """The map that the backend adds to what was there, with that taken away."""
    out = np.full((len(c["across"]), len(c["along"])), 0.25)
    backend.kernel("add_transmission")(out, *c.values())
    return out - 0.25


CASES = [(0, 1), (1, 1), (1, 8), (2, 8), (1, 11)]


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize(("layers", "tips"), CASES[1:4])
def test_mean_agrees_with_dense_sampling_of_the_segment(backend, layers, tips):
    c = case(np.random.default_rng(31), layers, tips)
    samples = 4000
    expected = transmission(samples=samples, **c)
    # each of the changes (two per jaw, two per leaf end) is caught to one sample of its time
    assert_allclose(averaged(backend, c), expected, rtol=0, atol=8 / samples)


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize(("layers", "tips"), CASES)
def test_means_agree_with_numba(backend, layers, tips):
    c = case(np.random.default_rng(32), layers, tips, rows=40, columns=90)
    # the same sums in float64 in the same order
    assert_allclose(averaged(backend, c), averaged(registry.backend("cpu"), c), rtol=0, atol=1e-14)


@needs_compiler
def test_bits_of_the_means_do_not_depend_on_the_launch():
    c = case(np.random.default_rng(33), 2, 8)
    results = [averaged(b, c) for b in host_backends()]
    for result in results[1:]:
        assert_array_equal(result, results[0])
