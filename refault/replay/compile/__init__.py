"""The one place where numba is configured, and where compiled kernels are kept."""
