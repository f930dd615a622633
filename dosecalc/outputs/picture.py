"""One picture of a dose: three planes through a point, isodoses, structures and DVHs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from dosecalc.geometry import Grid, Volume
from dosecalc.outputs.dvh_records import DvhRecord
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.structures import Structure

Point = tuple[float, float, float]
Color = tuple[float, float, float]

_PAPER, _INK, _FAINT = "#101418", "#e8eaed", "#9aa0a6"
#: isodoses in per cent of the reference dose, with colours that stay apart on grey
_ISODOSES = (
    (105.0, "#ff4d4d"),
    (95.0, "#ff9f1c"),
    (80.0, "#f9e547"),
    (50.0, "#5ee27a"),
    (20.0, "#37c6f4"),
    (5.0, "#6b8cff"),
)
_WASH = LinearSegmentedColormap.from_list(
    "wash", [(0, "#3b4cc0"), (0.35, "#37c6f4"), (0.6, "#5ee27a"), (0.8, "#f9e547"), (1, "#ff4d4d")]
)
_WASH_ALPHA = 0.45
#: given to structures that bring no colour of their own
_SPARE_COLORS = ("#e57373", "#64b5f6", "#81c784", "#ffb74d", "#ba68c8", "#4dd0e1", "#fff176", "#a1887f")
#: more curves than this cannot be told apart
_MOST_STRUCTURES = 14


@dataclass(frozen=True, eq=False)
class PictureContent:
    """What goes into a picture.

    Parameters
    ----------
    title, subtitle : str
        Nothing that identifies a person.
    background : Volume
        What is shown in grey.
    window : (lower, upper)
        Values of the background shown black and white.
    dose : Volume
        Gy.
    centre_mm : (x, y, z)
        Where the three planes cross, patient frame.
    reference_gy : float
        Dose that is 100 %.
    reference_name : str
        What it is (``prescription``, ``maximum``).
    structures : sequence of Structure
    dvhs : sequence of DvhRecord
    """

    title: str
    subtitle: str
    background: Volume
    window: tuple[float, float]
    dose: Volume
    centre_mm: Point
    reference_gy: float
    reference_name: str
    structures: Sequence[Structure]
    dvhs: Sequence[DvhRecord]


@dataclass(frozen=True)
class _View:
    """One of the three orthogonal planes.

    Parameters
    ----------
    name : str
    normal, across, up : int
        Patient axes (0 x, 1 y, 2 z): of the plane's normal, of the picture's horizontal and of its vertical.
    labels : (left, right, top, bottom)
    flip_up : bool
        Whether the vertical axis falls upwards (y: anterior is at the top).
    """

    name: str
    normal: int
    across: int
    up: int
    labels: tuple[str, str, str, str]
    flip_up: bool


_VIEWS = (
    _View("Axial", 2, 0, 1, ("R", "L", "A", "P"), True),
    _View("Coronal", 1, 0, 2, ("R", "L", "H", "F"), False),
    _View("Sagittal", 0, 1, 2, ("A", "P", "H", "F"), False),
)
_AXIS_NAMES = "xyz"


def draw_dose(content: PictureContent) -> bytes:
    """Draw a dose.

    Returns
    -------
    bytes
        A PNG file, about 1500 x 1120 pixels.
    """
    figure = Figure(figsize=(15.0, 9.8), dpi=100, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    panels = figure.add_gridspec(
        2, 3, left=0.045, right=0.985, top=0.895, bottom=0.075, wspace=0.11, hspace=0.14, height_ratios=(1.3, 1.0)
    )
    colors = _colors(content.structures)
    shown = _worth_showing(content.structures, content.dvhs)
    for column, view in enumerate(_VIEWS):
        _draw_plane(figure.add_subplot(panels[0, column]), view, content, shown, colors)
    curves = figure.add_subplot(panels[1, :2])
    _draw_dvhs(curves, content, shown, colors)
    _draw_key(figure.add_subplot(panels[1, 2]), content, shown, colors)
    figure.text(0.02, 0.967, content.title, color=_INK, fontsize=15, weight="bold", va="center")
    figure.text(0.02, 0.936, content.subtitle, color=_FAINT, fontsize=9.5, va="center")
    figure.text(0.02, 0.018, "Not a medical device: for research and independent checking.", color=_FAINT, fontsize=8.5)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=_PAPER, metadata={"Software": "dosecalc"})
    return file.getvalue()


def _draw_key(axes: Axes, content: PictureContent, shown: Sequence[Structure], colors: dict[int, Color]) -> None:
    """What the lines mean: isodoses in Gy, structures by colour."""
    axes.set_axis_off()
    maximum = float(content.dose.values.max(initial=0.0))
    doses = [(percent * content.reference_gy / 100, percent, color) for percent, color in _ISODOSES]
    isodoses = [
        Line2D([], [], color=color, linewidth=2.2, label=f"{gy:.3g} Gy  ({percent:g} %)")
        for gy, percent, color in doses
        if gy <= maximum
    ]
    outlines = [Line2D([], [], color=colors[s.number], linewidth=2.2, label=_short(s.name)) for s in shown]
    titles = (f"Isodoses, 100 % = {content.reference_gy:.4g} Gy\n({content.reference_name})", "Structures\n")
    for handles, title, corner in ((isodoses, titles[0], (0.0, 1.03)), (outlines, titles[1], (0.54, 1.03))):
        legend = axes.legend(
            handles=handles,
            title=title,
            loc="upper left",
            bbox_to_anchor=corner,
            fontsize=9,
            title_fontsize=9,
            frameon=False,
            labelcolor=_INK,
            alignment="left",
        )
        legend.get_title().set_color(_FAINT)
        axes.add_artist(legend)


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


# ---- planes ----------------------------------------------------------------------------------------------------------


def _draw_plane(
    axes: Axes, view: _View, content: PictureContent, shown: Sequence[Structure], colors: dict[int, Color]
) -> None:
    position = content.centre_mm[view.normal]
    grey = _plane(content.background, view, position)
    axes.set_facecolor("black")
    axes.imshow(
        grey,
        cmap="gray",
        vmin=content.window[0],
        vmax=content.window[1],
        extent=_extent(content.background.grid, view),
        origin="lower",
        interpolation="bilinear",
    )
    _draw_wash(axes, view, content, position)
    for structure in reversed(shown):  # targets come first in the list and lie on top
        _draw_outline(axes, view, structure, content, position, colors[structure.number])
    _frame_view(axes, view, content)
    axes.set_title(
        f"{view.name}, {_AXIS_NAMES[view.normal]} = {position:.1f} mm", color=_INK, fontsize=10, loc="left", pad=4
    )


def _draw_wash(axes: Axes, view: _View, content: PictureContent, position: float) -> None:
    grid = content.dose.grid
    if not grid.lower_mm[view.normal] <= position <= grid.upper_mm[view.normal]:
        return
    percent = 100.0 * _plane(content.dose, view, position) / content.reference_gy
    axes.imshow(
        percent,
        cmap=_WASH,
        vmin=0.0,
        vmax=107.0,
        alpha=_WASH_ALPHA * np.clip((percent - 1.0) / 15.0, 0.0, 1.0),  # fades out, no edge where there is none
        extent=_extent(grid, view),
        origin="lower",
        interpolation="bilinear",
    )
    levels = [(level, color) for level, color in reversed(_ISODOSES) if percent.min() < level < percent.max()]
    if levels and min(percent.shape) > 1:
        axes.contour(
            _centres(grid, view.across),
            _centres(grid, view.up),
            percent,
            levels=[level for level, _ in levels],
            colors=[color for _, color in levels],
            linewidths=1.0,
        )


def _draw_outline(
    axes: Axes, view: _View, structure: Structure, content: PictureContent, position: float, color: Color
) -> None:
    if not _crosses(structure, view.normal, position):
        return
    grid = _plane_grid(content.background.grid, view, position)
    if min(grid.shape[2 - view.across], grid.shape[2 - view.up]) < 2:
        return
    inside = fractional_mask(structure, grid).squeeze(axis=2 - view.normal)
    if inside.max() > 0.5:
        lines = axes.contour(
            _centres(grid, view.across), _centres(grid, view.up), inside, levels=[0.5], colors=[color], linewidths=1.3
        )
        lines.set(path_effects=[withStroke(linewidth=2.6, foreground="black")])


def _frame_view(axes: Axes, view: _View, content: PictureContent) -> None:
    """Equal scales, the region around dose and patient, letters for the directions."""
    lower, upper = _region(content)
    axes.set_aspect("equal")
    axes.set_xlim(lower[view.across], upper[view.across])
    low, high = lower[view.up], upper[view.up]
    axes.set_ylim((high, low) if view.flip_up else (low, high))
    axes.tick_params(colors=_FAINT, labelsize=7.5, length=2)
    axes.set_anchor("N")
    for spine in axes.spines.values():
        spine.set_color("#3c4043")
    left, right, top, bottom = view.labels
    for x, y, letter in ((0.015, 0.5, left), (0.985, 0.5, right), (0.5, 0.975, top), (0.5, 0.025, bottom)):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            color="white",
            fontsize=12,
            weight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="black")],
            ha={0.015: "left", 0.985: "right"}.get(x, "center"),
            va={0.975: "top", 0.025: "bottom"}.get(y, "center"),
        )
    axes.axhline(content.centre_mm[view.up], color="white", linewidth=0.4, alpha=0.35)
    axes.axvline(content.centre_mm[view.across], color="white", linewidth=0.4, alpha=0.35)


def _region(content: PictureContent) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The dose grid with a little of its surroundings, within what the background shows."""
    around = 10.0
    lower = np.maximum(np.asarray(content.background.grid.lower_mm), np.asarray(content.dose.grid.lower_mm) - around)
    upper = np.minimum(np.asarray(content.background.grid.upper_mm), np.asarray(content.dose.grid.upper_mm) + around)
    apart = lower >= upper
    lower[apart] = np.asarray(content.dose.grid.lower_mm)[apart]
    upper[apart] = np.asarray(content.dose.grid.upper_mm)[apart]
    return lower, upper


