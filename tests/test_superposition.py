"""Cones against an exact superposition of the same tabulated kernels: the numerics alone, without the physics."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from builders_engine import bare_machine
from superposition import angular_tables, directions, dose_at

from dosecalc.machine.model import spectrum_nodes
from dosecalc.photon.cones import CONE_SETS, build_cones
from dosecalc.photon.kernel import poly_kernel
from dosecalc_kernels.cpu.collapsed_cone import ConeTransport

SIDE, STEP_CM, SSD_CM = 30, 0.4, 100.0
ORIGIN = np.array([-5.8, -5.8, -11.8])  # the front face is z = 0, the beam runs along -z
SOURCE = np.array([0.0, 0.0, SSD_CM])


@pytest.fixture(scope="module")
def kernel():
    energies, photons = spectrum_nodes(bare_machine().energies[0].spectrum)
    return poly_kernel(energies, photons * energies)


@pytest.fixture(scope="module")
def tables(kernel):
    return angular_tables(kernel)


def released_in(density, half_cm):
    """Collision kerma and scerma of a square field from a point, by the mass in front of each voxel."""
    at = [o + STEP_CM * np.arange(SIDE) for o in ORIGIN]
    x, y, z = at[0][None, None, :], at[1][None, :, None], at[2][:, None, None]
    depth = SSD_CM - z
    inside = (np.abs(x) / depth * SSD_CM < half_cm) & (np.abs(y) / depth * SSD_CM < half_cm)
    mass = (density[::-1].cumsum(0)[::-1] - density / 2) * STEP_CM
    kerma = np.where(inside, np.exp(-0.045 * mass) * (SSD_CM / depth) ** 2, 0.0)
    return np.array([kerma, 0.7 * kerma])


def swept(kernel, density, released, name):
    cones = build_cones(kernel, CONE_SETS[name], 0.06)
    transport = ConeTransport(density.astype(np.float32), (STEP_CM,) * 3)
    transport.load(*released.astype(np.float32))
    projection = np.array([
        [STEP_CM, 0, 0, ORIGIN[0]], [0, STEP_CM, 0, ORIGIN[1]], [0, 0, -STEP_CM, SSD_CM - ORIGIN[2]],
    ])  # fmt: skip
    for _ in transport.sweep(cones.directions, cones.rates, cones.amplitudes, projection, cones.max_tilt):
        pass
    return transport.dose()


def exact(tables, kernel, density, released, voxels, n_theta=96, n_phi=24):
    """Means over voxels (x, y, z indices) from 8 Gauss points each."""
    vectors, omega = directions(n_theta, n_phi)
    gauss = np.array(list(product((-1, 1), repeat=3))) * STEP_CM / 2 / np.sqrt(3)
    points = (ORIGIN + STEP_CM * voxels)[:, None] + gauss
    dose = dose_at(
        points.reshape(-1, 3), released, density, np.full(3, STEP_CM), ORIGIN, SOURCE, tables, kernel.r_edges_cm,
        vectors, omega,
    )  # fmt: skip
    return dose.reshape(len(voxels), -1).mean(1)


def random_volume():
    """Blocks of 1.6 cm of lung to bone."""
    rng = np.random.default_rng(17)
    blocks = rng.choice([0.25, 0.5, 1.0, 1.0, 1.0, 1.7], (8, 8, 8))
    return np.kron(blocks, np.ones((4, 4, 4)))[:SIDE, :SIDE, :SIDE]


def lung_slab():
    density = np.ones((SIDE,) * 3)
    density[8:20] = 0.26
    return density


def water():
    return np.ones((SIDE,) * 3)


def sample_voxels():
    """Voxels inside the field and beside it, at all depths."""
    rng = np.random.default_rng(3)
    near = rng.integers(9, 21, (40, 2))
    wide = rng.integers(2, 28, (20, 2))
    return np.column_stack([np.concatenate([near, wide]), rng.integers(1, 29, 60)])


def test_even_release_without_end_gives_the_kernels_energy(kernel, tables):
    density = np.full((41, 41, 41), 50.0)  # 1,000 g/cm2 to each side: nothing leaves
    spacing, origin = np.full(3, 1.0), np.full(3, -20.0)
    vectors, omega = directions(60, 8)
    for part, energy in ((0, 1.0), (1, kernel.scatter[-1, -1])):
        released = np.zeros((2, 41, 41, 41))
        released[part] = 1.0
        dose = dose_at(
            np.zeros((1, 3)), released, density, spacing, origin, np.array([0.0, 0.0, 1e9]), tables,
            kernel.r_edges_cm, vectors, omega,
        )  # fmt: skip
        # midpoints of 60 polar rings on a kernel that is steepest at its axis
        assert dose[0] == pytest.approx(energy, rel=2e-3)


def test_directions_of_the_reference_are_enough(kernel, tables):
    density = lung_slab()
    released = released_in(density, 3.0)
    voxels = sample_voxels()[::10]
    few = exact(tables, kernel, density, released, voxels)
    many = exact(tables, kernel, density, released, voxels, 160, 48)
    # measured 1.3e-3, where rays hit or miss voxels at the field's edge: less than half of what the cones are judged by
    assert np.abs(few - many).max() < 2e-3 * many.max()


@pytest.mark.parametrize("volume", [water, lung_slab, random_volume])
def test_cones_are_within_half_a_percent_of_the_exact_superposition(kernel, tables, volume):
    density = volume()
    released = released_in(density, 2.5)
    voxels = sample_voxels()
    expected = exact(tables, kernel, density, released, voxels)
    x, y, z = voxels.T
    inside = np.maximum(np.abs(ORIGIN[0] + STEP_CM * x), np.abs(ORIGIN[1] + STEP_CM * y)) < 1.8
    for name in CONE_SETS:
        off = (swept(kernel, density, released, name)[z, y, x] - expected) / expected.max()
        # the target of the numerics, root mean square: measured 0.24 to 0.37 %
        assert np.sqrt(np.mean(off[inside] ** 2)) < 5e-3
        assert np.sqrt(np.mean(off**2)) < 5e-3
