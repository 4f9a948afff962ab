"""News: what changed in a project since somebody last looked."""
