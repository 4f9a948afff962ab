"""Foreign formats, one module each, turned into traces without losing anything."""
