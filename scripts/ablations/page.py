"""The tables and the picture of docs/results.md, made from the results; the words around them are a person's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Final

from ablations.results import FOUND, Result
from ablations.rows import Row
from medeyes_verl.data.atomic import atomic_path, write_bytes

Results = Mapping[str, Sequence[Result]]
BASELINE: Final = "grpo"
"""What the other rows are compared with, as in the paper."""
START: Final = "start"
"""The policy from which all others come."""
CURVES: Final = ("paper", "grpo", "recommended")
"""Rows whose course is drawn; the end of every row is."""
COLOURS: Final = ("#d64933", "#2673c4", "#1e8c56")


def table(rows: Sequence[Row], results: Results) -> str:
    """A line a row, beside the paper's figure for it where it has one."""
    columns = ("row", "", "seeds", "halfway %", "accuracy %", "Δ GRPO", "steps to GRPO's end", "found %", "gazes")
    lines = _head(*columns, "tokens", "min", "paper %", "paper, Δ")
    base = _accuracy(results[BASELINE]) if BASELINE in results else None
    paper_base = next(row.paper for row in rows if row.name == BASELINE)
    for row in rows:
        if row.name not in results:
            continue
        runs = results[row.name]
        accuracy = _accuracy(runs)
        halves = [half for run in runs if (half := _halfway(run.validation["accuracy"])) is not None]
        reached = _steps_to(runs, base) if base is not None and row.name != BASELINE else None
        cells = [
            f"`{row.name}`",
            row.says,
            str(len(runs)),
            f"{100 * mean(halves):.1f}" if halves else "",
            _over_seeds([run.accuracy for run in runs]),
            f"{100 * (accuracy - base):+.1f}" if base is not None and row.name != BASELINE else "",
            "" if row.name == BASELINE else ("never" if reached is None else f"{reached}"),
            _over_seeds([run.last(FOUND) for run in runs]),
            f"{mean(run.last('gazes') for run in runs):.2f}",
            f"{mean(run.tokens for run in runs) / 1000:.0f}k",
            f"{mean(run.minutes for run in runs):.1f}",
            f"{row.paper}" if row.paper else "",
            f"{row.paper - paper_base:+.1f}" if row.paper and paper_base and row.name != BASELINE else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def traps(rows: Sequence[Row], results: Results) -> str:
    """The two traps of the paper's rule, means over all steps of all seeds."""
    names = ("expert silent groups", "expert advantage size", "expert clip fraction", "expert gradient weight")
    lines = _head("row", "silent groups", "size of A", "clipped tokens", "gradient weight", "π, first → last")
    for row in rows:
        runs = [run for run in results.get(row.name, ()) if names[0] in run.training]
        if runs:
            means = [mean(mean(run.training[name].values()) for run in runs) for name in names]
            said = [run.training["expert probability"] for run in runs]
            first, last = mean(curve[min(curve)] for curve in said), mean(_last(curve) for curve in said)
            cells = [f"`{row.name}`", f"{means[0]:.0%}", *(f"{value:.2f}" for value in means[1:])]
            lines.append("| " + " | ".join([*cells, f"{first:.3f} → {last:.3f}"]) + " |")
    return "\n".join(lines)


def picture(path: Path, rows: Sequence[Row], results: Results) -> None:
    """Learning curves with their range over seeds, gazes over time, and the end of every row.

    Between two validations the policy's own rollouts tell its accuracy: no question comes twice in a run so short.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ended = [row for row in rows if row.name in results]
    height = max(5.0, 1 + 0.22 * len(ended))  # inches; a row's name needs its line
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, height), width_ratios=(1, 1, 1.1))
    shown = [row for row in rows if row.name in CURVES and row.name in results]
    start = {0: _accuracy(results[START])} if START in results else {}
    for row, colour in zip(shown, COLOURS, strict=False):
        runs = results[row.name]
        label = f"{row.name} ({len(runs)} seed{'s' * (len(runs) > 1)})"
        for axes, name in ((left, "accuracy"), (middle, "gazes")):
            curves = [_smoothed(run.training[name]) for run in runs]
            steps = sorted(set.intersection(*(set(curve) for curve in curves)))
            axes.plot(steps, [mean(curve[step] for curve in curves) for step in steps], color=colour, label=label)
            low, high = ([pick(curve[step] for curve in curves) for step in steps] for pick in (min, max))
            axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        asked = [{**start, **run.validation["accuracy"]} for run in runs]
        left.plot(sorted(asked[0]), [mean(run[step] for run in asked) for step in sorted(asked[0])], "o", color=colour)
    left.set(title="accuracy: own rollouts, 5-step mean; ● validation", xlabel="step", ylabel="accuracy")
    middle.set(title="gazes a trajectory, own rollouts, 5-step mean", xlabel="step", ylabel="gazes")
    left.legend()
    for place, row in enumerate(reversed(ended)):
        values = [run.accuracy for run in results[row.name]]
        right.barh(place, mean(values), color="#9aa7b5" if row not in shown else COLOURS[shown.index(row)])
        right.plot(values, [place] * len(values), "|", color="#202124", markersize=9)
        right.plot(mean(run.last(FOUND) for run in results[row.name]), place, "D", color="#202124", markersize=4)
    right.set_yticks(range(len(ended)), [row.name for row in reversed(ended)])
    right.set(title="at the last step (| a seed; ◆ lesion found)", xlabel="accuracy", xlim=(0, 1))
    for axes in (left, middle, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page; a new page is nothing but its parts.

    Raises ValueError where the page lacks a part's marks.
    """
    if page.is_file():
        text = page.read_text(encoding="utf-8")
    else:
        text = "\n".join(f"## {name}\n\n<!-- {name} -->\n<!-- /{name} -->\n" for name in parts)
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        marks = pattern.findall(text)
        if len(marks) != 1:
            raise ValueError(f"{page}: found the marks <!-- {name} --> … <!-- /{name} --> {len(marks)} times, not once")
        start = text.index(marks[0][0]) + len(marks[0][0])
        text = f"{text[:start]}{part}\n{text[text.index(marks[0][1]) :]}"
    write_bytes(page, text.encode())


def _head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def _accuracy(runs: Sequence[Result]) -> float:
    return mean(run.accuracy for run in runs)


def _over_seeds(shares: Sequence[float]) -> str:
    """Mean and deviation, in percent."""
    return f"{100 * mean(shares):.1f}" + (f" ± {100 * stdev(shares):.1f}" if len(shares) > 1 else "")


def _steps_to(runs: Sequence[Result], accuracy: float) -> int | None:
    """The first validation whose mean over seeds reaches `accuracy`."""
    steps = sorted(set.intersection(*(set(run.validation["accuracy"]) for run in runs)))
    means = {step: mean(run.validation["accuracy"][step] for run in runs) for step in steps}
    return next((step for step in steps if means[step] >= accuracy), None)


def _smoothed(curve: Mapping[int, float], width: int = 5) -> dict[int, float]:
    steps = sorted(curve)
    return {step: mean(curve[near] for near in steps if step - width < near <= step) for step in steps}


def _halfway(curve: Mapping[int, float]) -> float | None:
    """At half of the steps, where there was a validation."""
    return curve.get(max(curve) // 2) if max(curve) > 0 else None


def _last(curve: Mapping[int, float]) -> float:
    return curve[max(curve)]
