"""The pencil beam as an engine: beside the collapsed cone in water, and what any dose engine must do."""

from dataclasses import replace

import numpy as np
import pytest
from backends import needs_compiler
from builders_accessories import plate, wedged, with_accessories
from builders_engine import bare_machine, box, dynamic, field, leaf_bank, plan_of
from numpy.testing import assert_allclose
from scipy.ndimage import uniform_filter1d

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import DosecalcError, GeometryError
from dosecalc.geometry import Grid, Volume
from dosecalc.photon.pencil_beam import PencilBeam, PencilBeamSettings
from dosecalc_kernels.registry import backend


def dose_of(patient, *beams, machine=None, mu=1.0, fractions=1, engine="pencil_beam", **settings):
    settings.setdefault("grid", patient.density.grid)
    plan = plan_of(*beams, mu=mu, fractions=fractions)
    return compute_dose(patient, plan, machine or bare_machine(), DoseSettings(engine=engine, **settings))


@pytest.fixture(scope="module")
def uneven():
    """A box with a bone-like and a lung-like part, off centre, so that no symmetry hides a wrong sign."""
    patient = box()
    density = patient.density.values.copy()
    density[5:20, 10:18, 22:34] = 1.6
    density[18:30, 20:34, 4:16] = 0.3
    return replace(patient, density=Volume(patient.density.grid, density))


@pytest.fixture(scope="module")
def tank():
    """Water 30 cm deep, the surface at 90 cm from the source."""
    return box((300.0, 300.0, 300.0), (5.0, 5.0, 5.0), centre=(0.0, 50.0, 0.0))


@pytest.fixture(scope="module")
def wide_tank():
    """The same, 40 cm wide.

    A pencil is one in endless water, and the collapsed cone has no scatter from beside the tank: for 30 cm instead of
    40 that is 0.1 % of the dose of a 20 cm field (on the axis, mean over depths).
    """
    return box((400.0, 300.0, 400.0), (5.0, 5.0, 5.0), centre=(0.0, 50.0, 0.0))


