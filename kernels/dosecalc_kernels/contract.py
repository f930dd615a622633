"""What every kernel computes: signature, shapes, dtypes, units, frame, reference.

The functions here are specifications and have no body; ``cpu`` and ``cuda`` hold implementations of the same names and
arguments. Arrays are C-contiguous. Nothing here knows of beams, plans or files.
"""

# mypy: disable-error-code=empty-body

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]


# ---------------------------------------------------------------------------------------------------------------------
# Masks and resampling (cpu/rasterise.py, cpu/resample.py)


def polygon_coverage(xy: FloatArray, ring_offsets: IntArray, ny: int, nx: int) -> FloatArray:
    """Exact share of each pixel that polygons cover.

    Parameters
    ----------
    xy : float64 [n, 2]
        Vertices in pixels: pixel [j, i] fills i <= x <= i + 1, j <= y <= j + 1. They may lie outside.
    ring_offsets : int64 [m + 1]
        Ring r has the vertices ``ring_offsets[r]`` to ``ring_offsets[r + 1]``, its last is joined to its first. Shells
        run counter-clockwise (x to y), holes clockwise; rings that do not cross each other give 0 to 1.
    ny, nx : int

    Returns
    -------
    float64 [ny, nx]
        Signed area: the sum over rings of the area within the pixel, exact but for rounding.
    """
    ...


def average_axis(values: Float32Array, first: IntArray, weights: FloatArray) -> Float32Array:
    """Weighted sums along the middle axis: ``result[a, k, b] = sum_w weights[k, w] values[a, first[k] + w, b]``.

    Parameters
    ----------
    values : float32 [outer, n, inner]
    first : int64 [m]
        May be negative; indices outside 0 to n - 1 count as zero.
    weights : float64 [m, width]

    Returns
    -------
    float32 [outer, m, inner]
        Summed in float64.
    """
    ...


def dominant_material(
    material: NDArray[np.uint8],
    density: Float32Array,
    n_materials: int,
    first_z: IntArray,
    weights_z: FloatArray,
    first_y: IntArray,
    weights_y: FloatArray,
    first_x: IntArray,
    weights_x: FloatArray,
    outside_material: int,
    outside_density: float,
) -> NDArray[np.uint8]:
    """The material of most mass in each target voxel.

    Parameters
    ----------
    material, density : uint8, float32 [nz, ny, nx]
        Density in g/cm3.
    n_materials : int
        All of ``material`` lies below it.
    first_*, weights_* : int64 [m], float64 [m, width]
        Per axis, as in `average_axis`; the share of a target voxel that a source voxel fills is the product.
    outside_material : int
    outside_density : float
        What fills the rest of a target voxel, g/cm3.

    Returns
    -------
    uint8 [mz, my, mx]
        Of equal masses the lowest index.
    """
    ...


def trilinear(values: Float32Array, index_zyx: FloatArray, outside: float) -> Float32Array:
    """Trilinear interpolation at fractional indices.

    Parameters
    ----------
    values : float32 [nz, ny, nx]
    index_zyx : float64 [n, 3]
        Voxel [k, j, i] has its centre at (k, j, i). Up to half a voxel beyond the outermost centres, their value holds.
    outside : float
        Value further out, and where an index is not a number.

    Returns
    -------
    float32 [n]
    """
    ...


# ---------------------------------------------------------------------------------------------------------------------
# Photon beam: aperture, ray tracing, cone transport (cpu/fluence.py, cpu/terma.py, cpu/collapsed_cone.py)


