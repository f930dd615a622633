"""Compute kernels over arrays and scalars: what they compute stands in `contract`, how in `cpu` and `cuda`."""
