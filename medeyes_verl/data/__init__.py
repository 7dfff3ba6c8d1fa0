"""Rows and pictures on disk: the parquet schema of every benchmark, its writer, and the store of pictures."""
