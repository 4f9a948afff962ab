"""How long traces stay that nobody uses."""
