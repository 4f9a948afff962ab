"""refault: what does a shadow-MMU patch do to a real guest, and is it safe?

The library in the middle of the service: traces (:mod:`refault.trace`), the
catalogue of patches (:mod:`refault.catalogue`), engines that replay the one
under the other (:mod:`refault.replay`, :mod:`refault.engines`) and comparisons
(:mod:`refault.compare`). It knows nothing of queues, HTTP servers or SQL.
"""

__version__ = "0.1.0"
