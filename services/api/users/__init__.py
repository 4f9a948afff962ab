"""The accounts of the installation."""
