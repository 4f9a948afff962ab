"""The state of a simulated host: words, arrays, pages."""
