"""Readers: one file a benchmark, each with its command `app`."""
