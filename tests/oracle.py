"""Slow, obvious float64 implementations that the kernels are held against."""

from __future__ import annotations

import numpy as np


def cone_sweep(kerma, scerma, density, spacing_cm, direction, rates, amplitude):
    """One cone without tilt, line by line: see the contract's ``cone_transport``. Arrays [z, y, x]."""
    dose = np.zeros(density.shape)
    n = density.shape[::-1]
    steps = np.abs(direction) / spacing_cm
    main = int(np.argmax(steps))
    others = [a for a in range(3) if a != main]
    shear = np.round(direction / spacing_cm / steps[main], 9)
    length = 1.0 / steps[main]
    planes = range(n[main]) if direction[main] > 0 else range(n[main] - 1, -1, -1)
    middle = (n[main] - 1) / 2
    margin = n[main]
    for a in range(-margin, n[others[0]] + margin):
        for b in range(-margin, n[others[1]] + margin):
            state = np.zeros(4)
            for k, plane in enumerate(planes):
                index = [0, 0, 0]
                index[main] = plane
                index[others[0]] = a + int(np.rint(shear[others[0]] * (k - middle)))
                index[others[1]] = b + int(np.rint(shear[others[1]] * (k - middle)))
                if any(i < 0 or i >= m for i, m in zip(index, n, strict=True)):
                    continue
                x, y, z = index
                l = density[z, y, x] * length  # noqa: E741
                released = np.array([kerma[z, y, x]] * 2 + [scerma[z, y, x]] * 2) * amplitude
                lost = (state - released / rates) * -np.expm1(-rates * l)
                dose[z, y, x] += released.sum() + lost.sum() / l
                state -= lost
    return dose


def radiological_path(density, origin_mm, spacing_mm, source_mm, point_mm, samples=20000):
    """Line integral of density from source to point by many midpoints, g/cm2; nothing outside the grid."""
    t = (np.arange(samples) + 0.5) / samples
    p = source_mm + t[:, None] * (point_mm - source_mm)
    i = np.floor((p - origin_mm) / spacing_mm + 0.5).astype(int)
    n = np.array(density.shape[::-1])
    inside = np.all((i >= 0) & (i < n), axis=1)
    i = i[inside]
    length_cm = np.linalg.norm(point_mm - source_mm) / 10
    return density[i[:, 2], i[:, 1], i[:, 0]].sum() * length_cm / samples


def path_by_crossings(density, origin_mm, spacing_mm, source_mm, point_mm):
    """Line integral of density from source to point, g/cm2: the ray cut at every plane of the grid, however far."""
    ray = point_mm - source_mm
    n = np.array(density.shape[::-1])
    cuts = [np.array([0.0, 1.0])]
    for a in range(3):
        if ray[a]:
            planes = origin_mm[a] + (np.arange(n[a] + 1) - 0.5) * spacing_mm[a]
            cuts.append((planes - source_mm[a]) / ray[a])
    t = np.sort(np.concatenate(cuts))
    t = t[(t >= 0) & (t <= 1)]
    middle = source_mm + 0.5 * (t[1:] + t[:-1])[:, None] * ray
    i = np.floor((middle - origin_mm) / spacing_mm + 0.5).astype(int)
    inside = np.all((i >= 0) & (i < n), axis=1)
    i, length = i[inside], np.diff(t)[inside]
    return float(density[i[:, 2], i[:, 1], i[:, 0]].astype(float) @ length) * np.linalg.norm(ray) / 10


def mean_of_map(fluence, map_origin_mm, pitch_mm, x, y, half_x, half_y):
    """Mean of a map of square pixels over a rectangle; nothing outside the map."""

    def shares(n, start, centre, half):
        edges = start + np.arange(n + 1) * pitch_mm
        return np.clip(np.minimum(edges[1:], centre + half) - np.maximum(edges[:-1], centre - half), 0, None)

    rows, columns = fluence.shape
    weights = np.outer(shares(rows, map_origin_mm[1], y, half_y), shares(columns, map_origin_mm[0], x, half_x))
    return float((weights * fluence).sum()) / (4 * half_x * half_y)


