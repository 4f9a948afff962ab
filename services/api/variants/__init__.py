"""A machine by its notation: what it is, under which names it is stored, where it was run."""
