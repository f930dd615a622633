"""Benchmarks: importable, JSON out, no assertion about speed."""
