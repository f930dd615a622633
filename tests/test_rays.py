"""Line integrals along eight rays at a time against dense sampling and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracle import radiological_path

from dosecalc_kernels.cpu.rays import LANES, scratch, side_by_side, trace_back, trace_pairs

ORIGIN, SPACING = np.array([-20.0, -30.0, 5.0]), np.array([4.0, 3.0, 5.0])
SHAPE = (12, 14, 10)


@pytest.fixture(scope="module")
def density():
    return np.random.default_rng(3).uniform(0, 2, SHAPE).astype(np.float32)


def means(density, source, places):
    ways, cells, found = scratch()
    trace_pairs(side_by_side(density, 2 * density), density.shape, ORIGIN, SPACING, source, places, ways, cells, found)
    return found[:, : len(places)]


def lengths_cm(source, places):
    return np.linalg.norm(places - source, axis=1) / 10


@pytest.mark.parametrize("source", [(37.0, -900.0, 120.0), (-700.0, 10.0, 30.0), (0.0, 0.0, 30.0)])
def test_paths_agree_with_dense_sampling(density, source):
    """From three sides, one source inside; also for fewer rays than lanes."""
    rng, source = np.random.default_rng(4), np.array(source)
    for n in (LANES, 3):
        places = ORIGIN + rng.uniform(-0.4, [9.4, 13.4, 11.4], (n, 3)) * SPACING
        a, b = means(density, source, places)
        expected = [radiological_path(density, ORIGIN, SPACING, source, p, 200_000) for p in places]
        # the midpoint sum misplaces each of about 30 boundaries by up to half a sample (2.3 um), where density changes
        # by about 1 g/cm3: 6e-4 g/cm2 as a standard deviation; five of them
        assert_allclose(a * lengths_cm(source, places), expected, atol=3e-3)
        assert_allclose(b, 2 * a, rtol=1e-12)


def test_rays_along_an_axis(density):
    """Through voxel centres, towards both ends of each axis: sums of voxels."""
    middle = ORIGIN + SPACING * (np.array(SHAPE[::-1]) // 2)
    index = np.array(SHAPE) // 2
    for axis in range(3):
        row = np.moveaxis(density, 2 - axis, 0)[:, *np.delete(index, 2 - axis)].astype(float)
        for towards in (1, -1):
            n = index[2 - axis]
            passed = row[:n] if towards > 0 else row[n + 1 :]
            source = middle.copy()
            source[axis] -= towards * 500.0
            a, _ = means(density, source, middle[None])
            # 1e-9: a ray starts that share of its length inside the volume, and ends 1e-10 of it early
            assert a[0] * 500.0 == pytest.approx((passed.sum() + row[n] / 2) * SPACING[axis], rel=1e-6)


def test_edges_of_voxels_are_no_trap():
    """A ray through the corners of voxels is as long as any other; even density says how long."""
    even = np.ones(SHAPE, np.float32)
    lower = ORIGIN - SPACING / 2
    source = lower - 10 * SPACING
    places = np.array([lower + k * SPACING for k in (1.5, 4.0, 9.0)])
    a, _ = means(even, source, places)
    inside = np.linalg.norm(places - lower, axis=1) / 10
    assert_allclose(a * lengths_cm(source, places), inside, rtol=1e-7)


def test_tracing_back_is_the_same_path_until_its_limit(density):
    rng, source = np.random.default_rng(5), np.array([37.0, -900.0, 120.0])
    places = ORIGIN + rng.uniform(-0.4, [9.4, 13.4, 11.4], (LANES, 3)) * SPACING
    paths = means(density, source, places)[0] * lengths_cm(source, places)
    limit = float(np.median(paths))
    ways, cells, found = scratch()
    trace_back(density.ravel(), SHAPE, ORIGIN, SPACING, source, places, limit, ways, cells, found)
    back = found[0] * lengths_cm(source, places)
    short = paths <= limit
    assert_allclose(back[short], paths[short], rtol=1e-7)
    assert np.all(back[~short] > limit)


def test_a_lost_density_shows(density):
    broken = density.copy()
    broken[:, 3, :] = np.nan
    source = np.array([0.0, -900.0, 30.0])
    places = ORIGIN + np.array([(5.0, 2.0, 6.0), (5.0, 8.0, 6.0)]) * SPACING
    a, _ = means(broken, source, places)
    assert np.isfinite(a[0]) and np.isnan(a[1])
