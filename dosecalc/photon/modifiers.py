"""What stands in a beam beside jaws and leaves: found in the machine model before computing, applied to the fluence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dosecalc.machine.model import Energy, Machine, spectrum_nodes
from dosecalc.photon.blocks import tray_transmission
from dosecalc.photon.dynamic_wedge import with_jaw_motion
from dosecalc.photon.fluence import fluence_map
from dosecalc.photon.segments import Segment, View
from dosecalc.photon.spectral import SpectralModel, spectral_model
from dosecalc.photon.wedges import Box, FilteredMap, attenuation_per_mm, behind_plate, check_field, find_plate, path_mm
from dosecalc.plan import Beam, ControlPoint

#: the kernels' plate thickness is rounded to this, in mean free paths, and its share of the meterset to a tenth
_PATH_STEP = 0.25
_SHARE_STEPS = 10


def prepared(beam: Beam, machine: Machine, energy: Energy) -> Beam:
    """The beam as it is delivered, after everything in it was found in the machine model.

    Dynamic wedges are written out as jaw motion. Nothing is computed before every beam of a plan has passed.

    Raises
    ------
    MachineError
        ``WEDGE_UNKNOWN``, ``WEDGE_AMBIGUOUS``, ``WEDGE_ORIENTATION``, ``TRAY_UNKNOWN``, ``TRAY_AMBIGUOUS``,
        ``TRAY_MISMATCH``, ``MATERIAL_UNKNOWN``, ``ENERGY_OUTSIDE_TABLE``.
    PlanError
        ``WEDGE_FIELD_TOO_LARGE``, ``WEDGE_DIRECTION``.
    """
    tray_transmission(beam, machine, energy)
    beam = with_jaw_motion(beam, machine, energy)
    for wedge in beam.accessories.wedges:
        plate = find_plate(wedge, beam, machine)
        attenuation_per_mm(plate, spectrum_nodes(energy.spectrum)[0])
        for point in beam.control_points:
            if wedge.number in point.wedges_in:
                check_field(plate, wedge, beam, open_box(beam, point, machine))
    return beam


def open_box(beam: Beam, point: ControlPoint, machine: Machine) -> Box:
    """Ranges of x and y, mm at the isocentre plane, that jaws and leaves leave open; without either, 0.2 of the SAD."""
    widest = 0.2 * machine.sad_mm
    x, y = point.jaw_x_mm or (-widest, widest), point.jaw_y_mm or (-widest, widest)
    if beam.mlc is None or point.leaves_mm is None:
        return x, y
    (pairs,) = np.nonzero(point.leaves_mm[:, 1] - point.leaves_mm[:, 0] > 0.01)
    if len(pairs) == 0:
        return x, y
    along = float(point.leaves_mm[pairs, 0].min()), float(point.leaves_mm[pairs, 1].max())
    across = float(beam.mlc.boundaries_mm[pairs[0]]), float(beam.mlc.boundaries_mm[pairs[-1] + 1])
    leaf_x, leaf_y = (along, across) if beam.mlc.axis == "X" else (across, along)
    return _overlap(x, leaf_x), _overlap(y, leaf_y)


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, high) if low <= high else a


def kernel_quality(beam: Beam, machine: Machine, energy: Energy) -> Energy:
    """The beam quality whose kernels a beam needs: hardened by its wedge plate, where it has one.

    Parameters
    ----------
    beam : Beam
        As `prepared` returned it.
    machine, energy
        Of the beam.

    Returns
    -------
    Energy
        The same one without a plate. Else with a spectrum, in no particular unit, that is the mean over the meterset on
        the ray through the middle of the field. Thickness and share are rounded, so that beams with one wedge share
        their kernels.
    """
    total = {w.number: 0.0 for w in beam.accessories.wedges}
    for a, b in pairwise(beam.control_points):
        for number in a.wedges_in:
            total[number] += b.meterset_fraction - a.meterset_fraction
    used = [w for w in beam.accessories.wedges if total[w.number] > 0]
    if not used:
        return energy
    spectrum = energy.spectrum
    photons = np.array(spectrum.photons_per_bin)
    edges = np.array(spectrum.edges_mev)
    nodes = ((edges[1:] + edges[:-1]) / 2)[photons > 0]
    through = np.zeros(len(nodes))
    open_share = 1.0
    for wedge in used:
        share = round(total[wedge.number] * _SHARE_STEPS) / _SHARE_STEPS
        point = next(p for p in beam.control_points if wedge.number in p.wedges_in)
        middle = [np.array(sum(v) / 2) for v in open_box(beam, point, machine)]
        plate = find_plate(wedge, beam, machine)
        mu = attenuation_per_mm(plate, nodes)
        step = _PATH_STEP / float(np.average(mu, weights=photons[photons > 0]))
        path = round(float(path_mm(plate, wedge, middle[0], middle[1], machine.sad_mm)) / step) * step
        through += share * np.exp(-mu * path)
        open_share -= share
    photons[photons > 0] *= through + max(open_share, 0.0)
    hardened = spectrum.model_copy(update={"photons_per_bin": tuple(photons.tolist())})
    return energy.model_copy(update={"spectrum": hardened})


def open_beam_model(quality: Energy, energy: Energy, materials: tuple[str, ...], quantity: str) -> SpectralModel:
    """Spectral model of the open beam whose energies are weighted for the kernels of another quality.

    Parameters
    ----------
    quality : Energy
        From `kernel_quality`.
    energy : Energy
        Of the open beam.
    materials, quantity
        As for `spectral_model`.
    """
    model = spectral_model(quality, materials, quantity)
    if quality is energy:
        return model
    photons, hardened = spectrum_nodes(energy.spectrum)[1], spectrum_nodes(quality.spectrum)[1]
    per_photon = photons / hardened
    return replace(
        model, release_kerma=model.release_kerma * per_photon, release_scerma=model.release_scerma * per_photon
    )


def modified_maps(
    beam: Beam, view: View, machine: Machine, energy: Energy, pitch_mm: float, spectral: SpectralModel
) -> Iterator[FilteredMap]:
    """Fluence maps of a view behind everything in the beam, each with its spectrum; what they release adds up.

    Parameters
    ----------
    beam : Beam
        As `prepared` returned it.
    view, machine, energy, pitch_mm
        As for `fluence_map`.
    spectral : SpectralModel
        Of the open beam.

    Raises
    ------
    PlanError, MachineError
        As `fluence_map` and `prepared`.
    """
    for inside, segments in _by_wedge(view).items():
        fluence = fluence_map(beam, replace(view, segments=tuple(segments)), machine, energy, pitch_mm)
        wedges = [w for w in beam.accessories.wedges if w.number in inside]
        if not wedges:
            yield FilteredMap(fluence, spectral)
            continue
        (wedge,) = wedges  # two at once were refused
        yield from behind_plate(fluence, find_plate(wedge, beam, machine), wedge, machine, energy, spectral)


def _by_wedge(view: View) -> dict[frozenset[int], list[Segment]]:
    """The segments of a view by the wedges that are in the beam."""
    groups: dict[frozenset[int], list[Segment]] = {}
    for segment in view.segments:
        groups.setdefault(segment.start.wedges_in, []).append(segment)
    return groups
