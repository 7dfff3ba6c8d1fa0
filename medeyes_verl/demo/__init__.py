"""One image, one question, one policy, turn by turn: in a terminal and as a local page."""
