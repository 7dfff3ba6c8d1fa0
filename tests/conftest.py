"""What all tests share."""

from hypothesis import settings

# two busy cores make single examples slow without anything being wrong
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")
