"""The patch catalogue and its bases, as they are in this version."""
