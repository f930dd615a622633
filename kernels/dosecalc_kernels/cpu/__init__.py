"""Numba kernels for the CPU."""

from dosecalc_kernels.cpu.cache import ensure_cache

ensure_cache()  # before the first kernel is defined