def _plane(volume: Volume, view: _View, position: float) -> NDArray[np.float32]:
    """Values of the plane nearest to a position, float32 [up, across]."""
    grid = volume.grid
    centres = _centres(grid, view.normal)
    index = int(np.clip(np.rint((position - centres[0]) / grid.spacing_mm[view.normal]), 0, len(centres) - 1))
    values: NDArray[np.float32] = np.take(volume.values, index, axis=2 - view.normal)
    return values  # the arrays' order z, y, x leaves the vertical axis first in all three views


def _plane_grid(grid: Grid, view: _View, position: float) -> Grid:
    """The part of a grid that is one voxel thick at a position."""
    origin, shape = list(grid.origin_mm), list(grid.shape)
    origin[view.normal] = position
    shape[2 - view.normal] = 1
    return Grid((origin[0], origin[1], origin[2]), grid.spacing_mm, (shape[0], shape[1], shape[2]))


def _centres(grid: Grid, axis: int) -> NDArray[np.float64]:
    return (grid.x_mm, grid.y_mm, grid.z_mm)[axis]


def _extent(grid: Grid, view: _View) -> tuple[float, float, float, float]:
    a, b = view.across, view.up
    return grid.lower_mm[a], grid.upper_mm[a], grid.lower_mm[b], grid.upper_mm[b]


