"""The command `dosecalc`."""

from dosecalc.cli.app import main

__all__ = ["main"]
