"""Faults by their number: what must happen when things break."""
