"""Slow, plain oracles of the electrons' transport."""

import numpy as np

from dosecalc.photon.electron_groups import THETA


def transport(kerma, density, material, spacing, directions, width, deposit, source, stopping, scattering, theta):
    """The contract's ``electron_transport`` without tilt, voxel by voxel in double precision."""
    flow = np.zeros((len(directions), *kerma.shape))
    dose = np.zeros(kerma.shape)
    for g in range(len(width)):
        relative = stopping[g][material]
        opacity = np.maximum(density, 1e-5) * relative / (theta * width[g])
        for c, direction in enumerate(directions):
            start = kerma * theta / relative * source[g, c, 0]
            mean = _direction(flow[c], start, opacity, direction, np.array(spacing))
            dose += mean * relative * deposit[g]
            flow[c] = (mean - (1 - theta) * flow[c]) / theta
        if g + 1 < len(width):
            flow = np.einsum("izyx,zyxij->jzyx", flow, scattering[g][material])
    return dose


def _direction(inflow, start, opacity, direction, spacing):
    """Mean flux in every voxel of the lines of one direction. Arrays [z, y, x]; the direction is x, y, z."""
    steps = np.abs(direction) / spacing
    axis = int(np.argmax(steps))
    shear = np.round(direction / spacing / steps[axis], 9)
    n = np.array(inflow.shape[::-1])
    half = (n[axis] - 1) / 2
    order = range(n[axis]) if direction[axis] > 0 else range(n[axis] - 1, -1, -1)
    out = np.zeros(inflow.shape)
    length = 1 / steps[axis]
    others = [a for a in range(3) if a != axis]
    reach = [int(np.ceil(abs(shear[a]) * half)) + 1 for a in others]
    for i in range(-reach[0], n[others[0]] + reach[0]):
        for j in range(-reach[1], n[others[1]] + reach[1]):
            cells, entering = [], []
            for k, plane in enumerate(order):
                exact = np.array([i, j]) + shear[others] * (k - half)
                at = np.empty(3, int)
                at[axis] = plane
                at[others] = np.array([i, j]) + np.rint(shear[others] * (k - half)).astype(int)
                if np.all((at >= 0) & (at < n)):
                    cells.append(tuple(at[::-1]))
                    entering.append([_beside(v, at, others, exact - at[others]) for v in (inflow, start)])
            psi = before = 0.0
            for m, (cell, (own, starts)) in enumerate(zip(cells, entering, strict=True)):
                x = opacity[cell] * length
                after = entering[m + 1][0] if m + 1 < len(cells) else own
                b = (after - before) / 2 if np.float32(x) > np.float32(0.1) else 0.0
                a = own + starts
                p = a - b / x - b / 2
                out[cell] = a - b / x + (psi - p) * -np.expm1(-x) / x
                psi = psi + (psi - p) * np.expm1(-x) + b
                before = own
    return out


def _beside(values, at, axes, offset):
    """A value beside the middle of a voxel, by its slopes along two axes between the voxel's neighbours."""
    total = values[tuple(at[::-1])]
    for axis, distance in zip(axes, offset, strict=True):
        low, high = at.copy(), at.copy()
        low[axis] = max(at[axis] - 1, 0)
        high[axis] = min(at[axis] + 1, values.shape[2 - axis] - 1)
        total = total + distance * (values[tuple(high[::-1])] - values[tuple(low[::-1])]) / 2
    return total


def electrons_in_water(groups, count=40_000, seed=1):
    """Mean depth and mean distance from the axis of the energy that electrons lay down about their origin, cm.

    Electrons are followed one by one through the groups, along their discrete directions.
    """
    rng = np.random.default_rng(seed)
    start = groups.source[:, :, 0].ravel()
    chosen = np.searchsorted(start.cumsum() / start.sum(), (np.arange(count) + rng.random(count)) / count)
    nodes = groups.directions.directions
    first, now = np.divmod(chosen, len(nodes))
    place = np.zeros((count, 3))
    energy = forward = across = 0.0
    for g, width in enumerate(groups.width):
        moving = np.flatnonzero(first <= g)
        share = np.where(first[moving] == g, THETA, 1.0)
        step = nodes[now[moving]] * (share * width)[:, None]
        # eq. 4 relaxes exponentially what starts in a group; what crosses it deposits about its middle
        part = np.where(first[moving] == g, rng.exponential(size=len(moving)), rng.random(len(moving)))
        at = place[moving] + step * part[:, None]
        laid = groups.deposit[g] * share
        energy += laid.sum()
        forward += -laid @ at[:, 2]
        across += laid @ np.hypot(at[:, 0], at[:, 1])
        place[moving] += step
        if g + 1 < len(groups):
            chances = groups.scattering[g, 0].cumsum(1)[now[moving]]
            now[moving] = np.minimum((rng.random((len(moving), 1)) > chances).sum(1), len(nodes) - 1)
    return forward / energy, across / energy
