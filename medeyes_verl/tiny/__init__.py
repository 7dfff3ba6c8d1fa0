"""A tiny policy, made on the spot, so that the whole path runs where no model can be downloaded."""
