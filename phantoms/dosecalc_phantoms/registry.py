"""The phantoms by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dosecalc.errors import InputError
from dosecalc.geometry import Grid
from dosecalc.geometry.frames import bld_from_patient as bld_from_patient_of
from dosecalc.geometry.frames import source_patient_mm, support_from_patient
from dosecalc.plan import Beam, ControlPoint
from dosecalc_phantoms.conformal_plan import ConformalPlan, conformal_beams
from dosecalc_phantoms.delivery import DELIVERY_PLANS
from dosecalc_phantoms.dual_layer import LIMIT_MM, as_dual_layer
from dosecalc_phantoms.model import Box, Drawn, Phantom, Point, Region, Sphere
from dosecalc_phantoms.plans import PLAN_KINDS, SAD_MM, PlanSetup, for_patient_position, has_two_layers, plan_of
from dosecalc_phantoms.tg119 import SEVEN_FIELDS, TG119_CASES

#: half the side across and along the patient of every phantom, mm
_HALF_MM = 150.0
_THICKNESS_MM = 300.0
#: of the slabs that TG-119's structures are drawn in; the isocentre lies in the middle when the SSD is 900 mm
_TG119_THICKNESS_MM = 200.0
#: depth of the target's middle, mm
_TARGET_DEPTH_MM = 100.0
_TARGET_RADIUS_MM = 30.0
#: air that the CT shows around the phantom, mm
_MARGIN_MM = 15.0

_NAMES = {
    "en": {"external": "External", "target": "PTV", "organ": "OAR", "lung": "Lung slab", "bone": "Bone slab"},
    "sv": {
        "external": "Ytterkontur",
        "target": "Målvolym",
        "organ": "Riskorgan höger sida",
        "lung": "Lungskiva",
        "bone": "Benskiva åäö",
    },
}

CONFORMAL = "conformal"


@dataclass(frozen=True)
class PhantomKind:
    """A phantom that can be made.

    Parameters
    ----------
    name, description : str
    layers : tuple of (name, start_mm, stop_mm, density_g_cm3)
        Slabs inside the water, by depth below the anterior surface.
    thickness_mm : float
        From the anterior to the posterior surface.
    plan : str
        The plan that it carries unless another is asked for.
    """

    name: str
    description: str
    layers: tuple[tuple[str, float, float, float], ...] = ()
    thickness_mm: float = _THICKNESS_MM
    plan: str = "static"


_KINDS = (
    PhantomKind("water-box", "A box of water, 30 x 30 x 30 cm"),
    PhantomKind(
        "water-lung-slab",
        "The water box with a slab of lung (0.26 g/cm3) from 5 to 15 cm depth",
        (("lung", 50.0, 150.0, 0.26),),
    ),
    PhantomKind(
        "water-bone-slab",
        "The water box with a slab of bone (1.85 g/cm3) from 5 to 8 cm depth",
        (("bone", 50.0, 80.0, 1.85),),
    ),
    *(
        PhantomKind(c.name, c.description, thickness_mm=_TG119_THICKNESS_MM, plan=CONFORMAL)
        for c in TG119_CASES.values()
    ),
)

PHANTOMS: dict[str, PhantomKind] = {k.name: k for k in _KINDS}


def list_phantoms() -> tuple[PhantomKind, ...]:
    """The phantoms that can be made, in the order in which they are worth trying."""
    return _KINDS


def list_plans() -> tuple[str, ...]:
    """The plans that any phantom can carry."""
    return (*PLAN_KINDS, CONFORMAL, *DELIVERY_PLANS)


def make_phantom(
    name: str,
    *,
    plan: str | None = None,
    patient_position: str = "HFS",
    fixed_in: str = "patient",
    spacing_mm: float | tuple[float, float, float] = 2.5,
    ssd_mm: float = 900.0,
    field_mm: tuple[float, float] = (100.0, 100.0),
    mu_per_beam: float = 100.0,
    fractions: int = 1,
    machine_name: str = "DC-6MV-M120",
    energy_mv: float = 6.0,
    fluence_mode: str = "STANDARD",
    language: str = "en",
) -> Phantom:
    """Make a phantom with its plan.

    The isocentre is the origin of the patient frame, ``1000 - ssd_mm`` below the anterior surface. A spherical target
    (radius 30 mm) lies 10 cm deep, a box-shaped organ at risk (40 x 40 x 60 mm) beside it on the patient's left. The
    structures of TG-119 lie about the isocentre instead.

    Parameters
    ----------
    name : str
        One of `list_phantoms`.
    plan : str, optional
        One of `list_plans`: ``static`` (one open field from gantry 0), ``box`` (four), ``step-and-shoot``, ``vmat``,
        ``conformal`` (segments around the targets), or a delivery test. The phantom's own by default: ``conformal``
        for TG-119, else ``static``.
    patient_position : str
        HFS, HFP, FFS, FFP, HFDR, HFDL, FFDR or FFDL.
    fixed_in : 'patient' or 'room'
        What stays when the patient position changes: the anatomy in the patient with the beams that hit it (the dose in
        patient coordinates is the same for all positions; the angles of the plan differ), or phantom and beams in the
        room (the angles are the same; the phantom's patient coordinates differ).
    spacing_mm : float or (dx, dy, dz)
        Voxels of the CT.
    ssd_mm : float
        Source to surface distance of the field from gantry 0; 700 to 1000.
    field_mm : (x, y)
        Open fields, at the isocentre plane.
    mu_per_beam : float
        Per fraction.
    fractions : int
    machine_name, energy_mv, fluence_mode
        What the plan says about the machine.
    language : 'en' or 'sv'
        Of the structures' names; the Swedish ones are not ASCII.

    Raises
    ------
    InputError
        ``PHANTOM_UNKNOWN``, ``PHANTOM_PLAN_UNKNOWN``, ``PHANTOM_OPTION``.
    DicomError
        ``PATIENT_POSITION_UNKNOWN``.
    """
    kind = _kind(name)
    spacing = _checked_spacing(spacing_mm)
    _check(700.0 <= ssd_mm <= SAD_MM, "ssd_mm", "must lie between 700 and 1000 mm")
    _check(fixed_in in ("patient", "room"), "fixed_in", "must be 'patient' or 'room'")
    _check(language in _NAMES, "language", f"must be one of {', '.join(_NAMES)}")
    _check(mu_per_beam > 0 and fractions >= 1, "mu_per_beam, fractions", "must be positive")
    _check(all(0 < f <= 400 for f in field_mm), "field_mm", "must be two sizes above 0 and up to 400 mm")

    widest = 2 * LIMIT_MM if has_two_layers(machine_name) else 400.0
    _check(max(field_mm) <= widest, "field_mm", f"must be two sizes up to {widest:g} mm for {machine_name}")

    surface_mm = -(SAD_MM - ssd_mm)
    target_mm = (0.0, surface_mm + _TARGET_DEPTH_MM, 0.0)
    setup = PlanSetup(
        machine_name=machine_name,
        energy_mv=energy_mv,
        fluence_mode=fluence_mode,
        isocentre_mm=(0.0, 0.0, 0.0),
        target_radius_mm=_TARGET_RADIUS_MM,
        field_mm=field_mm,
        mu_per_beam=mu_per_beam,
        fractions=fractions,
    )
    chosen = plan or kind.plan
    regions = _regions(kind, surface_mm)
    external = Drawn(_NAMES[language]["external"], "EXTERNAL", regions[0].box, (0, 160, 0))
    drawn = _structures(kind, surface_mm, target_mm, language)
    _check(_inside(drawn, regions[0].box), "ssd_mm", "puts a structure outside the phantom")
    upright = Phantom(
        name=kind.name,
        description=kind.description,
        regions=regions,
        drawn=(external, *drawn.values()),
        plan=plan_of(_on_machine(_beams(kind, chosen, drawn, setup), setup), setup, label=f"{kind.name} {chosen}"),
        ct_grid=_ct_grid(regions[0].box, spacing),
        patient_position="HFS",
    )
    placed = _in_patient(upright, patient_position) if fixed_in == "patient" else _in_room(upright, patient_position)
    return _with_ssd(placed)


def _on_machine(beams: tuple[Beam, ...], setup: PlanSetup) -> tuple[Beam, ...]:
    """The beams as the setup's machine delivers them."""
    return tuple(as_dual_layer(b) for b in beams) if has_two_layers(setup.machine_name) else beams


def _kind(name: str) -> PhantomKind:
    try:
        return PHANTOMS[name]
    except KeyError:
        raise InputError(
            "PHANTOM_UNKNOWN", f"There is no phantom {name!r}; there are {', '.join(PHANTOMS)}.", field="name"
        ) from None


def _check(condition: bool, option: str, what: str) -> None:
    if not condition:
        raise InputError("PHANTOM_OPTION", f"The phantom's {option} {what}.", field=option)


def _checked_spacing(spacing_mm: float | tuple[float, float, float]) -> Point:
    dx, dy, dz = (spacing_mm,) * 3 if isinstance(spacing_mm, int | float) else spacing_mm
    _check(all(0.5 <= s <= 10 for s in (dx, dy, dz)), "spacing_mm", "must lie between 0.5 and 10 mm")
    return float(dx), float(dy), float(dz)


def _regions(kind: PhantomKind, surface_mm: float) -> tuple[Region, ...]:
    outline = _layer(surface_mm, 0.0, kind.thickness_mm)
    layers = (Region(n, _layer(surface_mm, start, stop), density) for n, start, stop, density in kind.layers)
    return (Region("water", outline, 1.0), *layers)


def _layer(surface_mm: float, start_mm: float, stop_mm: float) -> Box:
    return Box((-_HALF_MM, surface_mm + start_mm, -_HALF_MM), (_HALF_MM, surface_mm + stop_mm, _HALF_MM))


def _structures(kind: PhantomKind, surface_mm: float, target_mm: Point, language: str) -> dict[str, Drawn]:
    """What is drawn inside, by the names that plans use."""
    if kind.name in TG119_CASES:
        return TG119_CASES[kind.name].drawn(language)
    names = _NAMES[language]
    x, y, z = target_mm
    organ = Box((x + 60.0, y - 20.0, z - 30.0), (x + 100.0, y + 20.0, z + 30.0))
    return {
        "target": Drawn(names["target"], "PTV", Sphere(target_mm, _TARGET_RADIUS_MM), (220, 40, 40)),
        "organ": Drawn(names["organ"], "ORGAN", organ, (40, 90, 220)),
        **{
            layer: Drawn(names[layer], "ORGAN", _layer(surface_mm, start, stop), (150, 110, 60))
            for layer, start, stop, _ in kind.layers
        },
    }


def _inside(drawn: dict[str, Drawn], outline: Box) -> bool:
    """Whether every drawn contour lies in the outline; sampled on a few planes."""
    for z in np.arange(outline.lower_mm[2] + 2.5, outline.upper_mm[2], 5.0):
        for shape in (d.shape for d in drawn.values()):
            polygon = shape.polygon_mm(float(z))
            if polygon is not None and (
                np.any(polygon[:, :2] < outline.lower_mm[:2]) or np.any(polygon[:, :2] > outline.upper_mm[:2])
            ):
                return False
    return True


def _beams(kind: PhantomKind, plan: str, drawn: dict[str, Drawn], setup: PlanSetup) -> tuple[Beam, ...]:
    if plan == CONFORMAL:
        case = TG119_CASES.get(kind.name)
        wanted = case.plan if case else ConformalPlan(SEVEN_FIELDS, ((1.0, ("target",)),), ("organ",))
        return conformal_beams(wanted, drawn, setup)
    try:
        build = {**PLAN_KINDS, **DELIVERY_PLANS}[plan]
    except KeyError:
        raise InputError(
            "PHANTOM_PLAN_UNKNOWN",
            f"There is no phantom plan {plan!r}; there are {', '.join(list_plans())}.",
            field="plan",
        ) from None
    return build(setup)


def _ct_grid(outline: Box, spacing_mm: Point) -> Grid:
    """Voxels whose faces fall onto the outline's lower faces, with some air around."""
    origin, count = [], []
    for lower, upper, step in zip(outline.lower_mm, outline.upper_mm, spacing_mm, strict=True):
        margin = int(np.ceil(_MARGIN_MM / step))
        inside = int(np.ceil((upper - lower) / step - 1e-9))
        origin.append(lower - (margin - 0.5) * step)
        count.append(inside + 2 * margin)
    return Grid((origin[0], origin[1], origin[2]), spacing_mm, (count[2], count[1], count[0]))


def _in_patient(phantom: Phantom, patient_position: str) -> Phantom:
    beams = tuple(for_patient_position(b, patient_position) for b in phantom.plan.beams)
    return replace(phantom, plan=replace(phantom.plan, beams=beams), patient_position=patient_position)


def _in_room(phantom: Phantom, patient_position: str) -> Phantom:
    turn = support_from_patient(patient_position).T @ support_from_patient("HFS")
    corners = Box(phantom.ct_grid.lower_mm, phantom.ct_grid.upper_mm).transformed(turn)
    dx, dy, dz = (float(s) for s in np.abs(turn @ np.asarray(phantom.ct_grid.spacing_mm)))
    beams = tuple(replace(b, patient_position=patient_position) for b in phantom.plan.beams)
    return replace(
        phantom,
        regions=tuple(replace(r, box=r.box.transformed(turn)) for r in phantom.regions),
        drawn=tuple(replace(d, shape=d.shape.transformed(turn)) for d in phantom.drawn),
        ct_grid=Grid.covering(corners.lower_mm, corners.upper_mm, (dx, dy, dz)),
        plan=replace(phantom.plan, beams=beams),
        patient_position=patient_position,
    )


def _with_ssd(phantom: Phantom) -> Phantom:
    """The phantom with the true SSD at every control point of its plan."""
    beams = tuple(
        replace(b, control_points=tuple(replace(c, ssd_mm=_ssd_mm(phantom, b, c)) for c in b.control_points))
        for b in phantom.plan.beams
    )
    return replace(phantom, plan=replace(phantom.plan, beams=beams))


def _ssd_mm(phantom: Phantom, beam: Beam, point: ControlPoint) -> float:
    rotation = bld_from_patient_of(point.gantry_deg, point.collimator_deg, point.couch_deg, beam.patient_position)
    source = source_patient_mm(point.isocentre_patient_mm, rotation, beam.sad_mm)
    inwards = np.asarray(point.isocentre_patient_mm) - source
    inwards /= np.linalg.norm(inwards)
    lower, upper = np.asarray(phantom.external.lower_mm), np.asarray(phantom.external.upper_mm)
    with np.errstate(divide="ignore"):
        near = np.where(
            np.abs(inwards) > 1e-12, np.minimum((lower - source) / inwards, (upper - source) / inwards), -np.inf
        )
    return float(round(np.max(near), 3))


__all__ = ["PHANTOMS", "PLAN_KINDS", "PhantomKind", "list_phantoms", "list_plans", "make_phantom"]
