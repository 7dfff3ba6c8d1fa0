"""Playing a table's questions, scoring the episodes, comparing runs. Knows gaze, data and reward, not veRL."""
