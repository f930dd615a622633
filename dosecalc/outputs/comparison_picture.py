"""One picture of two doses: reference, difference and gamma in the planes through one point."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from dosecalc.dose.compare import Comparison
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.structures import Structure

_PAPER, _INK, _FAINT, _EMPTY = "#101418", "#e8eaed", "#9aa0a6", "#171c21"
_DOSE = LinearSegmentedColormap.from_list(
    "dose", [(0, "#101418"), (0.15, "#3b4cc0"), (0.4, "#37c6f4"), (0.65, "#5ee27a"), (0.85, "#f9e547"), (1, "#ff4d4d")]
)
_DIFFERENCE = LinearSegmentedColormap.from_list("difference", [(0, "#37a0ff"), (0.5, "#101418"), (1, "#ff5c4d")])
#: changes hue at gamma 1, the middle of its range
_GAMMA = LinearSegmentedColormap.from_list(
    "gamma", [(0, "#12261c"), (0.4999, "#5ee27a"), (0.5, "#f9c447"), (1, "#ff2d2d")]
)
#: name, axis of the normal, of the horizontal and of the vertical (0 x, 1 y, 2 z), letters at the sides, y downwards
_PLANES = (
    ("Axial", 2, 0, 1, ("R", "L", "A", "P")),
    ("Coronal", 1, 0, 2, ("R", "L", "H", "F")),
    ("Sagittal", 0, 1, 2, ("A", "P", "H", "F")),
)
_AXIS_NAMES = "xyz"
_MOST_STRUCTURES = 14
_AROUND_MM = 25.0


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one row of panels shows."""

    name: str
    volume: Volume
    colors: Colormap
    low: float
    high: float


def draw_comparison(
    comparison: Comparison,
    reference: Volume,
    *,
    title: str = "Dose comparison",
    centre_mm: tuple[float, float, float] | None = None,
    structures: Sequence[Structure] = (),
) -> bytes:
    """Draw a comparison.

    Parameters
    ----------
    comparison : Comparison
    reference : Volume
        Gy.
    title : str
        Nothing that identifies a person.
    centre_mm : (x, y, z), optional
        Where the planes cross; where gamma is largest unless given.
    structures : sequence of Structure
        Outlined.

    Returns
    -------
    bytes
        A PNG file, about 1500 pixels wide.
    """
    centre = centre_mm or comparison.worst_mm
    planes = [p for p in _PLANES if min(reference.grid.shape[2 - p[2]], reference.grid.shape[2 - p[3]]) > 1]
    layers = _layers(comparison, reference)
    region = _region(comparison, reference)
    figure = Figure(figsize=(15.0, 13.0), dpi=100, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    panels = figure.add_gridspec(
        len(layers), max(1, len(planes)), left=0.04, right=0.93, top=0.905, bottom=0.045, wspace=0.1, hspace=0.16
    )
    for row, layer in enumerate(layers):
        for column, plane in enumerate(planes):
            axes = figure.add_subplot(panels[row, column])
            image = _draw_plane(axes, layer, plane, centre, region, structures)
            if column == len(planes) - 1:
                _draw_scale(figure, axes, image, layer.name)
        if not planes:
            _draw_profile(figure.add_subplot(panels[row, 0]), layer)
    figure.text(0.02, 0.968, title, color=_INK, fontsize=15, weight="bold", va="center")
    figure.text(0.02, 0.94, _in_words(comparison), color=_FAINT, fontsize=10, va="center")
    figure.text(0.02, 0.014, "Not a medical device: for research and independent checking.", color=_FAINT, fontsize=8.5)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=_PAPER, metadata={"Software": "dosecalc"})
    return file.getvalue()


def _layers(comparison: Comparison, reference: Volume) -> tuple[_Layer, ...]:
    found = comparison.gamma
    first = found.maps[0]
    # a few percent of the normalisation is what one wants to see; more where the doses are further apart
    span = max(2.0 * first.criterion.dose_percent / 100.0 * found.normalisation_gy, 1e-6)
    return (
        _Layer("reference (Gy)", reference, _DOSE, 0.0, max(comparison.reference_max_gy, 1e-6)),
        _Layer("evaluated − reference (Gy)", comparison.difference_gy, _DIFFERENCE, -span, span),
        _Layer(f"gamma {first.criterion}", Volume(reference.grid, first.values), _GAMMA, 0.0, 2.0),
    )


def _in_words(comparison: Comparison) -> str:
    found = comparison.gamma
    rates = ",  ".join(
        f"{m.criterion} {m.pass_rate_percent:.2f} % pass" if m.count else f"{m.criterion} no points" for m in found.maps
    )
    kind = "local" if found.local else f"global, 100 % = {found.normalisation_gy:.4g} Gy"
    d = comparison.difference
    return (
        f"Gamma ({kind}, from {found.threshold_gy:.3g} Gy): {rates}.   "
        f"Difference: mean {d.mean_gy:+.3g}, RMS {d.rms_gy:.3g}, {d.min_gy:+.3g} to {d.max_gy:+.3g} Gy."
    )