@pytest.mark.parametrize(("side", "mv"), [(30.0, 6), (100.0, 6), (200.0, 6), (100.0, 15)])
def test_both_engines_agree_in_water(wide_tank, side, mv):
    """Absolute, per photon: on the axis beyond the build-up and across the middle of the field, within 1 %."""
    beam, machine = field(side / 2, side / 2, mv=float(mv)), bare_machine(mv)
    engines = ("pencil_beam", "collapsed_cone")
    pencil, cone = (dose_of(wide_tank, beam, machine=machine, engine=e).total_gy for e in engines)
    g = wide_tank.density.grid
    middle = slice(g.shape[2] // 2 - 1, g.shape[2] // 2 + 1)
    depth = g.y_mm + 100.0
    # from behind the maximum to 8 cm before the exit, where the collapsed cone misses what scatters back; over 15 mm
    # along and 10 mm across, because its stations make single voxels uneven by 0.7 %
    along = (depth > 25) & (depth < 225)
    axis = [uniform_filter1d(d[middle][:, along][:, :, middle].mean((0, 2)), 3)[1:-1] for d in (pencil, cone)]
    assert_allclose(axis[0], axis[1], rtol=0.01)
    assert np.mean(axis[0] / axis[1]) == pytest.approx(1.0, abs=0.005)
    level = int(np.argmin(np.abs(depth - 102.5)))
    inside = np.abs(g.x_mm) < 0.4 * side
    profile = [d[middle][:, level].mean(0) for d in (pencil, cone)]
    assert_allclose(profile[0][inside], profile[1][inside], rtol=0.01)
    # beside the penumbra: of the dose on the axis
    outside = np.abs(g.x_mm) > side / 2 + 15
    assert_allclose(profile[0][outside], profile[1][outside], rtol=0, atol=0.01 * profile[1].max())


def test_beams_add_up(uneven):
    beams = [field(40, (-20, 50), gantry=g, number=n) for n, g in ((1, 0.0), (2, 130.0))]
    both = dose_of(uneven, *beams)
    single = [dose_of(uneven, b) for b in beams]
    assert np.array_equal(both.total_gy, single[0].total_gy + single[1].total_gy)


def test_dose_is_linear_in_mu_fractions_and_fluence(uneven):
    one = dose_of(uneven, field()).total_gy
    # a product with an exact small number: at most one float32 rounding
    assert_allclose(dose_of(uneven, field(), mu=3.0, fractions=2).total_gy, 6 * one, rtol=2e-7)
    left, right = (dose_of(uneven, field(x, 40)).total_gy for x in ((-40.0, 0.0), (0.0, 40.0)))
    # two half fields make the whole, but for the rounding of float32 transforms
    assert_allclose(left + right, dose_of(uneven, field(40, 40)).total_gy, rtol=0, atol=2e-5 * one.max())


def test_symmetric_input_gives_symmetric_dose():
    dose = dose_of(box(), field(40, 40)).total_gy
    for mirrored in (dose[:, :, ::-1], dose[::-1], dose.transpose(2, 1, 0)):
        # float32 transforms, and rays that are not mirror images of each other
        assert_allclose(dose, mirrored, rtol=0, atol=1e-4 * dose.max())


def test_inverse_square_in_air():
    """A small piece of water in air, moved along the axis: dose falls with the square of the distance."""
    doses = []
    for y in (-200.0, 0.0, 250.0):
        dose = dose_of(box((30, 30, 30), (5, 5, 5), centre=(0, y, 0)), field(50, 50)).total_gy
        # a pencil beam knows no end of the cube sideways: its field is as wide as the beam is there
        doses.append(dose[3, 1, 3] * (1000 + y - 10) ** 2)
    # the field in cm grows with the distance, 8 to 12.5 cm, and with it what scatters: 0.6 % in 5 mm depth
    assert_allclose(doses, doses[1], rtol=0.01)


def test_collimator_turn_exchanges_the_jaws(uneven):
    a = dose_of(uneven, field((-20, 50), (-35, 30), gantry=30.0)).total_gy
    b = dose_of(uneven, field((-35, 30), (-50, 20), gantry=30.0, collimator=90.0)).total_gy
    # the same rays, turned: what is left is rounding
    assert_allclose(a, b, rtol=0, atol=1e-4 * a.max())


def test_gantry_90_enters_from_the_patients_left():
    middle = dose_of(box(), field(30, 30, gantry=90.0)).total_gy[20, 20]
    assert middle[-5] > 1.3 * middle[4]


def test_an_oblique_beam_has_the_depth_of_its_ray():
    """Dose at the isocentre in a box depends on the slant depth alone: beside the collapsed cone, which knows more."""
    patient = box((240.0, 120.0, 240.0), (4.0, 4.0, 4.0))
    pencil, cone = (dose_of(patient, field(30, 30, gantry=40.0), engine=e) for e in ("pencil_beam", "collapsed_cone"))
    at = tuple(slice(n // 2 - 1, n // 2 + 1) for n in patient.density.grid.shape)
    # parts of the field lie 1.5 tan 40 cm = 1.3 cm deeper or less deep, which evens out: 2 %
    assert_allclose(pencil.total_gy[at].mean(), cone.total_gy[at].mean(), rtol=0.02)


def test_widths_that_follow_the_density_bring_a_small_field_in_lung_near_the_collapsed_cone():
    patient = box((160.0, 200.0, 160.0), (4.0, 4.0, 4.0))
    density = patient.density.values.copy()
    density[:, 10:40] = 0.26
    patient = replace(patient, density=Volume(patient.density.grid, density))
    # float: the isocentre's depth, within the lung
    at = (slice(19, 21), slice(22, 28), slice(19, 21))
    cone = dose_of(patient, field(15, 15), engine="collapsed_cone").total_gy[at].mean()
    off, on = (
        dose_of(patient, field(15, 15), heterogeneity=h).total_gy[at].mean() / cone - 1
        for h in ("radiological_depth", "density_scaling")
    )
    # water's narrow penumbra puts a tenth too much on the axis of a 3 cm field in lung
    assert off > 0.08 and abs(on) < 0.03


def test_step_and_shoot_split_in_two_gives_the_same_dose(uneven):
    mlc = leaf_bank()
    machine = bare_machine(mlc=mlc, leaf_transmission=0.02)
    a, b = np.tile([-30.0, 10.0], (40, 1)), np.tile([-5.0, 40.0], (40, 1))
    whole = dynamic([0, 0.4, 0.4, 1.0], [a, a, b, b], mlc=mlc)
    one = dose_of(uneven, whole, machine=machine, mu=10.0).total_gy
    halves = [dynamic([0, 1.0], [x, x], mlc=mlc, number=n) for n, x in ((1, a), (2, b))]
    two = dose_of(uneven, *halves, machine=machine, mu={1: 4.0, 2: 6.0}).total_gy
    # float32 transforms of maps of another size
    assert_allclose(one, two, rtol=0, atol=1e-4 * one.max())


def test_an_arc_is_the_sum_of_its_directions():
    mlc = leaf_bank()
    machine = bare_machine(mlc=mlc)
    patient = box((120, 120, 120))
    aperture = np.tile([-15.0, 25.0], (40, 1))
    arc = dynamic([0, 1.0], [aperture] * 2, mlc=mlc, half_y=20.0, gantry=[0.0, 40.0])
    dose = dose_of(patient, arc, machine=machine, arc_tolerance_deg=5.0).total_gy
    angles = np.arange(2.5, 40, 5.0)
    beams = [field(60.0, 20.0, gantry=g, number=n + 1, mlc=mlc, leaves=aperture) for n, g in enumerate(angles)]
    expected = dose_of(patient, *beams, machine=machine, mu=1 / len(beams)).total_gy
    assert_allclose(dose, expected, rtol=0, atol=1e-4 * dose.max())


def test_softening_follows_the_collapsed_cone_off_the_axis(tank):
    machine = bare_machine()
    energy = machine.energies[0]
    softer = energy.model_copy(update={"off_axis": energy.off_axis.model_copy(update={"softening": "tailor1998"})})
    machine = machine.model_copy(update={"energies": (softer,)})
    beam = field((60.0, 120.0), (-30.0, 30.0))
    pencil, cone = (dose_of(tank, beam, machine=machine, engine=e).total_gy for e in ("pencil_beam", "collapsed_cone"))
    g = tank.density.grid
    # along the ray at 9 cm off the axis, in 5 to 20 cm depth
    for depth in (50.0, 100.0, 200.0):
        j, i = int(np.argmin(np.abs(g.y_mm + 100 - depth))), int(np.argmin(np.abs(g.x_mm - 90 * (900 + depth) / 1000)))
        k = g.shape[0] // 2
        assert_allclose(pencil[k, j, i], cone[k, j, i], rtol=0.015)


def test_a_wedge_filters_as_it_does_for_the_collapsed_cone(tank):
    """Every class of filtered spectrum has a pencil kernel of its own."""
    machine = with_accessories(bare_machine(), wedges=[plate()])
    beam = wedged(field(40.0, 40.0))
    pencil, cone = (dose_of(tank, beam, machine=machine, engine=e).total_gy for e in ("pencil_beam", "collapsed_cone"))
    inside = (slice(25, 35), slice(10, 40), slice(25, 35))
    # the engines' 1 % in water, and single voxels of the collapsed cone 0.7 % up and down
    assert_allclose(pencil[inside], cone[inside], rtol=0.02)
    assert np.mean(pencil[inside] / cone[inside]) == pytest.approx(1.0, abs=0.006)
    assert (
        abs(np.log(pencil[30, 20, 25] / pencil[30, 20, 34])) + abs(np.log(pencil[25, 20, 30] / pencil[34, 20, 30]))
        > 0.1
    )


def test_bits_do_not_depend_on_threads(uneven):
    a, b = (dose_of(uneven, field(gantry=20.0), threads=n).total_gy for n in (1, 2))
    assert np.array_equal(a, b)


def test_a_small_dose_grid_cuts_from_the_same_dose(uneven):
    whole = dose_of(uneven, field(gantry=75.0)).total_gy
    g = uneven.density.grid
    o = tuple(o + s * n for o, s, n in zip(g.origin_mm, g.spacing_mm, (12, 9, 15), strict=True))
    part = dose_of(uneven, field(gantry=75.0), grid=Grid(o, g.spacing_mm, (8, 10, 6))).total_gy
    assert np.array_equal(part, whole[15:23, 9:19, 12:18])


@needs_compiler
@pytest.mark.parametrize("gantry", [0.0, 35.0])
def test_the_cuda_twin_gives_the_same_dose(uneven, gantry):
    machine = bare_machine()
    beam = field((-20, 50), (-35, 30), gantry=gantry)
    doses = [
        PencilBeam(uneven, PencilBeamSettings(), backend(name)).beam_dose(
            beam, machine, machine.energies[0], lambda *_: None, lambda: False
        )[0]
        for name in ("cpu", "host-cuda")
    ]
    # the target for twins is 1e-4 of the maximum
    assert_allclose(doses[1], doses[0], rtol=0, atol=1e-5 * doses[0].max())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"cones": "standard"}, "CONES_UNKNOWN"), ({"heterogeneity": "electrons"}, "HETEROGENEITY_UNKNOWN")],
)
def test_what_the_engine_cannot_do_is_refused(uneven, settings, reason):
    with pytest.raises(DosecalcError) as e:
        dose_of(uneven, field(), **settings)
    assert e.value.reason == reason


def test_more_matter_than_the_kernels_cover_is_refused():
    patient = box((40.0, 640.0, 40.0), (8.0, 8.0, 8.0), density=2.0)
    with pytest.raises(GeometryError) as e:
        dose_of(patient, field(20, 20))
    assert e.value.reason == "PATIENT_TOO_DEEP"
