"""The episode: text in, crops out. Knows Pillow and numpy, nothing of veRL, torch or Ray."""
