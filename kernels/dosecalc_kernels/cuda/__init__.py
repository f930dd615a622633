"""CUDA twins of the CPU kernels: X.cu beside X.py. Importing this package imports no cupy; see docs/cuda.md."""
