"""The only room that imports veRL."""
