"""What the benchmark scripts share: generated guests, yardsticks in C, and the clock."""
