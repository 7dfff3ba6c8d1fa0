"""The episode: text in, crops out. Knows Pillow, numpy and jinja2, nothing of veRL, torch or Ray."""
