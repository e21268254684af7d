"""Tests of the production shape."""
