"""Options that several commands share, and the texts that they parse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dosecalc.devices import NAMES
from dosecalc.errors import InputError
from dosecalc.photon.engines import ENGINES

Point = tuple[float, float, float]
F = TypeVar("F", bound=Callable[..., Any])


def names_of(option: str) -> str:
    """The names that engines have for one of their options, for a help text."""
    named = {kind.name: kind.options.get(option, {}) for kind in ENGINES.values()}
    return "; ".join(f"{engine}: {', '.join(names)}" for engine, names in named.items() if names)


class SpacingType(click.ParamType[Point]):
    """``MM`` or ``MM,MM,MM`` (x, y, z)."""

    name = "MM[,MM,MM]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Point:
        """The three spacings."""
        if isinstance(value, tuple):
            return value
        numbers = _numbers(str(value), "a grid spacing", "3 or 2.5,2.5,3 (mm along x, y, z)")
        if len(numbers) == 1:
            numbers *= 3
        if len(numbers) != 3 or not all(0.5 <= n <= 50 for n in numbers):
            raise InputError(
                "GRID_SPACING",
                f"{value!r} is no grid spacing: give one or three numbers from 0.5 to 50 mm.",
                field="grid",
            )
        return numbers[0], numbers[1], numbers[2]


class DeviceType(click.ParamType[str]):
    """``cpu``, ``cuda``, ``cuda:N`` or ``auto``."""

    name = "cpu|cuda|cuda:N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is."""
        if not NAMES.fullmatch(str(value)):
            self.fail(f"{value!r} is no device: choose cpu, cuda (all GPUs), cuda:N (one of them) or auto.", param, ctx)
        return str(value)


class BoxType(click.ParamType[tuple[Point, Point]]):
    """``X0,Y0,Z0,X1,Y1,Z1``: two corners."""

    name = "X0,Y0,Z0,X1,Y1,Z1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Point, Point]:
        """Lower and upper corner."""
        if isinstance(value, tuple):
            return value
        n = _numbers(str(value), "a box", "-100,-100,-50,100,100,50 (mm, lower then upper corner)")
        if len(n) != 6 or not all(a < b for a, b in zip(n[:3], n[3:], strict=True)):
            raise InputError(
                "GRID_BOX_EMPTY",
                f"{value!r} is no box: give six numbers, the lower corner and then the upper one.",
                field="box",
            )
        return (n[0], n[1], n[2]), (n[3], n[4], n[5])


def _numbers(text: str, what: str, example: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(n) for n in numbers):
        raise InputError("NUMBER_INVALID", f"{text!r} is not {what}; write it like {example}.")
    return numbers


def json_flag(function: F) -> F:
    """The option ``--json`` of commands whose result a script may read."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")(
        function
    )


def tls_client_options(function: F) -> F:
    """Options for talking to a server over TLS."""
    path = click.Path(exists=True, dir_okay=False)
    options = (
        click.option(
            "--tls-ca", type=path, help="PEM file of the authority that signed the server's certificate (TLS)."
        ),
        click.option("--tls-cert", type=path, help="PEM file of this client's certificate (mutual TLS)."),
        click.option("--tls-key", type=path, help="PEM file of this client's private key (mutual TLS)."),
    )
    for option in reversed(options):
        function = option(function)
    return function
