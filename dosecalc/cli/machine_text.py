"""A machine model as text for a physicist: block by block, each with its numbers and where they are from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dosecalc.machine.accessories import ByEnergy, DynamicWedge, Tray, WedgePlate
    from dosecalc.machine.model import BackupJaws, Energy, Jaws, Machine, Mlc

#: width of the names of numbers
_NAMES = 24


@dataclass(frozen=True)
class Block:
    """A part of a model.

    Parameters
    ----------
    title : str
        What it is.
    rows : tuple of (name, text)
        Its numbers, with units.
    source : str
        Where they are from; empty for a block of blocks.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    source: str = ""

    def lines(self) -> list[str]:
        """Title, numbers, source."""
        out = [self.title, *(f"  {name.ljust(_NAMES)} {text}" for name, text in self.rows)]
        return [*out, f"  {'source'.ljust(_NAMES)} {self.source}"] if self.source else out


def described(model: Machine) -> list[str]:
    """The lines of a model's description, unbroken; blocks are set apart by empty lines."""
    claimed = ", ".join(model.treatment_machine_names) or "none: choose it by --machine"
    head = Block(
        model.name + (" (generic: represents a type of machine, not a commissioned one)" if model.generic else ""),
        (
            ("description", model.description.strip()),
            ("sha256", model.sha256),
            ("treatment machine names", claimed),
            ("source-axis distance", f"{model.sad_mm:g} mm"),
        ),
    )
    blocks = [head, *_collimators(model)]
    for energy in model.energies:
        blocks += _of_energy(energy)
    blocks += _accessories(model)
    out: list[str] = []
    for block in blocks:
        out += ["", *block.lines()] if out else block.lines()
    return out


def quality_name(nominal_mv: float, fluence_mode: str) -> str:
    """A beam quality in words: ``6 MV FFF``."""
    return f"{nominal_mv:g} MV" + (" FFF" if fluence_mode == "FFF" else "")


# ---- collimators ----------------------------------------------------------------------------------------------------


def _collimators(model: Machine) -> list[Block]:
    blocks = [_jaws("X", model.jaw_x), _jaws("Y", model.jaw_y)]
    if model.backup_jaws is not None:
        blocks.append(_backup(model.backup_jaws))
    if model.mlc is None:
        return [*blocks, Block("Leaves: none", ())]
    stacked = model.second_mlc is not None
    blocks += _leaves(model.mlc, model.sad_mm, "Leaves, first layer (MLCX1)" if stacked else "Leaves")
    if model.second_mlc is not None:
        blocks += _leaves(model.second_mlc, model.sad_mm, "Leaves, second layer (MLCX2)")
    return blocks


def _jaws(axis: str, jaws: Jaws | None) -> Block:
    if jaws is None:
        return Block(f"{axis} jaws: none", ())
    lower, upper = jaws.lower_upper
    through = _percent(lower) if lower == upper else f"{_percent(lower)} ({axis}1), {_percent(upper)} ({axis}2)"
    rows = (("positions", _range(jaws.limits_mm)), ("transmission", through), ("plane", _plane(jaws.distance_mm)))
    return Block(f"{axis} jaws", rows, jaws.source)


def _backup(jaws: BackupJaws) -> Block:
    rows = (
        ("transmission", _percent(jaws.transmission)),
        ("margin", f"{jaws.margin_mm:g} mm behind the outermost open leaf end"),
        ("plane", _plane(jaws.distance_mm)),
    )
    return Block("Backup jaws along the leaves, which no plan mentions", rows, jaws.source)


