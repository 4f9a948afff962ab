"""Lowers what a capture recorded to operations, which every engine executes."""
