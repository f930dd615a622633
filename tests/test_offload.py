"""What surrounds the engine on a device: the same results as on the CPU, and the CPU where the device cannot."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from backends import TWINS, needs_compiler
from builders_structures import circle, prism

from dosecalc.dose.compare import compare
from dosecalc.dose.dvh import compute_dvh
from dosecalc.dose.gamma import gamma
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.resample import sample, volume_average
from dosecalc_kernels.cuda.host import HostLauncher, compiler
from dosecalc_kernels.errors import DeviceFault
from dosecalc_kernels.offload import LEAST_ITEMS, Offload
from dosecalc_kernels.registry import Backend, backend

GRID = Grid((-20.0, -21.0, -9.0), (2.5, 2.0, 3.0), (8, 21, 17))
OTHER = Grid((-18.0, -20.0, -8.0), (2.0, 2.0, 2.0), (10, 18, 16))


class Recording(Backend):
    """A backend that remembers which kernels were asked of it."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.name, inner.launcher)
        self.asked: set[str] = set()

    def kernel(self, name: str):  # type: ignore[no-untyped-def]
        self.asked.add(name)
        return super().kernel(name)


class Broken(Recording):
    """A device whose every kernel fails."""

    def kernel(self, name: str):  # type: ignore[no-untyped-def]
        self.asked.add(name)

        def fail(*_: object) -> None:
            raise DeviceFault("DEVICE_FAILED", "The CUDA device: an illegal address")

        return fail


def doses() -> tuple[Volume, Volume]:
    """Two doses on other grids that differ by some percent."""

    def on(grid: Grid, factor: float) -> Volume:
        z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
        return Volume(grid, (factor * 40.0 / (1 + np.exp((np.hypot(x, y) - 12) / 3)) + 0.1 * z + 3).astype(np.float32))

    return on(GRID, 1.0), on(OTHER, 1.02)


ROD = prism(circle(9.3, (1.0, -0.5), 90), np.arange(-7.5, 8.0, 3.0), name="rod")


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_a_comparison_on_a_device_is_that_of_the_cpu(backend: Backend) -> None:
    reference, evaluated = doses()
    device = Recording(backend)
    there = compare(
        reference, evaluated, criteria=["2%/2mm", "1%/1mm"], structures=[ROD], device=Offload(device, least_items=0)
    )
    here = compare(reference, evaluated, criteria=["2%/2mm", "1%/1mm"], structures=[ROD])
    assert device.asked == {"gamma_of_points", "trilinear", "polygon_coverage", "accumulate", "extremes"}
    for a, b in zip(there.gamma.maps, here.gamma.maps, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=1e-4 * 2.0)  # of the maximum
    # float32 of doses of 43 Gy, added in another order
    np.testing.assert_allclose(there.difference_gy.values, here.difference_gy.values, atol=1e-5)
    assert there.structures[0].gamma[0]["points"] == here.structures[0].gamma[0]["points"]
    for name, figure in here.structures[0].reference_dvh.statistics().items():
        assert there.structures[0].reference_dvh.statistics()[name] == pytest.approx(figure, rel=1e-4), name


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_masks_and_resampling_on_a_device_are_those_of_the_cpu(backend: Backend) -> None:
    device = Recording(backend)
    offload = Offload(device, least_items=0)
    dose, _ = doses()
    points = np.random.default_rng(2).uniform(-25, 25, (200, 3))
    # float32 of sums in another order: of shares of 1, of doses of 43 Gy
    np.testing.assert_allclose(fractional_mask(ROD, GRID, offload), fractional_mask(ROD, GRID), atol=1e-6)
    for outside in (0.0, 0.5):
        there = volume_average(dose, OTHER, outside=outside, device=offload)
        np.testing.assert_allclose(there.values, volume_average(dose, OTHER, outside=outside).values, atol=1e-5)
    np.testing.assert_allclose(sample(dose, points, device=offload), sample(dose, points), atol=1e-5)
    assert device.asked == {"polygon_coverage", "average_axis", "trilinear"}


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_little_is_computed_on_the_cpu(backend: Backend) -> None:
    device = Recording(backend)
    dose, _ = doses()
    assert LEAST_ITEMS > 200
    sample(dose, np.zeros((200, 3)), device=Offload(device))
    assert not device.asked


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_a_device_that_fails_is_replaced_by_the_cpu_with_one_line(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    device = Broken(backend)
    reference, evaluated = doses()
    with caplog.at_level(logging.WARNING, "dosecalc.device"):
        there = compare(reference, evaluated, structures=[ROD], device=Offload(device, least_items=0))
    here = compare(reference, evaluated, structures=[ROD])
    assert there.to_dict() == here.to_dict()
    assert len(caplog.messages) == 1
    assert "computing on the CPU" in caplog.text and "an illegal address" in caplog.text


@needs_compiler
def test_what_does_not_fit_is_computed_on_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    device = Recording(Backend("host-cuda", HostLauncher(memory_bytes=20_000)))
    dose, _ = doses()
    with caplog.at_level(logging.WARNING, "dosecalc.device"):
        dvh = compute_dvh(ROD, dose, device=Offload(device, least_items=0))
    assert dvh.statistics() == compute_dvh(ROD, dose).statistics()
    assert "accumulate" not in device.asked
    assert len(caplog.messages) == 1 and "computing on the CPU" in caplog.text


def test_errors_that_are_not_the_devices_are_raised() -> None:
    class Wrong(Broken):
        def kernel(self, name: str):  # type: ignore[no-untyped-def]
            raise KeyError(name)

    dose, _ = doses()
    if compiler() is None:
        pytest.skip("no C++ compiler (CXX, g++, clang++ or ziglang)")
    with pytest.raises(KeyError):
        gamma(dose, dose.__class__(dose.grid, dose.values * 1.1), device=Offload(Wrong(backend("host-cuda")), 0))
