"""Who did what in a project."""
