"""Hydra recipes (`+medeyes=<recipe>`, in medeyes/), and the schema of the keys they set (settings.py)."""
