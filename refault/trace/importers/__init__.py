"""Foreign formats, one module each, converted to traces without loss."""
