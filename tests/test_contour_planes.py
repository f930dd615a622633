"""Contours to slabs: areas, holes, gaps and end caps against what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from builders_structures import circle, contour, prism, rectangle
from hypothesis import given, settings
from hypothesis import strategies as st

from dosecalc.errors import PatientError
from dosecalc.patient.contour_planes import (
    LONE_PLANE_MM,
    contour_planes,
    structure_volume_cm3,
    usual_plane_spacing_mm,
)
from dosecalc.patient.structures import Contour, Structure

#: a square of 10 with a square hole of 4, drawn as one line through a channel without width
KEYHOLE = np.array(
    [(0, 0), (10, 0), (10, 10), (0, 10), (0, 5), (3, 5), (3, 7), (7, 7), (7, 3), (3, 3), (3, 5), (0, 5)], dtype=float
)
ROUNDING = 1e-9  # relative: double precision over some hundred vertices


def _area(*contours: Contour) -> float:
    (plane,) = contour_planes(Structure(1, "s", contours=contours))
    return float(plane.polygon.area)


def test_even_spacing_gives_touching_slabs_with_half_end_caps() -> None:
    planes = contour_planes(prism(circle(10), [0, 3, 6]))
    assert [(p.lower_mm, p.upper_mm) for p in planes] == [(-1.5, 1.5), (1.5, 4.5), (4.5, 7.5)]
    assert structure_volume_cm3(prism(circle(10), [0, 3, 6])) == pytest.approx(np.pi * 100 * 9 / 1000, rel=ROUNDING)


def test_without_end_caps_the_structure_ends_at_its_last_planes() -> None:
    planes = contour_planes(prism(circle(10), [0, 3, 6]), end_caps=False)
    assert [(p.lower_mm, p.upper_mm) for p in planes] == [(0, 1.5), (1.5, 4.5), (4.5, 6)]


def test_a_gap_separates_parts_and_is_not_filled() -> None:
    planes = contour_planes(prism(circle(5), [0, 1, 2, 9, 10, 11]))
    assert sum(p.thickness_mm for p in planes) == pytest.approx(6)
    assert planes[2].upper_mm == pytest.approx(2.5)
    assert planes[3].lower_mm == pytest.approx(8.5)


def test_a_region_drawn_more_coarsely_is_no_gap() -> None:
    planes = contour_planes(prism(circle(5), [0, 1, 2, 3, 4, 5, 6, 9, 12, 15]))
    assert planes[-1].upper_mm - planes[0].lower_mm == pytest.approx(sum(p.thickness_mm for p in planes))
    assert planes[-1].upper_mm == pytest.approx(16.5)


def test_a_lone_plane_takes_the_spacing_of_the_image_where_it_is_known() -> None:
    lone = Structure(1, "s", contours=(contour(circle(5), 7.0),), plane_spacing_mm=3.0)
    assert contour_planes(lone)[0].thickness_mm == pytest.approx(3.0)
    assert contour_planes(prism(circle(5), [0]))[0].thickness_mm == LONE_PLANE_MM


def test_a_lone_plane_beyond_a_gap_is_as_thick_as_is_usual() -> None:
    assert contour_planes(prism(circle(5), [0, 2, 4, 30]))[3].thickness_mm == pytest.approx(2.0)


def test_order_of_contours_does_not_matter() -> None:
    z = [6.0, 0.0, 3.0, 9.0]
    assert [p.z_mm for p in contour_planes(prism(circle(5), z))] == sorted(z)


def test_contours_on_nearly_the_same_height_share_a_plane() -> None:
    structure = Structure(1, "s", contours=(contour(circle(5), 0.0), contour(circle(5, (20, 0)), 0.004)))
    assert len(contour_planes(structure)) == 1


def test_inner_contour_is_a_hole_and_the_next_an_island() -> None:
    rings = [contour(circle(r), 0) for r in (30, 20, 10)]
    assert _area(*rings) == pytest.approx(np.pi * (900 - 400 + 100), rel=ROUNDING)


def test_keyhole_equals_hole() -> None:
    hole = _area(contour(rectangle(0, 0, 10, 10), 0), contour(rectangle(3, 3, 7, 7), 0))
    assert _area(contour(KEYHOLE, 0)) == pytest.approx(84.0, rel=ROUNDING)
    assert hole == pytest.approx(84.0, rel=ROUNDING)


def test_island_in_the_hole_of_a_keyhole_is_kept() -> None:
    assert _area(contour(KEYHOLE, 0), contour(rectangle(4, 4, 6, 6), 0)) == pytest.approx(88.0, rel=ROUNDING)


def test_overlapping_contours_are_united_and_xor_ones_are_not() -> None:
    a, b = rectangle(0, 0, 10, 10), rectangle(5, 0, 15, 10)
    assert _area(contour(a, 0), contour(b, 0)) == pytest.approx(150, rel=ROUNDING)
    exclusive = [contour(r, 0, "CLOSEDPLANAR_XOR") for r in (a, b)]
    assert _area(*exclusive) == pytest.approx(100, rel=ROUNDING)


def test_a_contour_written_twice_counts_once() -> None:
    ring = circle(10)
    assert _area(contour(ring, 0), contour(ring + 1e-4, 0)) == pytest.approx(np.pi * 100, rel=1e-4)  # the shift


def test_a_hole_that_pokes_out_by_rounding_stays_a_hole() -> None:
    assert _area(contour(rectangle(0, 0, 10, 10), 0), contour(rectangle(-0.001, 4, 5, 6), 0)) == pytest.approx(90)


def test_touching_contours_add_up() -> None:
    assert _area(contour(rectangle(0, 0, 5, 5), 0), contour(rectangle(5, 0, 9, 5), 0)) == pytest.approx(
        45, rel=ROUNDING
    )


def test_bow_tie_and_repeated_points_are_resolved() -> None:
    bow_tie = np.array([(0, 0), (10, 10), (10, 0), (0, 10)], dtype=float)
    assert _area(contour(bow_tie, 0)) == pytest.approx(50, rel=ROUNDING)
    assert _area(contour(np.repeat(rectangle(0, 0, 4, 4), 3, axis=0), 0)) == pytest.approx(16, rel=ROUNDING)


def test_points_and_open_contours_enclose_nothing() -> None:
    kinds = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
    open_ = tuple(contour(circle(5), 0, kind) for kind in kinds)
    assert contour_planes(Structure(1, "s", contours=open_)) == ()
    assert structure_volume_cm3(Structure(1, "s")) == 0


def test_degenerate_closed_contours_enclose_nothing_and_do_no_harm() -> None:
    flat = contour(np.array([(0.0, 0), (5, 0), (2, 0)]), 3)
    pair = contour(np.array([(0.0, 0), (5, 0)]), 6)
    planes = contour_planes(Structure(1, "s", contours=(contour(circle(5), 0), flat, pair)))
    assert [round(float(p.polygon.area), 6) for p in planes] == [round(np.pi * 25, 6), 0, 0]


def test_a_contour_that_is_not_axial_is_refused_by_name() -> None:
    coronal = Contour(np.array([(0.0, 0, 0), (10, 0, 0), (10, 0, 10), (0, 0, 10)]))
    with pytest.raises(PatientError) as caught:
        contour_planes(Structure(1, "Hjärna", contours=(coronal,)))
    assert caught.value.reason == "CONTOUR_NOT_AXIAL"
    assert "Hjärna" in caught.value.message


def test_usual_spacing_is_the_commonest() -> None:
    assert usual_plane_spacing_mm([prism(circle(5), [0, 2, 4, 6, 20]), prism(circle(5), [0])]) == pytest.approx(2)
    assert usual_plane_spacing_mm([prism(circle(5), [0])]) is None


RINGS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(st.lists(RINGS, min_size=1, max_size=5), st.booleans())
def test_any_scribble_becomes_a_valid_area(rings: list[list[tuple[int, int]]], exclusive: bool) -> None:
    # small whole numbers, so that points, edges and areas coincide all the time
    kind = "CLOSEDPLANAR_XOR" if exclusive else "CLOSED_PLANAR"
    drawn = Structure(1, "s", contours=tuple(contour(np.array(r, dtype=float), 0, kind) for r in rings))
    (plane,) = contour_planes(drawn)
    assert plane.polygon.is_valid
    assert plane.polygon.geom_type in ("Polygon", "MultiPolygon")
    assert 0 <= plane.polygon.area <= 100


def test_thousands_of_specks_on_one_plane_take_no_time() -> None:
    specks = [contour(circle(0.4, (float(i % 60), float(i // 60)), n=8), 0) for i in range(3000)]
    assert _area(*specks) == pytest.approx(3000 * np.pi * 0.16, rel=ROUNDING)
