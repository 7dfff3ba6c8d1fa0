"""What an evaluation leaves behind: results.json, results.md, results.csv, each whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medeyes_verl import __version__
from medeyes_verl.data.atomic import write_bytes, write_json
from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.published import CAVEAT, PAPER, PAPER_ACCURACY
from medeyes_verl.evaluation.summary import summarise
from medeyes_verl.evaluation.tables import csv_text, markdown

RESULTS = "results"


def write_results(
    output: Path, episodes: Sequence[LoggedEpisode], settings: Mapping[str, Any], facts: Mapping[str, Any], title: str
) -> dict[str, dict[str, Any]]:
    """Summarise `episodes` and write the three files; the summary. `facts` are about the run itself (its speed)."""
    summary = summarise(episodes)
    results = {
        "version": __version__,
        "title": title,
        "settings": dict(settings),
        "run": dict(facts),
        "benchmarks": summary,
        "paper": {"source": PAPER, "accuracy_percent": PAPER_ACCURACY, "caveat": CAVEAT},
    }
    write_json(output / f"{RESULTS}.json", results)
    write_bytes(output / f"{RESULTS}.md", markdown(summary, title).encode())
    write_bytes(output / f"{RESULTS}.csv", csv_text(summary).encode())
    return summary
