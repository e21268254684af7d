"""Tests of the tools around ingest."""
