"""Whether a trace is true: the guest's tables are rebuilt from it, and every witness is asked."""

from refault.verify.verification import BAR, Verification, contradicted, verify

__all__ = ["BAR", "Verification", "contradicted", "verify"]
