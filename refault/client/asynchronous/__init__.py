"""The source of both clients; ``make client`` generates the synchronous one from it."""
