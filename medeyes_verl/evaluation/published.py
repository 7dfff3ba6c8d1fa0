"""What the paper reports, to stand beside our figures, and why the two must not be subtracted."""

from __future__ import annotations

PAPER = "MedEyes (arXiv 2511.22018), its table of results, accuracy in %"
PAPER_ACCURACY: dict[str, dict[str, float]] = {
    "vqa_rad": {"MedEyes": 70.7, "GMAI-VL": 64.6, "MedVLM-R1": 61.4},
    "slake": {"MedEyes": 79.1, "GMAI-VL": 71.9, "MedVLM-R1": 65.9},
    "path_vqa": {"MedEyes": 64.8, "GMAI-VL": 47.2, "MedVLM-R1": 55.2},
    "pmc_vqa": {"MedEyes": 55.3, "GMAI-VL": 52.3, "MedVLM-R1": 44.8},
    "mmmu_health": {"MedEyes": 59.7, "GMAI-VL": 51.2, "MedVLM-R1": 35.5},
}
"""By our data source."""

CAVEAT = (
    "The paper does not say which split it evaluates, whether closed questions only or all, which version of PMC-VQA, "
    "whether MMMU's validation or test set, nor its rule for a right answer. Ours: the split named in the first "
    "column, all of its questions, an answer that is missing or unreadable counts as wrong, exact match after "
    "normalisation. The columns are not comparable until the protocols are known to be the same."
)
