"""What a synthetic guest does, compiled: memory, tables, the capture's rule, system calls."""
