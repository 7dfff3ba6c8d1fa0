"""The reward R(τ) = 0.7·r_acc + 0.2·r_grammar + 0.1·r_div and its parts (MedEyes, reward design)."""
