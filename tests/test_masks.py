"""Fractional masks against closed forms and against shapely, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from builders_structures import box, circle, contour, prism, rectangle
from hypothesis import given, settings
from hypothesis import strategies as st

from dosecalc.geometry import Grid
from dosecalc.patient.contour_planes import structure_volume_cm3
from dosecalc.patient.masks import coverage, fractional_mask
from dosecalc.patient.structures import Structure

FLOAT32 = 2e-6  # masks are float32; sums of some thousand fractions keep this relative precision
GRID = Grid((-40.0, -40.0, -20.0), (1.3, 1.7, 2.1), (24, 52, 66))


def _volume(structure: Structure, grid: Grid = GRID) -> float:
    return float(fractional_mask(structure, grid).sum(dtype=np.float64)) * grid.voxel_volume_cm3


def _cell(grid: Grid, j: int, i: int) -> shapely.Geometry:
    ex, ey = grid.edges_mm(0), grid.edges_mm(1)
    return shapely.box(ex[i], ey[j], ex[i + 1], ey[j + 1])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.4, 0.7, 5.0), (3.0, 2.0, 0.3)])
def test_a_cylinder_keeps_its_volume_on_any_grid(spacing: tuple[float, float, float]) -> None:
    structure = prism(circle(12.3, (1.1, -2.7)), np.arange(0, 20.1, 2.5))
    grid = Grid.covering((-15, -16, -5), (17, 13, 27), spacing)
    assert _volume(structure, grid) == pytest.approx(np.pi * 12.3**2 * 22.5 / 1000, rel=FLOAT32)


def test_an_annulus_has_the_difference_of_the_discs() -> None:
    ring = prism([circle(20), circle(7)], np.arange(-10, 10.1, 1.0))
    assert _volume(ring) == pytest.approx(np.pi * (400 - 49) * 21 / 1000, rel=FLOAT32)


def test_a_sphere_converges_to_its_volume() -> None:
    z = np.arange(-11.75, 12, 0.5)
    contours = tuple(contour(circle(float(np.sqrt(144 - v * v))), float(v)) for v in z)
    # planes in the middle of their slabs: the midpoint rule is off by h^2 / (8 R^2) = 0.02 %
    assert _volume(Structure(1, "sphere", contours=contours)) == pytest.approx(4 / 3 * np.pi * 1.728, rel=3e-4)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.9])
def test_a_shifted_square_covers_exact_shares(shift: float) -> None:
    grid = Grid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1, 6, 6))
    covered = coverage(shapely.box(0.5 + shift, 1.5, 3.5 + shift, 3.5), grid)
    expected = np.zeros((6, 6))
    expected[2:4, 1:4] = 1
    expected[2:4, 1] -= shift
    expected[2:4, 4] += shift
    np.testing.assert_allclose(covered, expected, atol=1e-12)  # a few rounding errors of double precision


def test_turning_a_square_keeps_its_area_and_symmetry() -> None:
    grid = Grid((-5.0, -5.0, 0.0), (1.0, 1.0, 1.0), (1, 11, 11))
    square = shapely.box(-3, -3, 3, 3)
    for angle in (0, 17, 45, 60):
        covered = coverage(shapely.affinity.rotate(square, angle, origin=(0, 0)), grid)
        assert covered.sum() == pytest.approx(36, rel=1e-12)
        np.testing.assert_allclose(covered, np.rot90(covered), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-8, 12), st.floats(-8, 12)), min_size=3, max_size=12), st.floats(0.5, 2.0))
def test_coverage_of_any_polygon_is_that_of_shapely(points: list[tuple[float, float]], spacing: float) -> None:
    polygon = shapely.make_valid(shapely.Polygon(points))
    parts = [p for p in shapely.get_parts(polygon) if p.geom_type == "Polygon"]
    polygon = shapely.union_all(parts) if parts else shapely.Polygon()
    grid = Grid((-2.0, -1.0, 0.0), (spacing, 1.0, 1.0), (1, 7, 5))
    covered = coverage(polygon, grid)
    for j in range(7):
        for i in range(5):
            expected = polygon.intersection(_cell(grid, j, i)).area / spacing
            # shapely's overlay snaps crossings, which moves areas by some 1e-9 of the pixel
            assert covered[j, i] == pytest.approx(expected, abs=1e-7)


def test_a_structure_beyond_the_grid_is_cut_at_its_box() -> None:
    structure = box((-1000, -1000, -1000), (1000, 1000, 1000), step_mm=500)
    assert fractional_mask(structure, GRID).min() == 1
    half = box((-1000, -1000, -1000), (GRID.x_mm[3], 1000, 1000), step_mm=500)
    mask = fractional_mask(half, GRID)
    assert np.all(mask[..., :3] == 1) and np.all(mask[..., 4:] == 0)
    np.testing.assert_allclose(mask[..., 3], 0.5, atol=1e-6)  # float32
    assert not fractional_mask(box((500, 500, 500), (510, 510, 510)), GRID).any()


def test_contours_between_and_beyond_the_slices_count() -> None:
    grid = Grid((-20.0, -20.0, 0.0), (1.0, 1.0, 5.0), (6, 41, 41))
    one = fractional_mask(prism(rectangle(-5, -5, 5, 5), [2.4]), grid)
    # a lone plane is 1 mm thick: 0.1 mm in the first voxel (up to 2.5 mm), 0.4 mm in the next; 1.9 to 2.9 mm
    np.testing.assert_allclose([one[0, 20, 20], one[1, 20, 20]], [0.6 / 5, 0.4 / 5], rtol=1e-5)
    beyond = fractional_mask(prism(rectangle(-5, -5, 5, 5), [-4, -2]), grid)
    assert beyond[0, 20, 20] == pytest.approx(1.5 / 5, rel=1e-5)  # from -2.5 to -1 mm
    assert not beyond[1:].any()


def test_touching_structures_add_up_to_their_union() -> None:
    z = np.arange(-9, 10, 3.0)
    left, right = rectangle(-11.3, -7, 2.17, 8), rectangle(2.17, -7, 13, 8)
    parts = fractional_mask(prism(left, z), GRID) + fractional_mask(prism(right, z), GRID)
    whole = fractional_mask(prism(rectangle(-11.3, -7, 13, 8), z), GRID)
    np.testing.assert_allclose(parts, whole, atol=3e-7)  # float32


def test_a_mask_never_leaves_zero_to_one() -> None:
    # planes 0.2 mm apart in voxels of 2.1 mm: ten slabs are added up in each
    mask = fractional_mask(prism(circle(15.3), np.arange(-5, 5, 0.2)), GRID)
    assert mask.min() >= 0 and mask.max() <= 1
    assert mask.dtype == np.float32


def test_volume_of_slabs_equals_volume_of_mask() -> None:
    structure = prism([circle(14), circle(5, (3, 3)), circle(4, (-25, 0))], [-9, -7, -5, 3, 5])
    assert _volume(structure) == pytest.approx(structure_volume_cm3(structure), rel=FLOAT32)
