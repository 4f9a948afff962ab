"""The kinds of problem this API answers with."""
