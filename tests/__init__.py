"""Tests, one folder per room; tests/e2e runs the whole."""
