"""Standard error for people: progress bars and reasons. Standard output stays for results."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import click

from dosecalc.errors import DosecalcError

if TYPE_CHECKING:
    from rich.console import Console


class ServerFailure(DosecalcError):
    """The server, or the way to it, failed; nothing is wrong with the input."""


def error_console() -> Console:
    """A console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def show_error(error: DosecalcError) -> None:
    """Say what is wrong, where, and the stable reason."""
    click.echo(f"Error: {error.message}", err=True)
    for name, value in error.where.items():
        if value == error.reason:  # the list of reasons, when there is but one
            continue
        click.echo(f"  {name.replace('_', ' ')}: {value}", err=True)
    click.echo(f"  reason: {error.reason}", err=True)


class Teller:
    """Says on standard error how far a computation is, and what else there is to know meanwhile.

    Parameters
    ----------
    show : callable
        Takes the fraction (0 to 1) and the step in words.
    note : callable
        Takes a line for a person.
    """

    def __init__(self, show: Callable[[float, str], None], note: Callable[[str], None]) -> None:
        self.show = show
        self.note = note


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Teller]:
    """A progress bar with the time left, on a terminal; elsewhere only the notes."""
    console = error_console()
    if quiet or not console.is_terminal:
        yield Teller(lambda _fraction, _step: None, lambda text: click.echo(text, err=True))
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(title, total=1.0)

        def show(fraction: float, step: str) -> None:
            bars.update(bar, completed=fraction, description=f"{title}: {step}" if step else title)

        yield Teller(show, lambda text: console.print(text, markup=False, soft_wrap=True))


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into a cancellation that threads can see, besides the usual KeyboardInterrupt.

    Yields
    ------
    callable
        Whether to stop.
    """
    stop = threading.Event()

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set
        return
    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, before)
