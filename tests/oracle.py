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