def _crosses(structure: Structure, axis: int, position: float) -> bool:
    """Whether a structure has points on both sides of a plane, give or take the distance of its slices."""
    values = [c.points_mm[:, axis] for c in structure.contours if c.closed and len(c.points_mm)]
    if not values:
        return False
    slack = 5.0
    return bool(min(v.min() for v in values) - slack <= position <= max(v.max() for v in values) + slack)


# ---- structures and DVHs ---------------------------------------------------------------------------------------------


def _colors(structures: Sequence[Structure]) -> dict[int, Color]:
    colors: dict[int, Color] = {}
    for index, structure in enumerate(structures):
        given = structure.color_rgb
        if given is None or sum(given) < 90:  # black lines cannot be seen on black
            spare = _SPARE_COLORS[index % len(_SPARE_COLORS)]
            r, g, b = (int(spare[i : i + 2], 16) for i in (1, 3, 5))
        else:
            r, g, b = given
        colors[structure.number] = (r / 255, g / 255, b / 255)
    return colors


def _worth_showing(structures: Sequence[Structure], dvhs: Sequence[DvhRecord]) -> tuple[Structure, ...]:
    """The structures that can be told apart: targets first, then by the dose they get; the outline always."""
    mean = {d.structure_number: d.statistics.get("mean_gy", 0.0) for d in dvhs}
    targets = ("PTV", "CTV", "GTV")

    def rank(structure: Structure) -> tuple[int, float]:
        first = 0 if structure.kind in targets else 1 if structure.kind == "EXTERNAL" else 2
        return first, -mean.get(structure.number, 0.0)

    drawable = [s for s in structures if not s.empty]
    return tuple(sorted(drawable, key=rank)[:_MOST_STRUCTURES])


def _draw_dvhs(axes: Axes, content: PictureContent, shown: Sequence[Structure], colors: dict[int, Color]) -> None:
    axes.set_facecolor("#171c21")
    by_number = {d.structure_number: d for d in content.dvhs}
    highest = 0.0
    for structure in shown:
        dvh = by_number.get(structure.number)
        if dvh is None or not dvh.volume_cm3 or not dvh.dose_gy:
            continue
        percent = 100.0 * np.asarray(dvh.cumulative_cm3) / dvh.volume_cm3
        axes.plot(dvh.dose_gy, percent, color=colors[structure.number], linewidth=1.7)
        highest = max(highest, float(np.max(dvh.dose_gy)))
    axes.set_xlim(0.0, 1.03 * (highest or content.reference_gy))
    axes.set_ylim(0.0, 101.0)
    axes.set_xlabel("Dose (Gy)", color=_INK, fontsize=9)
    axes.set_ylabel("Volume (%)", color=_INK, fontsize=9)
    axes.set_title("Cumulative DVH", color=_INK, fontsize=10, loc="left", pad=4)
    axes.tick_params(colors=_FAINT, labelsize=8)
    axes.grid(color="#3c4043", linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_color("#3c4043")
    if not axes.lines:
        axes.text(0.5, 0.5, "no structures", color=_FAINT, ha="center", transform=axes.transAxes)
