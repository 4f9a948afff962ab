"""Configures numba, in one place, and the cache of compiled kernels."""