def add_transmission(
    out: FloatArray,
    edges_mm: FloatArray,
    first_piece: IntArray,
    across_mm: FloatArray,
    jaw_along: FloatArray,
    jaw_across: FloatArray,
    jaw_transmission: FloatArray,
    pair_of_row: IntArray,
    closed: FloatArray,
    leaves: FloatArray,
    tip_mm: FloatArray,
    tip_share: FloatArray,
    weight: FloatArray,
) -> None:
    """Add the mean transmission of jaws and leaves over segments in which everything moves linearly in meterset.

    A point sees the product of four functions of meterset: of the jaws along and across the leaves, and of up to two
    layers of leaves. Each is piecewise constant, and the mean is that of the product, not the product of means. A jaw's
    function is its transmission while it covers the point, else 1. A layer's is, for each share of its tips, 1 where
    both leaf pairs of the row are open at the point, ``closed[., 1]`` where one is, ``closed[., 0]`` where none is.
    A pixel's mean is that of its pieces, over each of which the middle stands for the mean.

    Parameters
    ----------
    out : float64 [rows, pixels]
        Changed in place.
    edges_mm : float64 [pieces + 1]
        Edges of the pieces of pixels along the leaves, isocentre plane, BLD frame, ascending.
    first_piece : int64 [pixels + 1]
        First piece of each pixel, and the number of pieces.
    across_mm : float64 [rows]
        Places of the rows across the leaves.
    jaw_along, jaw_across : float64 [segments, 2, 2]
        (lower, upper) edge at the start and the end of each segment, mm.
    jaw_transmission : float64 [4]
        Of the lower and the upper jaw along the leaves, then across them.
    pair_of_row : int64 [layers, 2, rows]
        Leaf pair over each row and, in the strip where two leaves overlap, its neighbour (elsewhere the same pair
        again); -1 for none, which counts as closed. 0 to 2 layers.
    closed : float64 [layers, 2, rows]
        Transmission where all leaves of the row cover the point, and where only one of two does.
    leaves : float64 [segments, 2, layers, pairs, 2]
        At the start and the end of each segment, lower and upper bank, mm.
    tip_mm, tip_share : float64 [layers, n]
        How far leaf ends are drawn back, and for which share of the ends' transmission.
    weight : float64 [segments]
    """
    ...


def integral_image(out: FloatArray, values: FloatArray) -> None:
    """Sum of all values below and left of each corner of the pixels.

    Parameters
    ----------
    out : float64 [rows + 1, columns + 1]
        Overwritten.
    values : float64 [rows, columns]
    """
    ...


def add_source_share(
    out: FloatArray,
    points: FloatArray,
    jaw: FloatArray,
    jaw_transmission: FloatArray,
    pair_of_strip: IntArray,
    transmission: FloatArray,
    tips: FloatArray,
    image: FloatArray,
    weight: FloatArray,
) -> None:
    """Add which share of a Gaussian source points see along one axis, through a pair of jaws and layers of leaves.

    An edge at m lies, for a point P, in front of the source's place ``image[., 0] P + image[., 1] m`` in units of its
    standard deviation. What moves does so linearly in meterset; the mean over each segment is a closed form.

    Parameters
    ----------
    out : float64 [strips, points]
        Changed in place. A strip runs along the leaves between two of their sides.
    points : float64 [points]
        Along the leaves, isocentre plane, mm.
    jaw : float64 [segments, 2, 2]
        (lower, upper) edge along the leaves at the start and the end of each segment, mm.
    jaw_transmission : float64 [2]
        Of the lower and the upper jaw.
    pair_of_strip : int64 [layers, strips]
        -1 for none, which counts as closed. 0 to 2 layers.
    transmission : float64 [layers, strips]
    tips : float64 [segments, 2, layers, pairs, 2]
        Leaf ends at the start and the end of each segment, lower and upper bank, mm.
    image : float64 [2, 2]
        Of jaws and of leaves: factors of the point and of the edge, 1/mm.
    weight : float64 [segments]
    """
    ...


