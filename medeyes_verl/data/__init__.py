"""Rows, pictures and tables: what every benchmark becomes."""
