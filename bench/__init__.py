"""Benchmarks: every figure is measured beside the ceiling of the machine it was measured on."""
