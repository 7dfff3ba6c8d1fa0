"""The curves of training: which metrics are shown, in which group, and as what Plotly figures.

Colours, fonts and grid lines are the page's to set, since it changes between light and dark; here are only the
data and what each curve means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medeyes_verl.evaluation.run_logs import Run, Steps

DASHES = ("solid", "dash", "dot", "dashdot")
"""One for each line of a panel when colours tell runs apart."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of a panel."""

    label: str
    pattern: str
    """Of the metric's whole name; a group captured in it is added to the label."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A small chart."""

    title: str
    meaning: str
    """One sentence under the title."""
    lines: tuple[Line, ...]
    unit: str = ""


def _streams(name: str) -> tuple[Line, ...]:
    return Line("policy", f"medeyes/on_policy/{name}"), Line("expert", f"medeyes/expert/{name}")


GROUPS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Outcome",
        (
            Panel(
                "Validation accuracy",
                "Right answers, by the strict rule of the reward.",
                (Line("", r"val-core/(.+)/acc/mean@\d+"),),
            ),
            Panel(
                "Validation reward",
                "0.7 accuracy + 0.2 grammar + 0.1 diversity.",
                (Line("", r"val-aux/(.+)/reward/mean@\d+"),),
            ),
            Panel("Training reward", "Mean over the rollouts of a step.", _streams("reward")),
            Panel("Training accuracy", "r_acc, or the share of right answers.", _streams("r_acc")),
            Panel("Grammar", "r_grammar: the share of episodes of strict form.", _streams("r_grammar")),
            Panel("Diversity", "r_div: unique regions, and pairs that overlap less than half.", _streams("r_div")),
        ),
    ),
    (
        "Looking",
        (
            Panel("Gazes", "Valid gazes an episode.", _streams("gazes")),
            Panel("Validation gazes", "Valid gazes an episode.", (Line("", r"val-aux/(.+)/gazes/mean@\d+"),)),
            Panel(
                "Scan and drill",
                "Shares of the policy's gazes that look wide and that zoom in.",
                (Line("scan", "medeyes/on_policy/scan_share"), Line("drill", "medeyes/on_policy/drill_share")),
            ),
            Panel("Written tokens", "The model's own tokens an episode.", _streams("written_tokens")),
        ),
    ),
    (
        "Two streams",
        (
            Panel("Size of advantages", "Mean |A|: how much a stream teaches.", _streams("advantage_size")),
            Panel(
                "Silent groups",
                "Prompts whose rollouts all score alike: no advantage, nothing learnt.",
                _streams("silent_groups"),
            ),
            Panel("Clip fraction", "Tokens without gradient because the ratio was clipped.", _streams("clip_fraction")),
            Panel("Gradient weight", "|∂loss/∂log π| / |A|, a mean over tokens.", _streams("gradient_weight")),
            Panel(
                "Probability of expert tokens",
                "Mean π_θ of what the experts wrote, before the update.",
                (Line("", "medeyes/expert/probability_before"),),
            ),
            Panel(
                "Entropy",
                "Of the policy's next token, in nats.",
                (Line("both streams", "actor/entropy"), Line("policy", "medeyes/on_policy/entropy")),
            ),
        ),
    ),
    (
        "Machine",
        (
            Panel(
                "Step time",
                "Whole step and its two longest parts.",
                (
                    Line("step", "timing_s/step"),
                    Line("rollout", "timing_s/gen"),
                    Line("update", "timing_s/update_actor"),
                ),
                unit="s",
            ),
            Panel(
                "Trainer against engine",
                "Largest difference of a token's probability: large means the engine lags behind.",
                (Line("", "training/rollout_probs_diff_max"),),
            ),
            Panel("Gradient norm", "Before clipping.", (Line("", "actor/grad_norm"),)),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A panel with data in it."""

    panel: Panel
    traces: list[dict[str, Any]]
    """Plotly scatter traces; the page gives each its colour by its number in `meta`."""
    summary: str
    """The chart in words, for who cannot see it."""


def charts(runs: Sequence[Run]) -> list[tuple[str, list[Chart]]]:
    """The groups with their charts; panels and groups without any data are left out."""
    groups = [(title, [_chart(panel, runs) for panel in panels]) for title, panels in GROUPS]
    kept = [(title, [chart for chart in drawn if chart.traces]) for title, drawn in groups]
    return [(title, drawn) for title, drawn in kept if drawn]


def _chart(panel: Panel, runs: Sequence[Run]) -> Chart:
    traces: list[dict[str, Any]] = []
    spoken: list[str] = []
    for number, run in enumerate(runs):
        series = [(line, label, name) for line in panel.lines for label, name in _matching(line, run.steps)]
        for place, (_, label, name) in enumerate(series):
            points = [(step, run.steps[step][name]) for step in sorted(run.steps) if name in run.steps[step]]
            title = " · ".join(part for part in (run.name if len(runs) > 1 else "", label) if part) or panel.title
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if len(points) <= 40 else "lines",
                    "name": title,
                    "x": [step for step, _ in points],
                    "y": [value for _, value in points],
                    "line": {"dash": DASHES[place % len(DASHES)] if len(runs) > 1 else "solid", "width": 2},
                    "meta": number if len(runs) > 1 else place,
                    "showlegend": len(runs) * len(series) > 1,
                }
            )
            (first, before), (last, after) = points[0], points[-1]
            spoken.append(
                f"{title}: {before:.3g} at step {first}" + (f", {after:.3g} at step {last}" if len(points) > 1 else "")
            )
    return Chart(panel, traces, f"{panel.title}. " + "; ".join(spoken) + ".")


def _matching(line: Line, steps: Steps) -> list[tuple[str, str]]:
    """(label, metric) of the metrics that a line stands for, by name."""
    names = sorted({name for data in steps.values() for name in data})
    found = [(re.fullmatch(line.pattern, name), name) for name in names]
    return [(" ".join(part for part in (line.label, *match.groups()) if part), name) for match, name in found if match]
