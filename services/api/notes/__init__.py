"""Notes on cells of batches and on patches."""
