"""r_grammar: does the reasoning–action–feedback structure hold strictly?"""

from __future__ import annotations

from medeyes_verl.gaze.trace import EpisodeTrace


def r_grammar(trace: EpisodeTrace) -> float:
    """1 for an episode without any fault that ends in an answer, else 0 (MedEyes, arXiv 2511.22018)."""
    return float(trace.well_formed)
