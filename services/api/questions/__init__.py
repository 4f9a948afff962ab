"""Questions: what is asked of a trace beyond results, and answered by workers."""