def add_terma(
    kerma: Float32Array,
    scerma: Float32Array,
    basis_a: Float32Array,
    basis_b: Float32Array,
    release_index: NDArray[np.int16],
    origin_mm: FloatArray,
    spacing_mm: FloatArray,
    source_mm: FloatArray,
    bld_from_grid: FloatArray,
    sad_mm: float,
    integral: FloatArray,
    map_origin_mm: FloatArray,
    map_pitch_mm: float,
    cutoff: float,
    mu_a: Float32Array,
    mu_b: Float32Array,
    release_kerma: Float32Array,
    release_scerma: Float32Array,
    softening: FloatArray,
) -> None:
    """Add the collision kerma and scerma that one fluence map releases, by an exact ray from the source to each voxel.

    ``kerma(x) += Phi(x) sum_e release_kerma[m, e] 2**-(s (A mu_a[e] + B mu_b[e]))`` with A, B the line integrals of the
    two basis densities (g/cm2), s the softening factor, Phi the map's mean over the voxel's shadow times the inverse
    square of the distance (a voxel askew to the map is seen as its halves along each askew axis, each an upright
    rectangle of the same root-mean-square width); ``scerma`` likewise (physics manual, eqs. 3.1 to 3.4).

    Parameters
    ----------
    kerma, scerma : float32 [z, y, x]
        Gy per (photon/cm2); changed in place.
    basis_a, basis_b : float32 [z, y, x]
        Density times the share of each basis material, g/cm3.
    release_index : int16 [z, y, x]
        Row of the release tables; negative: nothing is released (air).
    origin_mm, spacing_mm, source_mm : float64 [3]
        (x, y, z), patient frame.
    bld_from_grid : float64 [3, 3]
        Rotation from the patient to the BLD frame.
    integral : float64 [rows + 1, columns + 1]
        Integral image of the fluence map, in pixels.
    map_origin_mm : float64 [2]
        Lower outer corner (x, y) of the map at the isocentre plane, BLD frame.
    cutoff : float, or float64 [] on the device
        Fluence at or below this is not traced.
    mu_a, mu_b : float32 [energies]
        mu/rho of the basis materials times log2(e), cm2/g.
    release_kerma, release_scerma : float32 [materials, energies]
        Gy per (photon/cm2) before attenuation.
    softening : float64 [3]
        Coefficients of 1 + a t + b t2 + c t3, t the off-axis angle in degrees.
    """
    ...


def add_contamination(
    dose: Float32Array,
    density: Float32Array,
    release_index: NDArray[np.int16],
    origin_mm: FloatArray,
    spacing_mm: FloatArray,
    source_mm: FloatArray,
    bld_from_grid: FloatArray,
    sad_mm: float,
    values: FloatArray,
    map_origin_mm: FloatArray,
    map_pitch_mm: float,
    surface_dose: float,
    depth_gcm2: float,
    limit_gcm2: float,
) -> None:
    """Add the dose of contamination electrons: ``surface_dose F (SAD / r)^2 exp(-L / depth)``.

    F is the map at the voxel's place in the isocentre plane (bilinear), L the mass path along the straight ray from the
    edge of the grid to the voxel's centre, r the distance from the source (docs/beam-model.md).

    Parameters
    ----------
    dose : float32 [z, y, x]
        Changed in place, in the unit of ``surface_dose``.
    density : float32 [z, y, x]
        g/cm3.
    release_index : int16 [z, y, x]
        Negative: no dose (air).
    origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm
        As in `add_terma`.
    values : float64 [rows, columns]
        Electrons at the isocentre plane; none beyond the outermost pixel centres.
    map_origin_mm : float64 [2]
        Centre (x, y) of the first pixel.
    surface_dose : float
    depth_gcm2 : float
        Mass path within which the dose falls to 1/e.
    limit_gcm2 : float
        Beyond this mass path there are no electrons.
    """
    ...


def cone_transport(
    kerma: Float32Array,
    scerma: Float32Array,
    density: Float32Array,
    spacing_cm: FloatArray,
    directions: FloatArray,
    rates: FloatArray,
    amplitudes: FloatArray,
    projection: FloatArray,
    max_tilt: float,
    wanted: NDArray[np.bool_] | None = None,
) -> Float32Array:
    """Dose of released energy transported along cones (Ahnesjo 1989, Med Phys 16:577; physics manual, section 3).

    Lines of a cone start at the voxels of one outer face and advance plane by plane along the axis that they cross
    fastest; in plane k counted from the middle each lies in the voxel that is nearest after a shift of k times the
    shear (to nine decimals), rounded half to even. So every voxel is on exactly one line of each cone, which keeps
    energy and makes the result independent of the order of lines. Along a line, for each of four exponentials (0, 1 of
    the kerma; 2, 3 of the scerma) with rate a, emission S = amplitude x released energy, water-equivalent step l:
    ``R' = R - (R - S/a)(1 - exp(-a l))``, ``dose += S + (R - S/a)(1 - exp(-a l))/l``.

    Parameters
    ----------
    kerma, scerma : float32 [z, y, x]
        Energy released per mass.
    density : float32 [z, y, x]
        Relative to water (g/cm3); rows end at their last block of 32 voxels with more than 0.01.
    spacing_cm : float64 [3]
    directions : float64 [cones, 3]
        Unit vectors (x, y, z) along which energy travels, grid axes.
    rates : float64 [cones, 4]
        cm2/g.
    amplitudes : float64 [cones, 4, 10]
        Polynomials in the tilt (u, v): 1, u, v, uu, uv, vv, uuu, uuv, uvv, vvv.
    projection : float64 [3, 4]
        From (ix, iy, iz, 1) to (x, y, depth) of the gantry frame; the tilt is (x, y) / depth, clipped to max_tilt, and
        amplitudes are taken as a parabola along each row.
    wanted : bool [z, y, x], optional
        Where the dose is wanted, by default everywhere; that of other voxels means nothing, and lines need not be
        followed for it.

    Returns
    -------
    float32 [z, y, x]
        In the unit of the kerma.
    """
    ...


