"""trace.dat of trace-cmd, versions 6 and 7: container, event formats, ring-buffer pages."""
