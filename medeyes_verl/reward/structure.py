"""r_grammar: does the reasoning–action–feedback structure hold strictly?"""

from __future__ import annotations

from medeyes_verl.gaze.record import EpisodeRecord


def r_grammar(record: EpisodeRecord) -> float:
    """1 for an episode without any fault that ends in an answer, else 0 (MedEyes, arXiv 2511.22018)."""
    return float(record.well_formed)
