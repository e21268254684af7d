"""The bad-input and fault matrices of ingest, a fuzzer of its readers, and the search for a canary."""
