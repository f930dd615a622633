"""Resampling and rasterisation on every backend: against plain numpy, against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, host_backends, needs_compiler
from numpy.testing import assert_allclose, assert_array_equal

from dosecalc_kernels import registry


def axis(rng, n, m, width):
    """Random overlaps of m target voxels with `width` of n source voxels, some of which lie outside."""
    weights = rng.random((m, width))
    weights[rng.random((m, width)) < 0.3] = 0.0
    return np.sort(rng.integers(-2, n, m)), weights / (weights.sum(1, keepdims=True) + 0.2)


def volume_case(rng):
    shape = (7, 9, 11)
    material = rng.integers(0, 5, shape).astype(np.uint8)
    density = rng.uniform(0.001, 2.0, shape).astype(np.float32)
    axes = [axis(rng, n, m, 3) for n, m in zip(shape, (5, 6, 8), strict=True)]
    return material, density, axes


def rings(rng):
    """Irregular stars with holes, partly outside, some corners on pixel edges."""
    outlines = []
    for centre, size, turn in (((6.0, 5.0), 5.0, 1), ((6.0, 5.0), 2.0, -1), ((14.0, 9.0), 6.0, 1)):
        angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
        radius = size * rng.uniform(0.6, 1.0, 30)
        outline = np.column_stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)])[::turn]
        outline[::7] = np.round(outline[::7])
        outlines.append(outline)
    return np.concatenate(outlines), np.cumsum([0] + [len(o) for o in outlines])


def results(backend, rng):
    """Every kernel's result on one random input."""
    material, density, axes = volume_case(rng)
    (first_z, weights_z), (first_y, weights_y), (first_x, weights_x) = axes
    index = rng.uniform(-1.0, 10.0, (500, 3))
    index[::50] = np.nan
    index[1::50] = np.round(index[1::50])
    return (
        backend.kernel("average_axis")(density, first_y, weights_y),
        backend.kernel("dominant_material")(
            material, density, 5, first_z, weights_z, first_y, weights_y, first_x, weights_x, 2, 0.3
        ),
        backend.kernel("trilinear")(density, index, -7.0),
        backend.kernel("polygon_coverage")(*rings(rng), 15, 20),
    )


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_backends_agree(backend, seed):
    found, known = (results(b, np.random.default_rng(seed)) for b in (backend, registry.backend("cpu")))
    # the same operations in the same order, in double precision
    assert_allclose(found[0], known[0], rtol=1e-6)
    assert_array_equal(found[1], known[1])
    assert_allclose(found[2], known[2], rtol=1e-6)
    assert_allclose(found[3], known[3], atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_averages_and_samples_are_those_of_numpy(backend):
    rng = np.random.default_rng(5)
    values = rng.random((4, 9, 3)).astype(np.float32)
    first, weights = axis(rng, 9, 6, 4)
    padded = np.pad(values.astype(float), ((0, 0), (2, 4), (0, 0)))
    wanted = np.einsum("akwb,kw->akb", padded[:, (first[:, None] + np.arange(4) + 2)], weights)
    assert_allclose(backend.kernel("average_axis")(values, first, weights), wanted, rtol=1e-6)
    # a trilinear function is its own interpolation; single precision in, and out
    z, y, x = np.meshgrid(*(np.arange(n) for n in (5, 6, 7)), indexing="ij")
    ramp = (1.0 + 0.5 * z - 0.25 * y + x * y * 0.125).astype(np.float32)
    index = rng.uniform(0, [4, 5, 6], (200, 3))
    exact = 1.0 + 0.5 * index[:, 0] - 0.25 * index[:, 1] + index[:, 2] * index[:, 1] * 0.125
    assert_allclose(backend.kernel("trilinear")(ramp, index, 0.0), exact, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_coverage_of_a_square_is_its_area(backend):
    square = np.array([[1.25, 1.5], [6.5, 1.5], [6.5, 4.75], [1.25, 4.75]])
    covered = backend.kernel("polygon_coverage")(square, np.array([0, 4]), 6, 8)
    x = np.clip(np.minimum(6.5, np.arange(1, 9)) - np.maximum(1.25, np.arange(8)), 0, None)
    y = np.clip(np.minimum(4.75, np.arange(1, 7)) - np.maximum(1.5, np.arange(6)), 0, None)
    assert_allclose(covered, np.outer(y, x), atol=1e-12)


@needs_compiler
def test_bits_do_not_depend_on_the_launch():
    every = [results(b, np.random.default_rng(9)) for b in host_backends()]
    for other in every[1:]:
        for a, b in zip(every[0], other, strict=True):
            assert_array_equal(a, b)