# ---------------------------------------------------------------------------------------------------------------------
# Photon pencil beam (cpu/pencil_beam.py); docs/pencil-beam.md has the formulas


def trace_fan(
    fan: Float32Array,
    density: Float32Array,
    origin_mm: FloatArray,
    spacing_mm: FloatArray,
    source_mm: FloatArray,
    bld_from_grid: FloatArray,
    sad_mm: float,
    first_mm: FloatArray,
    pitch_mm: float,
    first_depth_mm: float,
    step_mm: float,
    vacuum: float,
    lateral: bool,
    reach_gcm2: FloatArray,
    widest: float,
    softening: FloatArray,
    log_terma: FloatArray,
    terma_step: float,
) -> None:
    """Radiological depth, lateral widths and softening along rays from the source, voxel by voxel.

    Parameters
    ----------
    fan : float32 [rays y, rays x, nodes, 4]
        Out. Line integral of the density (g/cm2) from the source to the node; widths w of primary and scatter; factor
        exp(L(s d) - L(d)) with L the logarithm of the attenuated energy, d the depth and s the softening.
        A width is lever / arm, at most ``widest``, 1 before matter: the mean distance (cm) over the mean mass (g/cm2)
        between the node and the matter before it, which counts with exp(-mass / reach). Node by node, with the mass m
        on the way, m' the part of it that is denser than ``vacuum``, x = m / reach, k = 1 / (1 + x + x^2/2):
        ``lever = k (lever + length (M + m'/2))``, ``arm = k (arm + m (M + m'/2))``, then ``M = k (M + m' (1 + x/2))``.
    density : float32 [z, y, x]
        g/cm3.
    origin_mm, spacing_mm, source_mm : float64 [3]
        (x, y, z), patient frame.
    bld_from_grid : float64 [3, 3]
        Rotation from the patient to the BLD frame.
    first_mm : float64 [2]
        Ray [0, 0] at the isocentre plane, (x, y) in the BLD frame; rays are ``pitch_mm`` apart.
    first_depth_mm, step_mm : float
        Nodes: distances from the source along the beam's axis.
    vacuum : float
        Only what is denser releases energy.
    lateral : bool
        False leaves both widths at 1.
    reach_gcm2 : float64 [2]
        Of primary and scatter.
    widest : float
    softening : float64 [3]
        As in `add_terma`.
    log_terma : float64 [n]
        At depths that are ``terma_step`` g/cm2 apart; linear between them.
    """
    ...


