"""Tests of the package disclosure."""
