"""Whether a trace is true: the guest's tables are rebuilt from it, and every witness is asked."""

from refault.verify.verification import BAR, Verification, verify

__all__ = ["BAR", "Verification", "verify"]