def add_pencil_dose(
    dose: Float32Array,
    release_index: NDArray[np.int16],
    origin_mm: FloatArray,
    spacing_mm: FloatArray,
    source_mm: FloatArray,
    bld_from_grid: FloatArray,
    sad_mm: float,
    fan: Float32Array,
    fan_first_mm: FloatArray,
    fan_pitch_mm: float,
    fan_first_depth_mm: float,
    fan_step_mm: float,
    near: Float32Array,
    near_first_mm: FloatArray,
    near_pitch_mm: float,
    far: Float32Array,
    far_first_mm: FloatArray,
    far_pitch_mm: float,
    primary: Float32Array,
    scatter: Float32Array,
    depth_index_per_root: float,
    least_scale_index: float,
    scale_index_step: float,
    medium: Float32Array,
) -> None:
    """Add the pencil-beam dose of one fluence map.

    For the centre of a voxel at x, y (projected to the isocentre plane), depth L along the axis and distance r from the
    source: ``dose += factor (sad / L)^2 (r / L) sum_k (g_p P_k + g_s S_k) C_k(x, y)``. The fan gives depth, widths and
    factor (trilinear); P and S are the rows of ``primary`` and ``scatter`` at that depth and at the scale
    1 / (width sad / L) (bilinear); C are the convolved maps (bilinear), all eight in ``near`` and, beside it, the first
    four in ``far``.

    Parameters
    ----------
    dose : float32 [z, y, x]
        Gy per (photon/cm2); changed in place. Voxels outside the fan or the far map get nothing.
    release_index : int16 [z, y, x]
        Row of ``medium``; negative: no dose (air).
    fan, fan_first_mm, fan_pitch_mm, fan_first_depth_mm, fan_step_mm
        As in `trace_fan`.
    near : float32 [rows, columns, 8]
    far : float32 [rows, columns, 4]
    near_first_mm, far_first_mm : float64 [2]
        Centre (x, y) of the first pixel at the isocentre plane, BLD frame.
    primary, scatter : float32 [depths, scales, 8]
        Row d, s is for the depth (d / depth_index_per_root)^2 and the scale 1 / i - 1 with
        i = least_scale_index + s scale_index_step. Beyond the ends the last row holds.
    medium : float32 [materials, 2]
        g_p, g_s: factors of primary and scatter.
    """
    ...


# ---------------------------------------------------------------------------------------------------------------------
# Electrons (cpu/electron_transport.py)


def electron_transport(
    kerma: Float32Array,
    density: Float32Array,
    material: NDArray[np.uint8],
    spacing_cm: FloatArray,
    directions: FloatArray,
    width: FloatArray,
    deposit: FloatArray,
    source: FloatArray,
    stopping: FloatArray,
    scattering: FloatArray,
    theta: float,
    projection: FloatArray,
    max_tilt: float,
) -> Float32Array:
    """Dose of electrons that slow down continuously through groups of residual range, along discrete directions.

    docs/heterogeneity.md, eqs. 1 to 6. In group g (fastest first) the inflow N of electrons at its upper end, per
    direction and voxel, becomes the mean flux m along the lines of `cone_transport`. Lines pass beside the middles of
    their voxels: N and the voxel's start, theta * kerma / stopping, are taken where they do, as the voxel's own and the
    distance, along sheets and along rows (at most half a voxel each), times half the difference between both neighbours
    in that direction; at the volume's faces the voxel stands for the neighbour that is not there. With the optical
    thickness x = density * stopping * step / (theta * width) of a voxel, its source a = N + start * source, and b half
    the difference of N between the line's next and previous voxel (0 for x <= 0.1; the line's last voxel has no next
    but itself, its first a previous of 0), p = a - b/x - b/2 and the flux psi that enters,
    ``m = a - b/x + (psi - p)(1 - exp(-x))/x`` and ``psi' = psi - (psi - p)(1 - exp(-x)) + b``. Dose is the sum over
    groups and directions of stopping * deposit * m; the outflow (m - (1 - theta) N) / theta, with the N of the voxel
    itself, its directions mixed by
    the voxel's scattering matrix, is the next group's inflow.

    Parameters
    ----------
    kerma : float32 [z, y, x]
    density : float32 [z, y, x]
        g/cm3.
    material : uint8 [z, y, x]
    spacing_cm : float64 [3]
    directions : float64 [n, 3]
        Unit vectors (x, y, z) along which electrons travel, grid axes.
    width, deposit : float64 [groups]
        Residual range within each group, g/cm2 of water, and the energy that an electron deposits in it.
    source : float64 [groups, n, 10]
        Electrons that start per kerma: polynomials in the tilt, as the amplitudes of `cone_transport`.
    stopping : float64 [groups, materials]
        Collision stopping power relative to water.
    scattering : float64 [groups - 1, materials, n, n]
        ``[g, m, i, j]``: flux of direction j in the next group per flux of i; rows sum to the ratio of their stopping.
    theta : float
        Share of the outflow in a group's mean, 0.5 to 1.
    projection, max_tilt
        As in `cone_transport`; the source is a parabola along each row.

    Returns
    -------
    float32 [z, y, x]
        In the unit of the kerma.
    """
    ...