def _leaves(mlc: Mlc, sad_mm: float, title: str) -> list[Block]:
    body = mlc.body_transmission()
    rows = [
        ("pairs", f"{len(mlc.boundaries_mm) - 1} along {mlc.axis}: {_widths(mlc.boundaries_mm)}"),
        ("boundaries", _range((mlc.boundaries_mm[0], mlc.boundaries_mm[-1]))),
        ("positions", _range(mlc.limits_mm)),
        ("transmission", f"{_percent(mlc.transmission)} on average, leakage between leaves included"),
        (
            "dosimetric leaf gap",
            f"{2 * mlc.tip_offset_mm:g} mm: each edge {mlc.tip_offset_mm:g} mm behind its leaf",
        ),
        ("plane", _plane(mlc.distance_mm)),
    ]
    if mlc.pair_transmission is not None:
        rows.append(("transmission by pair", " ".join(_percent(t) for t in mlc.pair_transmission)))
    blocks = [Block(f"{title}: {mlc.name}", tuple(rows), mlc.source)]
    if mlc.tip is None:
        blocks.append(Block("Leaf ends: sharp", ()))
    else:
        tip = (
            ("radius", f"{mlc.tip.radius_mm:g} mm"),
            ("height of the leaf", f"{mlc.tip.thickness_mm:g} mm"),
            ("attenuation", f"{mlc.tip.attenuation_per_mm:g} /mm"),
        )
        blocks.append(Block("Leaf ends: rounded", tip, mlc.tip.source))
    if mlc.tip_offset_table is not None:
        table = mlc.tip_offset_table
        blocks.append(
            Block(
                "Leaf ends: change of the offset away from the axis",
                (("at mm: by mm", _table(table.position_mm, table.offset_mm)),),
                table.source,
            )
        )
    if mlc.sides is None:
        blocks.append(Block("Leaf sides: plane", ()))
    else:
        magnified = mlc.sides.width_mm * mlc.distance_mm / sad_mm if mlc.distance_mm else None
        at_the_leaf = "" if magnified is None else f", {magnified:.2g} mm at the leaves"
        sides = (
            ("width of the strip", f"{mlc.sides.width_mm:g} mm at the isocentre{at_the_leaf}"),
            ("behind one leaf", _percent(mlc.sides.transmission)),
            ("behind both", f"{_percent(mlc.sides.interleaf_transmission)} (leakage between leaves)"),
            ("between the strips", _spread(body.min(), body.max())),
        )
        blocks.append(Block("Leaf sides: tongue and groove", sides, mlc.sides.source))
    return blocks


# ---- beam qualities -------------------------------------------------------------------------------------------------


def _of_energy(energy: Energy) -> list[Block]:
    from dosecalc.machine.model import spectrum_nodes

    name = quality_name(energy.nominal_mv, energy.fluence_mode)
    c, s = energy.calibration, energy.spectrum
    nodes, photons = spectrum_nodes(s)
    blocks = [
        Block(
            f"{name}: calibration",
            (
                ("dose", f"{c.gy_per_mu:g} Gy/MU at {c.depth_mm:g} mm depth"),
                ("set-up", f"SSD {c.ssd_mm:g} mm, field {c.field_mm:g} x {c.field_mm:g} mm"),
                ("photons", f"{c.photons_per_mu_cm2:.5g} per MU and cm2 at the isocentre, without phantom"),
            ),
            c.source,
        ),
        Block(
            f"{name}: spectrum on the axis",
            (
                ("photons by energy", f"{len(s.photons_per_bin)} bins up to {s.edges_mev[-1]:g} MeV"),
                ("mean energy", f"{float(nodes @ photons):.3g} MeV"),
            ),
            s.source,
        ),
        Block(
            f"{name}: focal spot",
            (("sigma", f"{energy.primary_source.sigma_mm:g} mm"),),
            energy.primary_source.source,
        ),
    ]
    e = energy.extra_focal
    if e is None:
        blocks.append(Block(f"{name}: extra-focal source: none", ()))
    else:
        rows = (
            ("share of the fluence", f"{_percent(e.fraction)} on the axis of a wide open field"),
            ("sigma", f"{e.sigma_mm:g} mm, in its plane {e.distance_mm:g} mm from the target"),
            ("collimators' plane", f"{e.collimator_distance_mm:g} mm from the target, for those that state none"),
        )
        blocks.append(Block(f"{name}: extra-focal source (head scatter)", rows, e.source))
    o = energy.off_axis
    softening = {"none": "none", "tailor1998": "attenuation rises with the angle as Tailor et al. 1998 measured"}
    blocks.append(
        Block(
            f"{name}: off the axis",
            (
                ("mm: fluence", _table(o.radius_mm, o.relative_fluence)),
                ("softening", softening[o.softening]),
            ),
            o.source,
        )
    )
    if energy.electrons is None:
        blocks.append(Block(f"{name}: contamination electrons: none", ()))
    else:
        electrons = energy.electrons
        rows = (
            ("dose at the surface", f"{_percent(electrons.surface_dose)} of the collision kerma, in a very wide field"),
            ("depth to 1/e", f"{electrons.depth_gcm2:g} g/cm2"),
            ("sigma", f"{electrons.sigma_mm:g} mm at the isocentre"),
        )
        blocks.append(Block(f"{name}: contamination electrons", rows, electrons.source))
    if not energy.monitor_backscatter:
        blocks.append(Block(f"{name}: back-scatter into the monitor: none", ()))
    for backscatter in energy.monitor_backscatter:
        blocks.append(
            Block(
                f"{name}: back-scatter into the monitor from the {backscatter.axis} jaws",
                (("mm open: output", _table(backscatter.opening_mm, backscatter.relative_output)),),
                backscatter.source,
            )
        )
    return blocks


