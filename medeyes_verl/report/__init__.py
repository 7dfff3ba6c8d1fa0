"""One HTML file about one training run or several: curves, a table, and what the policy looked at."""
