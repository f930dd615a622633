"""DVHs: closed forms on synthetic solids, every status, what the figures mean."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builders_structures import box, circle, contour, prism, rectangle
from dvh_shapes import linear_dose, lying_cone, lying_cylinder, quantile, solid, sphere

from dosecalc.dose.dvh import DvhCurve, compute_dvh
from dosecalc.dose.dvh_shape import ShapeModel
from dosecalc.dose.dvh_statistics import compare_dvhs, conformity, homogeneity, isodose_volume_cm3
from dosecalc.errors import InputError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.structures import Contour, Structure

# The targets of the project: 0.5 % in volume; 0.1 % of the prescription in D95, here of the 16 Gy at the centre with a
# gradient of 1 Gy/mm.
VOLUME = 5e-3
D95_GY = 0.016

ALONG_Y = linear_dose((0, -1, 0), 16.0)
ALONG_Z = linear_dose((0, 0, 1), 16.0)


def uniform(gy: float, *, half_mm: float = 30.0, spacing_mm: float = 2.0) -> Volume:
    return linear_dose((0, 0, 0), gy, half_mm=half_mm, spacing_mm=spacing_mm)


@pytest.mark.parametrize("spacing_mm", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5])
def test_sphere_wherever_the_planes_cut_it(spacing_mm: float, offset: float) -> None:
    r = 12.0
    truth, volume = quantile(lambda s: math.pi * (r * r - s * s), -r, r, 95.0)
    structure = sphere(r, spacing_mm, offset)
    for dose in (ALONG_Y, ALONG_Z):
        dvh = compute_dvh(structure, dose)
        assert dvh.status == "ok"
        assert dvh.volume_cm3 == pytest.approx(volume / 1000, rel=VOLUME)
        assert dvh.dose_at_volume(percent=95) == pytest.approx(16.0 + truth, abs=D95_GY)
        # by symmetry; a tenth of what D95 is allowed
        if offset != 0.3:
            assert dvh.mean_gy == pytest.approx(16.0, abs=D95_GY / 10)
            assert dvh.median_gy == pytest.approx(16.0, abs=D95_GY / 10)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_cylinder_across_the_planes(offset: float) -> None:
    r, length = 12.0, 24.0
    truth, volume = quantile(lambda s: 2 * math.sqrt(max(0.0, r * r - s * s)) * length, -r, r, 95.0)
    dvh = compute_dvh(lying_cylinder(r, length, 3.0, offset), ALONG_Z)
    assert dvh.volume_cm3 == pytest.approx(volume / 1000, rel=VOLUME)
    assert dvh.dose_at_volume(percent=95) == pytest.approx(16.0 + truth, abs=D95_GY)
    ends = compute_dvh(lying_cylinder(r, length, 3.0, offset), ALONG_Y)
    # the flat ends are at +-12 mm, whatever the resolution
    assert (ends.min_gy, ends.max_gy) == (pytest.approx(4.0, abs=1e-3), pytest.approx(28.0, abs=1e-3))


@pytest.mark.parametrize("spacing_mm", [2.0, 3.0])
@pytest.mark.parametrize("turned_deg", [0.0, 30.0])
def test_lying_cone_keeps_its_tip(spacing_mm: float, turned_deg: float) -> None:
    # the tip is drawn on one plane, and the outline opens from it as a V from plane to plane
    r, length = 12.0, 24.0
    truth, volume = quantile(lambda s: math.pi * (r * (s / length + 0.5)) ** 2, -length / 2, length / 2, 95.0)
    angle = math.radians(turned_deg)
    coldest_at_the_tip = linear_dose((math.sin(angle), -math.cos(angle), 0), 16.0)
    dvh = compute_dvh(lying_cone(r, length, spacing_mm, turned_deg), coldest_at_the_tip)
    assert dvh.volume_cm3 == pytest.approx(volume / 1000, rel=VOLUME)
    assert dvh.dose_at_volume(percent=95) == pytest.approx(16.0 + truth, abs=D95_GY)


def test_every_voxel_inside_counts_for_the_maximum_however_coarse_the_cells() -> None:
    # a large structure on a fine grid: several voxels in one cell, of which one is hot
    dose = linear_dose((0, 0, 0), 10.0, half_mm=90.0, spacing_mm=1.5)
    values = dose.values.copy()
    values[60, 61, 62] = 25.0
    dvh = compute_dvh(sphere(80.0, 3.0), Volume(dose.grid, values), min_samples=20_000, max_samples=40_000)
    assert (dvh.min_gy, dvh.max_gy) == (10.0, 25.0)


def test_leaning_cylinder_keeps_its_cross_section() -> None:
    # each contour shifted by 2 mm against the last: blending distances would lose 1.5 % of the middles
    r, h = 8.0, 3.0
    structure = solid(lambda z: circle(r, (z * 2.0 / h, 0.0), n=360), [h * k for k in range(-4, 5)], "leaning")
    dvh = compute_dvh(structure, uniform(1.0), shape=ShapeModel(end_caps="none"))
    assert dvh.volume_cm3 == pytest.approx(math.pi * r * r * 8 * h / 1000, rel=VOLUME)


def test_ellipsoid() -> None:
    a, b, c = 10.0, 15.0, 12.0

    def section(z: float) -> np.ndarray:
        k = math.sqrt(1 - (z / c) ** 2)
        return circle(1.0, n=360) * (a * k, b * k)

    dvh = compute_dvh(solid(section, [-10.5 + 3 * k for k in range(8)], "ellipsoid"), uniform(1.0))
    assert dvh.volume_cm3 == pytest.approx(4 / 3 * math.pi * a * b * c / 1000, rel=VOLUME)


@pytest.mark.parametrize("model", [ShapeModel(), ShapeModel(between_planes="slab"), ShapeModel(end_caps="half_slice")])
def test_box_is_exact_in_every_shape_model(model: ShapeModel) -> None:
    structure = box((-7.3, -5.1, -9.0), (6.2, 8.4, 9.0), step_mm=3.0)
    dvh = compute_dvh(structure, ALONG_Y, shape=model)
    assert dvh.volume_cm3 == pytest.approx(13.5 * 13.5 * 18 / 1000, rel=1e-3)  # corners are cut within one cell
    assert dvh.dose_at_volume(percent=95) == pytest.approx(16 - 8.4 + 0.05 * 13.5, abs=D95_GY)
    assert dvh.min_gy == pytest.approx(16 - 8.4, abs=1e-3)
    assert dvh.max_gy == pytest.approx(16 + 5.1, abs=1e-3)


def test_end_caps_can_be_left_off() -> None:
    structure = prism(rectangle(-5, -5, 5, 5), [0.0, 2.0, 4.0])
    with_caps, without = (compute_dvh(structure, ALONG_Z, shape=ShapeModel(end_caps=e)) for e in ("tapered", "none"))
    assert with_caps.volume_cm3 == pytest.approx(0.6, rel=1e-3)
    assert without.volume_cm3 == pytest.approx(0.4, rel=1e-3)
    assert (with_caps.min_gy, with_caps.max_gy) == (pytest.approx(15.0, abs=1e-4), pytest.approx(21.0, abs=1e-4))
    assert (without.min_gy, without.max_gy) == (pytest.approx(16.0, abs=1e-4), pytest.approx(20.0, abs=1e-4))


def test_holes_and_islands_count_once() -> None:
    hole = prism([circle(10.0), circle(4.0)], [0.0, 3.0, 6.0])
    assert compute_dvh(hole, uniform(1)).volume_cm3 == pytest.approx(math.pi * (100 - 16) * 9 / 1000, rel=VOLUME)
    # a hole on one plane only ends halfway to its neighbours: 3 mm high
    drawn = [contour(circle(10.0), z) for z in (-3.0, 0.0, 3.0)]
    one = Structure(1, "x", contours=(*drawn, contour(circle(4), 0)))
    assert compute_dvh(one, uniform(1)).volume_cm3 == pytest.approx(math.pi * (900 - 48) / 1000, rel=VOLUME)
    # a part that is drawn on one plane only beside a longer one: one slab of it
    drawn = [contour(circle(6.0), z) for z in (-3.0, 0.0, 3.0)]
    two = Structure(1, "x", contours=(*drawn, contour(circle(4, (15, 0)), 0)))
    assert compute_dvh(two, uniform(1)).volume_cm3 == pytest.approx(math.pi * (36 * 9 + 16 * 3) / 1000, rel=VOLUME)


def test_thin_shell_keeps_its_volume() -> None:
    # 1 mm thick, 150 mm in radius: as thin as the raster; the drawn area counts
    shell = prism([circle(150.0), circle(149.0)], [0.0, 3.0, 6.0])
    dvh = compute_dvh(shell, linear_dose((0, 1, 0), 200.0, half_mm=170.0, spacing_mm=10.0))
    assert dvh.volume_cm3 == pytest.approx(math.pi * (150**2 - 149**2) * 9 / 1000, rel=VOLUME)
    assert dvh.mean_gy == pytest.approx(200.0, abs=0.1)  # by symmetry


def test_hottest_voxel_is_the_maximum() -> None:
    dose = uniform(10.0)
    values = dose.values.copy()
    values[15, 15, 15] = 25.0  # the centre of the grid, between sample points
    dvh = compute_dvh(sphere(9.0, 3.0), Volume(dose.grid, values))
    assert dvh.max_gy == 25.0
    assert dvh.min_gy == 10.0
    # of a trilinear peak of 2 mm half-width, the integral over the voxel is 15 Gy times one voxel's volume
    assert dvh.mean_gy == pytest.approx(10 + 15 * 0.008 / dvh.volume_cm3, rel=1e-3)


def test_empty_structures_say_so() -> None:
    points = Structure(3, "marker", contours=(Contour(np.zeros((1, 3)), "POINT"),))
    line = Structure(4, "line", contours=(contour(np.array([(0.0, 0.0), (5.0, 0.0), (2.0, 0.0)]), 0.0),))
    for structure in (Structure(2, "nothing"), points, line):
        dvh = compute_dvh(structure, ALONG_Y)
        assert dvh.status == "empty" and dvh.notes
        assert dvh.volume_cm3 == 0 and dvh.covered_fraction == 0
        assert math.isnan(dvh.mean_gy) and math.isnan(dvh.dose_at_volume(percent=95))
        assert math.isnan(dvh.statistics()["d95_gy"])
        assert len(dvh.differential()[0]) == 0


def test_outside_the_dose_grid() -> None:
    dvh = compute_dvh(prism(circle(5.0, (100.0, 0.0)), [0.0, 3.0]), ALONG_Y)
    assert dvh.status == "outside"
    assert dvh.volume_cm3 == pytest.approx(math.pi * 25 * 6 / 1000, rel=VOLUME)
    assert dvh.covered_cm3 == 0
    assert math.isnan(dvh.volume_at_dose(gy=0.0))


def test_partly_outside_counts_only_what_is_covered() -> None:
    # the voxels of ALONG_Y end 1 mm beyond the last centres, at x = 31: half of a sphere about there is covered
    half = Structure(
        1,
        "half",
        contours=tuple(contour(c.points_mm[:, :2] + (31.0, 0.0), c.points_mm[0, 2]) for c in sphere(9.0, 3.0).contours),
    )
    dvh = compute_dvh(half, linear_dose((0, 0, 0), 20.0))
    assert dvh.status == "partly_outside"
    assert dvh.covered_fraction == pytest.approx(0.5, abs=2e-3)
    assert "50" in dvh.notes[0]
    # what is not covered is not zero dose
    for gy in (dvh.min_gy, dvh.mean_gy, dvh.dose_at_volume(percent=98)):
        assert gy == pytest.approx(20.0)
    assert dvh.volume_at_dose(gy=20.0, unit="percent") == pytest.approx(100.0)
    assert dvh.cumulative_cm3[0] == pytest.approx(dvh.covered_cm3)


def test_smaller_than_a_voxel_is_still_right() -> None:
    dose = linear_dose((0, 1, 0), 16.0, spacing_mm=5.0)
    structure = prism(circle(1.0, (0.7, 1.3)), [0.2, 1.2])
    dvh = compute_dvh(structure, dose)
    assert dvh.status == "below_voxel"
    assert dvh.volume_cm3 == pytest.approx(math.pi * 2 / 1000, rel=VOLUME)
    assert dvh.mean_gy == pytest.approx(17.3, abs=1e-3)
    assert dvh.max_gy - dvh.min_gy == pytest.approx(2.0, abs=5e-3)


def test_lone_plane_has_the_thickness_of_its_slab() -> None:
    structure = Structure(1, "x", contours=(contour(circle(10.0), 0.0),), plane_spacing_mm=3.0)
    assert compute_dvh(structure, ALONG_Z).volume_cm3 == pytest.approx(math.pi * 100 * 3 / 1000, rel=VOLUME)


def test_dose_and_volume_invert_each_other() -> None:
    dvh = compute_dvh(sphere(10.0, 2.0), ALONG_Y)
    for percent in (1.0, 20.0, 50.0, 95.0, 99.0):
        gy = dvh.dose_at_volume(percent=percent)
        assert dvh.volume_at_dose(gy=gy, unit="percent") == pytest.approx(percent, abs=1e-6)
        assert dvh.dose_at_volume(cc=percent / 100 * dvh.covered_cm3) == pytest.approx(gy, abs=1e-9)
    assert dvh.dose_at_volume(percent=0) == dvh.max_gy
    assert dvh.dose_at_volume(percent=100) == dvh.min_gy
    assert dvh.volume_at_dose(percent_of=(50.0, 32.0)) == dvh.volume_at_dose(gy=16.0)
    assert math.isnan(dvh.dose_at_volume(cc=dvh.volume_cm3 * 1.1))
    assert dvh.volume_at_dose(gy=0.0) == dvh.covered_cm3
    assert dvh.volume_at_dose(gy=99.0) == 0.0


def test_curve_and_differential() -> None:
    dvh = compute_dvh(sphere(10.0, 2.0), ALONG_Y, bin_gy=0.1)
    assert np.all(np.diff(dvh.cumulative_cm3) <= 0)
    assert dvh.dose_gy[0] == 0 and dvh.cumulative_cm3[-1] == 0
    assert dvh.cumulative_percent[0] == pytest.approx(100.0)
    gy, per_gy = dvh.differential()
    assert np.sum(per_gy * 0.1) == pytest.approx(dvh.covered_cm3)
    assert np.sum(gy * per_gy * 0.1) / dvh.covered_cm3 == pytest.approx(dvh.mean_gy, abs=1e-3)
    # statistics do not depend on the bin width of the curve
    coarse = compute_dvh(sphere(10.0, 2.0), ALONG_Y, bin_gy=5.0)
    assert coarse.statistics() == dvh.statistics()


def test_same_bits_whatever_runs_beside_it() -> None:
    structures = [sphere(10.0, 2.0), lying_cylinder(8.0, 20.0, 3.0)] * 3
    alone = [compute_dvh(s, ALONG_Y) for s in structures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: compute_dvh(s, ALONG_Y), structures))
    for a, b in zip(alone, together, strict=True):
        assert a.samples.cumulative_cm3.tobytes() == b.samples.cumulative_cm3.tobytes()
        assert a.statistics() == b.statistics()


def test_wrong_questions_are_refused() -> None:
    dvh = compute_dvh(sphere(5.0, 1.0), ALONG_Y)
    for ask in (
        lambda: dvh.dose_at_volume(),
        lambda: dvh.dose_at_volume(percent=50, cc=1),
        lambda: dvh.dose_at_volume(percent=101),
        lambda: dvh.dose_at_volume(percent=float("nan")),
        lambda: dvh.dose_at_volume(cc=-1),
        lambda: dvh.volume_at_dose(),
        lambda: dvh.volume_at_dose(gy=1, unit="litres"),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert caught.value.reason == "DVH_QUESTION"
    with pytest.raises(InputError, match="bin width"):
        compute_dvh(sphere(5.0, 1.0), ALONG_Y, bin_gy=0.0)


def test_dose_that_is_not_a_number_is_refused() -> None:
    dose = uniform(1.0)
    values = dose.values.copy()
    values[15, 15, 15] = np.nan
    with pytest.raises(InputError) as caught:
        compute_dvh(sphere(5.0, 1.0), Volume(dose.grid, values))
    assert caught.value.reason == "DOSE_NOT_FINITE"


def test_homogeneity_of_a_linear_dose() -> None:
    dvh = compute_dvh(box((-5, -10, -6), (5, 10, 6), step_mm=2.0), ALONG_Y)
    # D2 - D98 is 96 % of the range of 20 Gy; D50 is 16 Gy
    assert homogeneity(dvh).icru83 == pytest.approx(0.96 * 20 / 16, rel=2e-3)
    assert homogeneity(dvh, prescription_gy=20.0).rtog == pytest.approx(26 / 20, rel=1e-3)


def test_conformity_of_concentric_spheres() -> None:
    # dose falls by 1 Gy/mm from 40 Gy at the centre: the 28 Gy isodose is a sphere of 12 mm about a target of 10 mm
    n = 61
    grid = Grid((-30.0,) * 3, (1.0,) * 3, (n, n, n))
    z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
    dose = Volume(grid, (40 - np.sqrt(x * x + y * y + z * z)).astype(np.float32))
    piv = isodose_volume_cm3(dose, 28.0)
    # trilinear interpolation of a cone undershoots it by h^2 / (8 r) x 2 = 0.02 Gy: 0.5 % of the volume at 12 mm
    assert piv == pytest.approx(4 / 3 * math.pi * 12**3 / 1000, rel=1e-2)
    found = conformity(compute_dvh(sphere(10.0, 1.0), dose), reference_gy=28.0, isodose_cm3=piv)
    ratio = (10 / 12) ** 3
    assert found.coverage == pytest.approx(1.0, abs=1e-9)
    assert found.rtog == pytest.approx(1 / ratio, rel=1e-2)
    assert found.paddick == pytest.approx(ratio, rel=1e-2)
    assert found.van_t_riet == pytest.approx(found.paddick)
    # and of half a target: the isodose of 10 mm in a target of 12 mm
    large = compute_dvh(sphere(12.0, 1.0), dose)
    inner = conformity(large, reference_gy=30.0, isodose_cm3=isodose_volume_cm3(dose, 30.0))
    assert inner.coverage == pytest.approx(ratio, rel=1e-2)
    assert inner.selectivity == pytest.approx(1.0, rel=1e-2)


def test_comparison_of_two_dvhs() -> None:
    a = compute_dvh(sphere(10.0, 2.0), ALONG_Y)
    b = compute_dvh(sphere(10.0, 2.0), linear_dose((0, -1, 0), 16.5))
    difference = compare_dvhs(b, a)
    for gy in (difference.max_abs_gy, difference.mean_gy, difference.d95_gy, difference.d2_gy):
        assert gy == pytest.approx(0.5, abs=1e-4)
    assert difference.volume_percent == pytest.approx(0.0, abs=1e-9)
    curve = DvhCurve(np.array([0.0, 10.0]), np.array([2.0, 0.0]))
    assert compare_dvhs(curve, curve).max_abs_gy == 0
    with pytest.raises(InputError):
        compare_dvhs(curve, compute_dvh(Structure(1, "nothing"), ALONG_Y))
