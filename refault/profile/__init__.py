"""What a run yields besides totals: its timeline and its attribution, gathered while it runs.

=========  ==========================================================================
gathering  a session whose hosts also note what happens, and ``replay`` with it
observed   a host of any engine whose counters are sampled
clock      the guest's time at each event
sidecar    what was noted, in a snapshot
telling    documents from what was noted
text       documents as tables for people
=========  ==========================================================================

The kernels are :mod:`refault.engines.account`. Documents are plain data
(:mod:`refault.timeline`, :mod:`refault.attribution`) beside the result, whose bytes are the same.
"""
