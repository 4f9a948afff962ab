"""What rooms share that are deployed apart: the worker imports nothing else of ``services``."""
