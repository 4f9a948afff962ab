"""The patch series of 12 April 2010, held against traces of real guests: ``report seed-thread``.

::

    patches/  what the mails say, and a rule for each objection        plain data
        │
    measuring.py ── results, audits, differences ──► review.py ──► sections.py ──► text, Markdown,
        │                                                │          (blocks)        page
      shelf.py  kept in the cache                        └──► data.py              JSON

No sentence of a verdict is written beforehand: the rules read it out of the numbers, so that with
another trace it may come out otherwise.
"""
