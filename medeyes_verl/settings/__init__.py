"""Typed settings: how a dataclass is read from a mapping, and described for the reference page."""
