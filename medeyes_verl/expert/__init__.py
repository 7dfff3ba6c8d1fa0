"""Expert trajectories: how they are made, kept and found again."""
