"""From what a capture recorded to operations that every engine executes."""
