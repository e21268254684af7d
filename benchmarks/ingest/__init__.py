"""Ingest beside a bare copy and four peers."""
