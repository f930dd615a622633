"""The caller is told where the work is, and asked whether to go on, in every part of it that can take long."""

from collections import Counter

import numpy as np
import pytest
from builders_engine import bare_machine, box, field, plan_of
from numpy.testing import assert_allclose

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import Cancelled
from dosecalc.photon.cones import CONE_SETS
from dosecalc.photon.missing_scatter import FURTHER_FLIGHTS, RINGS

PATIENT = box((160.0, 160.0, 160.0), (8.0, 8.0, 8.0))


def new_machine(soft_share):
    """A spectrum that no other test asks for, so that nothing of it is kept yet."""
    machine = bare_machine()
    (energy,) = machine.energies
    photons = np.array(energy.spectrum.photons_per_bin)
    photons[0] *= soft_share
    spectrum = energy.spectrum.model_copy(update={"photons_per_bin": tuple(photons.tolist())})
    return machine.model_copy(update={"energies": (energy.model_copy(update={"spectrum": spectrum}),)})


def computed(machine, **calls):
    settings = DoseSettings(grid=PATIENT.density.grid)
    return compute_dose(PATIENT, plan_of(field(gantry=30.0)), machine, settings, **calls)


def steps_of(machine):
    seen = []
    computed(machine, progress=seen.append)
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    return Counter(p.step for p in seen)


def test_every_long_part_is_looked_out_of():
    machine = new_machine(1.5)
    first, again = steps_of(machine), steps_of(machine)
    # fitting a ring's exponentials takes a tenth of a second, its cones less
    rings = CONE_SETS["standard"]
    assert first["kernels"] >= len(rings) + sum(r.cones for r in rings)
    # the three kernels of the flights likewise; then the sweeps of each flight, forwards and the rest, and back
    flights = 3 * (len(RINGS) + sum(r.cones for r in RINGS))
    sweeps = 2 * (1 + FURTHER_FLIGHTS) + 1
    assert first["missing scatter"] >= flights + sweeps
    assert sweeps <= again["missing scatter"] < flights
    assert again["kernels"] < len(rings)  # kept from the first time
    for steps in (first, again):
        assert min(steps[name] for name in ("fluence", "ray tracing", "transport", "retrieval", "done")) >= 1


def test_work_ends_in_the_part_in_which_it_is_called_off_and_nothing_half_done_stays():
    machine = new_machine(1.6)
    for part in ("kernels", "fluence", "ray tracing", "transport", "missing scatter"):
        seen = []

        def called_off(part=part, seen=seen):
            return bool(seen) and seen[-1].step == part

        with pytest.raises(Cancelled):
            computed(machine, progress=seen.append, cancelled=called_off)
        assert [p.step for p in seen].count(part) == 1  # asked again before the next step was told
    # a spectrum that differs in its ninth digit finds nothing kept, and was never called off
    expected = computed(new_machine(1.6 * (1 + 1e-9))).total_gy
    # the fits of the exponentials end at a ten-thousandth
    assert_allclose(computed(machine).total_gy, expected, rtol=0, atol=1e-4 * expected.max())
