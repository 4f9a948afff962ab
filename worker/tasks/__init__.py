"""Task bodies: they unpack a message and call the worker."""
