"""What a voxel that stands askew to the collimator sees of a field's edge."""

from __future__ import annotations

import numpy as np
import pytest

from dosecalc_kernels.cpu.terma import add_terma


def kerma(n, size_mm, rotation):
    """Kerma of a field with one sharp edge through the axis, nearly without attenuation, n x 1 x n voxels."""
    shape = (n, 1, n)
    density = np.full(shape, 1e-6, np.float32)
    out, other = np.zeros((2, *shape), np.float32)
    origin = np.array([-(n - 1) / 2 * size_mm, 0.0, -(n - 1) / 2 * size_mm])
    pitch, half = 0.5, 100
    edge = np.zeros((2 * half, 2 * half))
    edge[:, half:] = 1.0
    integral = np.pad(edge.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ones = np.ones(1, np.float32)
    add_terma(
        out, other, density, density, np.zeros(shape, np.int16), origin, np.array([size_mm, 5.0, size_mm]),
        np.array([0.0, -1000.0, 0.0]), rotation, 1000.0, integral, np.array([-50.0, -50.0]), pitch, 1e-6,
        ones, ones, ones[None], ones[None], np.zeros(3),
    )  # fmt: skip
    return out[:, 0].astype(float)


@pytest.mark.parametrize("collimator_deg", [0.0, 20.0, 35.0])
def test_voxels_at_an_edge_see_the_mean_over_themselves(collimator_deg):
    a = np.radians(collimator_deg)
    # BLD x, y across the beam, z up to the source, which stands towards -y of the grid
    gantry = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    turned = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1.0]]) @ gantry
    coarse, fine = kerma(8, 5.0, turned), kerma(80, 0.5, turned)
    mean = fine.reshape(8, 10, 8, 10).mean((1, 3))
    # one upright rectangle in the voxel's place is off by 0.038 at 35 degrees, its four quarters are by 0.015
    assert np.abs(coarse - mean).max() < 0.02
    assert coarse.sum() == pytest.approx(mean.sum(), rel=2e-3)
