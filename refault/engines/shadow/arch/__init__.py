"""The simulated processor: guest memory, accesses, TLB."""