def released_energy(
    basis_a, basis_b, release_index, origin_mm, spacing_mm, source_mm, bld_from_grid, sad_mm,
    fluence, map_origin_mm, pitch_mm, cutoff, mu_a, mu_b, release_kerma, release_scerma, softening,
):  # fmt: skip
    """Kerma and scerma of one fluence map by voxel: see the contract's ``add_terma``; ``mu`` in powers of two."""
    kerma, scerma = np.zeros((2, *basis_a.shape))
    # a voxel along the map casts one rectangle; one that stands askew is seen as its halves along the askew axes
    askew = np.abs(bld_from_grid).max(0) <= 1 - 1e-6
    corners = np.array([c for c in np.ndindex(2, 2, 2) if not np.any(np.array(c)[~askew])])
    middles = np.where(askew, (corners - 0.5) * 0.5, 0.0) * spacing_mm @ bld_from_grid[:2].T
    part_mm = np.where(askew, 0.5, 1.0) * spacing_mm
    half = np.sqrt(3 * (bld_from_grid[:2] ** 2 @ (part_mm**2 / 12)))
    for iz, iy, ix in np.ndindex(basis_a.shape):
        m = release_index[iz, iy, ix]
        point = origin_mm + spacing_mm * [ix, iy, iz]
        x, y, z = bld_from_grid @ (point - source_mm)
        if m < 0 or z >= 0:
            continue
        scale = sad_mm / -z
        seen = [((x + u) * scale, (y + v) * scale) for u, v in middles]
        phi = np.mean([mean_of_map(fluence, map_origin_mm, pitch_mm, u, v, *(half * scale)) for u, v in seen])
        if phi <= cutoff:
            continue
        a, b = (path_by_crossings(d, origin_mm, spacing_mm, source_mm, point) for d in (basis_a, basis_b))
        theta = np.degrees(np.arctan(np.hypot(x, y) / -z))
        soft = 1 + softening[0] * theta + softening[1] * theta**2 + softening[2] * theta**3
        survive = 2.0 ** -(soft * (a * mu_a + b * mu_b))
        phi *= sad_mm**2 / ((point - source_mm) ** 2).sum()
        kerma[iz, iy, ix] = phi * (survive * release_kerma[m]).sum()
        scerma[iz, iy, ix] = phi * (survive * release_scerma[m]).sum()
    return kerma, scerma


def transmission(
    along, across, jaw_along, jaw_across, jaw_transmission, pair_of_row, closed,
    leaf_start, leaf_end, tip_mm, tip_share, weight, samples,
):  # fmt: skip
    """Mean transmission of collimators by many moments of the segment: see the contract's ``add_transmission``."""
    out = np.zeros((len(across), len(along)))
    for t in (np.arange(samples) + 0.5) / samples:
        seen = np.ones_like(out)
        for jaw, through, where in (
            (jaw_along, jaw_transmission[:2], along[None, :]),
            (jaw_across, jaw_transmission[2:], across[:, None]),
        ):
            lower, upper = jaw[0] + (jaw[1] - jaw[0]) * t
            seen = seen * (1 - (1 - through[0]) * (where <= lower) - (1 - through[1]) * (where >= upper))
        for layer in range(len(tip_mm)):
            ends = leaf_start[layer] + (leaf_end[layer] - leaf_start[layer]) * t
            function = np.zeros_like(out)
            for tip, share in zip(tip_mm[layer], tip_share[layer], strict=True):
                pairs = pair_of_row[layer]
                lower, upper = ends[pairs, 0] - tip, ends[pairs, 1] + tip
                is_open = (along > lower[..., None]) & (along < upper[..., None]) & (pairs >= 0)[..., None]
                how_many = is_open.sum(0)
                none, one = closed[layer, 0][:, None], closed[layer, 1][:, None]
                alone = (pairs[0] == pairs[1])[:, None]
                partly = np.where(alone, none, one)
                function += share * np.choose(how_many, [none * np.ones_like(out), partly * np.ones_like(out), 1.0])
            seen = seen * function
        out += seen
    return weight * out / samples
