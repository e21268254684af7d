"""Benchmarks: what edupa costs beside other ways to do the same."""
