"""The figures of a run as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medeyes_verl.evaluation.published import CAVEAT, PAPER, PAPER_ACCURACY
from medeyes_verl.evaluation.summary import PART, QUESTION_TYPES, Figures

Summary = Mapping[str, Mapping[str, Any]]
"""What `summarise` returns."""

PERCENT = ("pass", "majority", "token_f1", "medevalkit", "llava_med_recall", "format_valid", "answered")
SECONDARY = ("token_f1", "medevalkit", "llava_med_recall", "format_valid", "answered", "broken_off")
LOOKING = ("gazes", "no_gaze", "scan_share", "drill_share", "diversity")
COST = ("tokens", "seconds_median", "seconds_p95", "prompts_differing")
GROUNDING = ("grounded", "best_iou", "best_hit", "best_pointing", "best_dice", "best_coverage")
HEADINGS = {
    "pass": "pass@n",
    "token_f1": "token F1 (open)",
    "medevalkit": "MedEvalKit's rule",
    "llava_med_recall": "LLaVA-Med recall",
    "format_valid": "format valid",
    "broken_off": "broken off",
    "not_scored": "not scored",
    "no_gaze": "no gaze",
    "scan_share": "scans",
    "drill_share": "drills",
    "seconds_median": "seconds, median",
    "seconds_p95": "seconds, 95%",
    "prompts_differing": "prompts unlike training's",
    "grounded": "episodes with a target",
    "best_iou": "IoU",
    "best_hit": "hit (IoU ≥ 0.5)",
    "best_pointing": "centre in target",
    "best_dice": "Dice",
    "best_coverage": "target covered",
}


def markdown(summary: Summary, title: str) -> str:
    """All tables of a run, ready to be read or pasted."""
    overall = {name: benchmark["overall"] for name, benchmark in summary.items()}
    parts = [f"# {title}", _accuracy(summary)]
    if any(figures["samples"] > 1 for figures in overall.values()):
        parts += ["## Several samples a question", _plain(overall, ("samples", "pass", "majority"))]
    parts += ["## Other scores", _plain(overall, SECONDARY)]
    own = tuple(dict.fromkeys(key for figures in overall.values() for key in figures if key.startswith(PART)))
    if own or any(figures["not_scored"] for figures in overall.values()):
        parts += ["## Own reward parts", _plain(overall, (*own, "not_scored"))]
    parts += ["## Looking", _plain(overall, LOOKING)]
    parts += ["## What it cost", _plain(overall, COST)]
    if any(figures["grounded"] for figures in overall.values()):
        parts += ["## The best gaze against the marked target", _plain(overall, GROUNDING)]
    for kind in ("organ", "modality"):
        rows = [(name, group, figures) for name, each in summary.items() for group, figures in each[kind].items()]
        if rows:
            cells = [(name, group, str(figures["questions"]), accuracy(figures)) for name, group, figures in rows]
            parts += [f"## By {kind}", table(("benchmark", kind, "questions", "accuracy"), cells)]
    if paper := _paper(overall):
        parts += ["## Beside the paper", f"{PAPER}.\n\n{paper}\n\n{CAVEAT}"]
    return "\n\n".join(parts) + "\n"


def csv_text(summary: Summary) -> str:
    """One line a group, all figures, unrounded."""
    lines = [
        {"benchmark": name, "breakdown": kind, "group": group, **figures}
        for name, benchmark in summary.items()
        for kind, groups in [("overall", {"overall": benchmark["overall"]}), *_breakdowns(benchmark)]
        for group, figures in groups.items()
    ]
    text = io.StringIO()
    names = list(dict.fromkeys(key for line in lines for key in line))  # a group may have parts that another lacks
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Cells may hold anything."""
    return "\n".join(_line(cells) for cells in [header, ["---"] * len(header), *rows])


def accuracy(figures: Figures) -> str:
    """The accuracy in percent with its interval."""
    text = f"{100 * figures['accuracy']:.1f}"
    if figures["accuracy_low"] is not None:
        text += f" [{100 * figures['accuracy_low']:.1f}, {100 * figures['accuracy_high']:.1f}]"
    return text


def accuracy_cells(summary: Summary) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the main table: closed, open and overall side by side."""
    rows = []
    for name, benchmark in summary.items():
        by_type, overall = benchmark["question_type"], benchmark["overall"]
        cells = [
            f"{accuracy(by_type[kind])} (n={by_type[kind]['questions']})" if kind in by_type else "–"
            for kind in QUESTION_TYPES
        ]
        rows.append((name, str(overall["questions"]), str(overall["pictures"]), *cells, accuracy(overall)))
    return ("benchmark/split", "questions", "pictures", "closed", "open", "multiple choice", "overall"), rows


def _accuracy(summary: Summary) -> str:
    note = "Accuracy in % (exact match after normalisation), 95% Wilson intervals, clustered by image."
    return f"{note}\n\n{table(*accuracy_cells(summary))}"


def _plain(overall: Mapping[str, Figures], names: Sequence[str]) -> str:
    rows = [(name, *(_cell(key, figures.get(key)) for key in names)) for name, figures in overall.items()]
    return table(("benchmark/split", *(HEADINGS.get(key, key.removeprefix(PART)) for key in names)), rows)


def _paper(overall: Mapping[str, Figures]) -> str:
    rows = []
    for name, figures in overall.items():
        published = PAPER_ACCURACY.get(name.rpartition("/")[0])
        if published:
            rows.append((name, accuracy(figures), *(f"{value:.1f}" for value in published.values())))
    models = next(iter(PAPER_ACCURACY.values()))
    return table(("benchmark/split", "this run", *(f"{model} (paper)" for model in models)), rows) if rows else ""


def _breakdowns(benchmark: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Figures]]]:
    return [(kind, groups) for kind, groups in benchmark.items() if kind != "overall"]


def _cell(key: str, value: float | int | None) -> str:
    if value is None:
        return "–"
    if key in PERCENT:
        return f"{100 * value:.1f}%"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _safe(value: Any) -> Any:
    """A spreadsheet runs a cell that starts like a formula; names of groups come from data."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
