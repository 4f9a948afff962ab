"""Links that let anybody read one batch."""
