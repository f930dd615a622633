"""What stands in a beam beside jaws and leaves: found in the machine model before computing, applied to the fluence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dosecalc.machine.model import Energy, Machine, spectrum_nodes
from dosecalc.photon.blocks import tray_transmission
from dosecalc.photon.dynamic_wedge import table_of, with_jaw_motion
from dosecalc.photon.fluence import HeadFluence
from dosecalc.photon.segments import View
from dosecalc.photon.spectral import SpectralModel, spectral_model
from dosecalc.photon.wedges import Box, FilteredMap, attenuation_per_mm, behind_plate, check_field, find_plate, path_mm
from dosecalc.plan import Beam, ControlPoint
from dosecalc.plan.motion import crossing_jaw

#: the kernels' plate thickness is rounded to this, in mean free paths
_PATH_STEP = 0.25


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


def chosen(beam: Beam, machine: Machine, energy: Energy) -> dict[str, str]:
    """What of the machine model a beam's accessories were taken to be, for the records.

    Parameters
    ----------
    beam : Beam
        As the plan has it.
    machine, energy
        Of the beam.

    Returns
    -------
    dict of str to str
        ``wedge``, ``blocks``, ``tray_transmission``, ``boluses``, as far as there are any.
    """
    found = {}
    wedges = [
        table_of(w, beam, machine, energy).name if w.kind == "DYNAMIC" else find_plate(w, beam, machine).name
        for w in beam.accessories.wedges
        if w.kind != "DYNAMIC" or crossing_jaw(beam) is None
    ]
    if wedges:
        found["wedge"] = ", ".join(wedges)
    if beam.accessories.blocks:
        found["blocks"] = str(len(beam.accessories.blocks))
    tray = tray_transmission(beam, machine, energy)
    if tray != 1.0:
        found["tray_transmission"] = f"{tray:g}"
    if beam.accessories.boluses:
        found["boluses"] = ", ".join(b.label for b in beam.accessories.boluses)
    return found


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


def by_wedge(beam: Beam) -> tuple[tuple[Beam, float], ...]:
    """A beam as parts that each keep their wedge, or their lack of one, all the time, with their share of the meterset.

    Parameters
    ----------
    beam : Beam
        As `prepared` returned it. One without wedges is its own only part.
    """
    if not beam.accessories.wedges:
        return ((beam, 1.0),)
    points = beam.control_points
    given = np.diff([p.meterset_fraction for p in points])
    parts = []
    for state in dict.fromkeys(p.wedges_in for p, w in zip(points, given, strict=False) if w > 0):
        # while another wedge is in, this part is off
        own = np.array([w if p.wedges_in == state else 0.0 for p, w in zip(points, given, strict=False)])
        share = float(own.sum())
        fractions = np.concatenate([[0.0], np.cumsum(own) / share])
        fractions[-1] = 1.0
        wedges = tuple(w for w in beam.accessories.wedges if w.number in state)
        parts.append(
            (
                replace(
                    beam,
                    control_points=tuple(
                        replace(p, meterset_fraction=float(f)) for p, f in zip(points, fractions, strict=True)
                    ),
                    accessories=replace(beam.accessories, wedges=wedges),
                ),
                share,
            )
        )
    return tuple(parts)


def kernel_quality(beam: Beam, machine: Machine, energy: Energy) -> Energy:
    """The beam quality whose kernels a beam needs: hardened by its wedge plate, where it has one.

    Parameters
    ----------
    beam : Beam
        A part from `by_wedge`.
    machine, energy
        Of the beam.

    Returns
    -------
    Energy
        The same one without a plate. Else with the spectrum, in no particular unit, on the ray through the middle of
        the field. The thickness is rounded, so that beams with one wedge share their kernels.
    """
    if not beam.accessories.wedges:
        return energy
    (wedge,) = beam.accessories.wedges
    spectrum = energy.spectrum
    photons, edges = np.array(spectrum.photons_per_bin), np.array(spectrum.edges_mev)
    there = photons > 0
    plate = find_plate(wedge, beam, machine)
    mu = attenuation_per_mm(plate, ((edges[1:] + edges[:-1]) / 2)[there])
    x, y = (np.array(sum(v) / 2) for v in open_box(beam, beam.control_points[0], machine))
    step = _PATH_STEP / float(np.average(mu, weights=photons[there]))
    path = round(float(path_mm(plate, wedge, x, y, machine.sad_mm)) / step) * step
    photons[there] *= np.exp(-mu * path)
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


def modified_maps(head: HeadFluence, view: View, spectral: SpectralModel) -> Iterator[FilteredMap]:
    """Fluence maps of a view behind everything in the beam, each with its spectrum; what they release adds up.

    Parameters
    ----------
    head : HeadFluence
        Of a part of a beam from `by_wedge`.
    view : View
    spectral : SpectralModel
        Of the open beam.

    Returns
    -------
    iterator of FilteredMap
        Open ones on the head's device, those behind a plate on the host.

    Raises
    ------
    PlanError, MachineError
        As `prepared`.
    """
    fluence = head.map(view)
    if not head.beam.accessories.wedges:
        yield FilteredMap(fluence, spectral)
        return
    (wedge,) = head.beam.accessories.wedges
    plate = find_plate(wedge, head.beam, head.machine)
    fluence = replace(fluence, values=head.device.get(fluence.values))
    yield from behind_plate(fluence, plate, wedge, head.machine, head.energy, spectral)
