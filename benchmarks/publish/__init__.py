"""Benchmark of publishing: edupa's pointer beside the ways in which others swap published tables."""