# ---- accessories ----------------------------------------------------------------------------------------------------


def _accessories(model: Machine) -> list[Block]:
    found = model.accessories
    blocks = [_plate(w) for w in found.wedges] or [Block("Wedge plates: none", ())]
    blocks += [_dynamic(w) for w in found.dynamic_wedges] or [Block("Dynamic wedges: none", ())]
    blocks += [_tray(t) for t in found.trays] or [Block("Block trays: none (the plan's own factor counts)", ())]
    return blocks


def _plate(wedge: WedgePlate) -> Block:
    what = wedge.material
    if wedge.attenuation is not None:
        table = wedge.attenuation
        what = f"attenuation given from {table.energies_mev[0]:g} to {table.energies_mev[-1]:g} MeV ({table.source})"
    rows = [
        ("answers to Wedge ID", ", ".join(wedge.ids)),
        ("orientations", " ".join(f"{a:g}" for a in wedge.orientations_deg) + " degrees"),
        ("material", f"{what}, {wedge.density_g_cm3:g} g/cm3"),
        ("mm: thickness in mm", _table(wedge.toe_position_mm, wedge.thickness_mm) + " (positive towards the toe)"),
        ("half width", f"{wedge.half_width_mm:g} mm"),
    ]
    if wedge.output_gain:
        rows.append(("output gain", _by_energy(wedge.output_gain)))
    return Block(f"Wedge plate {wedge.name}: {wedge.kind}, {wedge.angle_deg:g} degrees", tuple(rows), wedge.source)


def _dynamic(wedge: DynamicWedge) -> Block:
    rows = (
        ("answers to Wedge ID", ", ".join(wedge.ids)),
        ("angles", " ".join(f"{a:g}" for a in wedge.angles_deg) + " degrees"),
        ("jaw mm: dose", _table(wedge.jaw_y_mm, wedge.dose)),
        ("stops", f"{wedge.final_gap_mm:g} mm from the other jaw"),
    )
    return Block(
        f"Dynamic wedge {wedge.name}, {quality_name(wedge.nominal_mv, wedge.fluence_mode)}", rows, wedge.source
    )


def _tray(tray: Tray) -> Block:
    rows = [("answers to Tray ID", ", ".join(tray.ids)), ("transmission", _by_energy(tray.transmission))]
    if tray.distance_mm is not None:
        rows.append(("blocks", f"{tray.distance_mm:g} mm from the target, for plans that do not say"))
    return Block(f"Block tray {tray.name}", tuple(rows), tray.source)


# ---- numbers --------------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _spread(lowest: float, highest: float) -> str:
    return _percent(lowest) if highest - lowest < 1e-9 else f"{_percent(lowest)} to {_percent(highest)}"


def _range(limits_mm: tuple[float, float]) -> str:
    return f"{limits_mm[0]:g} to {limits_mm[1]:g} mm"


def _plane(distance_mm: float | None) -> str:
    return (
        "that of the extra-focal source's collimators" if distance_mm is None else f"{distance_mm:g} mm from the target"
    )


def _table(at: tuple[float, ...], values: tuple[float, ...]) -> str:
    return ", ".join(f"{a:g}: {v:.4g}" for a, v in zip(at, values, strict=True))


def _by_energy(values: tuple[ByEnergy, ...]) -> str:
    return ", ".join(f"{v.value:g} ({quality_name(v.nominal_mv, v.fluence_mode)})" for v in values)


def _widths(boundaries_mm: tuple[float, ...]) -> str:
    """Leaf widths in a row: ``10 x 10, 40 x 5, 10 x 10 mm``."""
    widths = [round(b - a, 3) for a, b in pairwise(boundaries_mm)]
    return ", ".join(f"{len(list(same))} x {width:g}" for width, same in groupby(widths)) + " mm"
