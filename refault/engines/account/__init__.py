"""Accounts of a run: what changed each counter, and how counters went over the guest's time.

======  ==============================================================================
words   the arrays of an account
loop    the model's loop, and around it what each operation changed
host    a host of the model with an account
======  ==============================================================================

The model's own loop executes every row (docs/decisions/0032), so a run with an account is the run.
"""
