"""Grids, volumes and coordinate frames."""

from dosecalc.geometry.grid import Grid, Volume

__all__ = ["Grid", "Volume"]
