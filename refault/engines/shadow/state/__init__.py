"""What a simulated host remembers: words, arrays, pages."""