# ---------------------------------------------------------------------------------------------------------------------
# Dose-volume histograms (cpu/dvh.py); docs/dvh.md defines the terms. Rasters have their nodes `step_mm` apart, node
# [0, 0] at (x0_mm, y0_mm). Contours are segments (x1, y1, x2, y2), mm, whose even-odd rule tells inside from outside.


def inside(x0_mm: float, y0_mm: float, step_mm: float, nx: int, ny: int, segments_mm: FloatArray) -> NDArray[np.bool_]:
    """Which raster nodes lie inside contours (even-odd rule), bool [ny, nx]."""
    ...


def signed_distance(
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    segments_mm: FloatArray,
    within: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    band_mm: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distance of raster nodes to contours, and the direction towards them.

    Parameters
    ----------
    x0_mm, y0_mm, step_mm
        The raster.
    segments_mm : float64 [m, 4]
        At least one. Segments that enclose no area are walls without an inside.
    within : bool [ny, nx]
        Nodes that count as inside.
    wanted : bool [ny, nx]
        Nodes where the answer is exact, however far they are.
    band_mm : float
        It is also exact within this distance of a contour; further away it is a lower bound that lies beyond the band.

    Returns
    -------
    distance, ux, uy : float64 [ny, nx]
        mm, positive inside; unit vector from the node to the nearest point of a contour (across it, for a node on it).
    """
    ...


def chord_power(
    x_mm: FloatArray, y_mm: FloatArray, ux: FloatArray, uy: FloatArray, segments_mm: FloatArray, radius_mm: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Power of points with respect to contours: the product of the distances to both ends of a chord.

    The chord lies on the line through the point along (ux, uy): the one that the point is in, or else the nearest one.
    For a circle of radius R the power is R^2 - rho^2 whatever the direction (Steiner 1826).

    Parameters
    ----------
    x_mm, y_mm, ux, uy : float64 [n]
        Points and unit vectors.
    segments_mm : float64 [m, 4]
    radius_mm : float
        Where a line misses, the power is that of a circle of this radius whose edge is at the nearest contour point.

    Returns
    -------
    power, begin, end : float64 [n]
        mm2, positive inside; ends of the chord along (ux, uy) from the point, mm, both 0 where the line misses.
    """
    ...


def accumulate(
    constant: FloatArray,
    linear: FloatArray,
    quadratic: FloatArray,
    never_grow: bool,
    hole_first: FloatArray,
    hole_last: FloatArray,
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    z0_mm: float,
    height_mm: float,
    sublayers: int,
    face_first: bool,
    face_last: bool,
    weight_first: float,
    weight_last: float,
    dose_gy: Float32Array,
    origin_mm: FloatArray,
    spacing_mm: FloatArray,
    low_gy: float,
    bin_gy: float,
    mass: FloatArray,
    step: FloatArray,
    totals: FloatArray,
) -> None:
    """Add one piece of a structure to a dose histogram.

    The piece reaches from ``z0_mm`` (t = 0) to ``z0_mm + height_mm`` (t = 1, height of either sign) and is there where
    ``constant + linear t + quadratic t^2`` is positive (and, with ``never_grow``, ``constant`` is), and ``hole_first``
    (t < 0.5) or ``hole_last`` is not. It is cut into ``sublayers`` layers of raster cells; cells that its surface
    passes are cut along straight lines, and count with their area at their centroid. Each cell's volume is spread
    evenly over the doses within it. Cut cells' corners count for minimum and maximum, and so do every voxel centre
    inside and, where they are asked for, the faces at t = 0 and t = 1.

    Parameters
    ----------
    constant, linear, quadratic, hole_first, hole_last : float64 [ny, nx]
    weight_first, weight_last : float
        Factor of all areas at t = 0 and t = 1, linear between.
    dose_gy : float32 [nz, ny, nx]
        Patient frame; trilinear between voxel centres, constant in the outer half of the outermost voxels.
    origin_mm, spacing_mm : float64 [3]
        Centre of voxel [0, 0, 0] and spacings, x, y, z.
    low_gy, bin_gy : float
        Lower edge of the first bin and the bins' width.
    mass : float64 [n]
        In and out: volume (mm3) in each bin.
    step : float64 [n + 1]
        In and out: changes of the volume per bin; the running sum of the first n belongs to ``mass``.
    totals : float64 [5]
        In and out: minimum and maximum dose, volume, covered volume (mm3), integral of dose over it (Gy mm3).
    """
    ...


def raster_area(values: FloatArray, step_mm: float) -> float:
    """Area (mm2) where a raster (float64 [ny, nx]) is positive, cut as `accumulate` cuts it."""
    ...


def extremes(
    points_mm: FloatArray, dose_gy: Float32Array, origin_mm: FloatArray, spacing_mm: FloatArray, totals: FloatArray
) -> None:
    """Let the dose at points (float64 [n, 3]; x, y, z) that lie in the grid count for minimum and maximum.

    ``totals`` as in `accumulate`.
    """
    ...


# ---------------------------------------------------------------------------------------------------------------------
# Gamma (cpu/gamma.py)
#
# Low et al. 1998, Med Phys 25:656: the gamma of a reference point r is the least, over the points e of the evaluated
# distribution, of sqrt(|e - r|^2 / distance^2 + (D(e) - d(r))^2 / dose^2). Between nodes D is trilinear, beyond them
# there is none. Nodes rise along each axis and may be irregular; an axis with one node is a plane (or line, or point).


def gamma_of_points(
    reference: FloatArray,
    points: IntArray,
    dose: FloatArray,
    node_z: FloatArray,
    node_y: FloatArray,
    node_x: FloatArray,
    per_cell: FloatArray,
    ref_z: FloatArray,
    ref_y: FloatArray,
    ref_x: FloatArray,
    dose_criterion: FloatArray,
    distance_mm: FloatArray,
    max_gamma: float,
    near: FloatArray,
    offsets: FloatArray,
    block_start: IntArray,
    blocks: FloatArray,
    block_at: NDArray[np.int32],
    block_edge: float,
) -> Float32Array:
    """Gamma for several criteria, with the whole evaluated distribution or with given offsets only.

    Parameters
    ----------
    reference : float64 [mz, my, mx]
    points : int64 [n]
        Flat indices into ``reference`` of the points wanted, rising.
    dose : float64 [nz, ny, nx]
        The evaluated distribution.
    node_z, node_y, node_x : float64 [nz], [ny], [nx]
        Positions of the evaluated nodes, mm, rising.
    per_cell : float64 [3]
        Nodes per mm along z, y, x where they are regular, 0 where they are not.
    ref_z, ref_y, ref_x : float64 [mz], [my], [mx]
        Positions of the reference points, mm, in any order.
    dose_criterion : float64 [criteria, n]
        In the unit of the doses, positive.
    distance_mm : float64 [criteria]
        Positive.
    max_gamma : float
        Where the search ends, and the value given to everything beyond; may be infinite.
    near : float64 [q, 4]
        The shortest of ``offsets``, rising in length, for points at which no others can matter.
    offsets : float64 [m, 4]
        Where to look: z, y, x from the reference point in units of the distance criterion, and their squared length;
        block by block, rising within each. No offsets: everywhere.
    block_start : int64 [b + 1]
        Block i holds the offsets from ``block_start[i]`` to ``block_start[i + 1]``.
    blocks : float64 [b, 7]
        Middle and half widths (z, y, x) of the box about the block's offsets, and its least squared length, rising.
    block_at : int32 [qz, qy, qx]
        The block whose offsets round to ``(index - q // 2) * block_edge``, or -1.
    block_edge : float

    Returns
    -------
    float32 [criteria, n]
        NaN where no evaluated point is within ``max_gamma`` distance criteria. With offsets the least over them, to
        1e-4 of ``max_gamma`` and mostly to rounding. The bits do not depend on the number of threads.
    """
    ...
