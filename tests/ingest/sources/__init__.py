"""Tests of where files come from, each against a real server that the test starts."""