def _draw_plane(
    axes: Axes,
    layer: _Layer,
    plane: tuple[str, int, int, int, tuple[str, str, str, str]],
    centre: tuple[float, float, float],
    region: tuple[tuple[float, float], ...],
    structures: Sequence[Structure],
) -> AxesImage:
    name, normal, across, up, letters = plane
    grid = layer.volume.grid
    index, position = _nearest(grid, normal, centre[normal])
    axes.set_facecolor(_EMPTY)
    image = axes.imshow(
        np.take(layer.volume.values, index, axis=2 - normal),
        cmap=layer.colors,
        vmin=layer.low,
        vmax=layer.high,
        extent=(grid.lower_mm[across], grid.upper_mm[across], grid.lower_mm[up], grid.upper_mm[up]),
        origin="lower",
        interpolation="nearest",
    )
    for structure in structures[:_MOST_STRUCTURES]:
        _draw_outline(axes, grid, structure, plane, position)
    (a, b), (c, d) = region[across], region[up]
    axes.set_xlim(a, b)
    axes.set_ylim((d, c) if up == 1 else (c, d))
    axes.set_aspect("equal")
    axes.tick_params(colors=_FAINT, labelsize=7.5, length=2)
    for spine in axes.spines.values():
        spine.set_color("#3c4043")
    for (x, y), letter in zip(((0.02, 0.5), (0.98, 0.5), (0.5, 0.97), (0.5, 0.03)), letters, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, color="white", fontsize=10, ha="center", va="center")
    axes.axhline(centre[up], color="white", linewidth=0.5, alpha=0.45)
    axes.axvline(centre[across], color="white", linewidth=0.5, alpha=0.45)
    heading = f"{name}, {_AXIS_NAMES[normal]} = {position:.1f} mm: {layer.name}"
    axes.set_title(heading, color=_INK, fontsize=9.5, loc="left", pad=4)
    return image


def _region(comparison: Comparison, reference: Volume) -> tuple[tuple[float, float], ...]:
    """Bounds along x, y, z of where there is dose to compare, with a little around it, mm."""
    grid, above = reference.grid, reference.values >= comparison.gamma.threshold_gy
    bounds = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != 2 - axis)
        at = _centres(grid, axis)[above.any(axis=others)]
        if not len(at):
            at = _centres(grid, axis)
        bounds.append((max(at[0] - _AROUND_MM, grid.lower_mm[axis]), min(at[-1] + _AROUND_MM, grid.upper_mm[axis])))
    return tuple(bounds)


def _draw_outline(
    axes: Axes,
    grid: Grid,
    structure: Structure,
    plane: tuple[str, int, int, int, tuple[str, str, str, str]],
    position: float,
) -> None:
    _, normal, across, up, _ = plane
    origin, shape = list(grid.origin_mm), list(grid.shape)
    origin[normal], shape[2 - normal] = position, 1
    slab = Grid((origin[0], origin[1], origin[2]), grid.spacing_mm, (shape[0], shape[1], shape[2]))
    inside = fractional_mask(structure, slab).squeeze(axis=2 - normal)
    if inside.max() > 0.5 and inside.min() < 0.5:
        color = "#ffffff" if structure.color_rgb is None else tuple(c / 255 for c in structure.color_rgb)
        axes.contour(_centres(grid, across), _centres(grid, up), inside, levels=[0.5], colors=[color], linewidths=1.2)


def _draw_scale(figure: Figure, axes: Axes, image: AxesImage, label: str) -> None:
    box = axes.get_subplotspec().get_position(figure)  # type: ignore[union-attr]
    bar = figure.colorbar(image, cax=figure.add_axes((0.945, box.y0, 0.012, box.height)))
    bar.ax.tick_params(colors=_FAINT, labelsize=8)
    bar.outline.set_edgecolor("#3c4043")
    bar.set_label(label, color=_FAINT, fontsize=8.5)


def _draw_profile(axes: Axes, layer: _Layer) -> None:
    """A distribution along one axis is drawn as a curve."""
    grid = layer.volume.grid
    axis = int(np.argmax(grid.shape[::-1]))
    axes.set_facecolor(_EMPTY)
    axes.plot(_centres(grid, axis), layer.volume.values.ravel(), color="#37c6f4", linewidth=1.5)
    axes.set_title(layer.name, color=_INK, fontsize=9.5, loc="left", pad=4)
    axes.set_xlabel(f"{_AXIS_NAMES[axis]} (mm)", color=_FAINT, fontsize=9)
    axes.tick_params(colors=_FAINT, labelsize=8)
    axes.grid(color="#3c4043", linewidth=0.5)


def _nearest(grid: Grid, axis: int, position: float) -> tuple[int, float]:
    """The plane nearest to a position: its index and where it lies."""
    centres = _centres(grid, axis)
    index = int(np.argmin(np.abs(centres - position)))
    return index, float(centres[index])


def _centres(grid: Grid, axis: int) -> NDArray[np.float64]:
    return (grid.x_mm, grid.y_mm, grid.z_mm)[axis]
