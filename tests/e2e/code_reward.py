"""A reward function for `test_demonstrations`: the answer is the code, or it is not."""

from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any]) -> float:
    """1 for the code alone."""
    return float(solution_str.strip() == ground_truth)
