"""The curves: which metrics become which lines, in words too."""

import re
from typing import Any

from medeyes_verl.evaluation.run_logs import read_runs
from medeyes_verl.report.curves import GROUPS, charts


def _by_title(groups: list[tuple[str, list[Any]]]) -> dict[str, Any]:
    return {chart.panel.title: chart for _, drawn in groups for chart in drawn}


def test_only_panels_with_data_are_drawn(make_run: Any) -> None:
    drawn = _by_title(charts(read_runs([make_run()])))
    assert set(drawn) == {"Validation accuracy", "Validation reward", "Training reward", "Step time"}


def test_streams_are_lines_of_one_panel_with_their_own_colour_and_the_summary_tells_both(make_run: Any) -> None:
    chart = _by_title(charts(read_runs([make_run()])))["Training reward"]
    policy, expert = chart.traces
    assert (policy["name"], policy["x"], policy["y"], policy["meta"]) == ("policy", [1, 2], [0.5, 0.6], 0)
    assert (expert["name"], expert["meta"]) == ("expert", 1)
    assert (
        chart.summary == "Training reward. policy: 0.5 at step 1, 0.6 at step 2; expert: 0.9 at step 1, 0.9 at step 2."
    )


def test_in_a_comparison_a_run_has_one_colour_and_streams_differ_by_dash(make_run: Any) -> None:
    chart = _by_title(charts(read_runs([make_run("a"), make_run("b", reward=0.2)])))["Training reward"]
    assert [(t["name"], t["meta"], t["line"]["dash"]) for t in chart.traces] == [
        ("a · policy", 0, "solid"),
        ("a · expert", 0, "dash"),
        ("b · policy", 1, "solid"),
        ("b · expert", 1, "dash"),
    ]


def test_every_pattern_is_a_regular_expression_and_titles_are_unique() -> None:
    panels = [panel for _, group in GROUPS for panel in group]
    assert len({panel.title for panel in panels}) == len(panels)
    for panel in panels:
        assert panel.lines
        for line in panel.lines:
            re.compile(line.pattern)
