"""From what was read to the one HTML file.

The page carries everything it shows: pictures as data URLs, styles, scripts, and Plotly's own library, which comes
out of the plotly package. Its content security policy lets it load nothing from anywhere and run no script but its
own, known by their hashes: words of a model that slipped through the escaping would still be inert.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from medeyes_verl import __version__
from medeyes_verl.data.atomic import write_bytes
from medeyes_verl.evaluation.run_logs import read_runs
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.report.annotated_image import CSS_COLOURS
from medeyes_verl.report.curves import charts
from medeyes_verl.report.expert_play import ExpertReplay
from medeyes_verl.report.gallery import MOST_CARDS, gallery
from medeyes_verl.report.tables import EPISODE_COLUMNS, before_and_after, episode_table

PACKAGE = "medeyes_verl.report"


def write_report(
    paths: Sequence[Path],
    output: Path,
    settings: EpisodeSettings,
    *,
    experts: Path | None = None,
    most_cards: int = MOST_CARDS,
    replay: ExpertReplay | None = None,
) -> str:
    """Write the report on the runs in `paths` to the file `output`; returns what it holds, in a line.

    `settings` are those the episodes were played with; `replay` says how stored experts are replayed. Raises
    FileNotFoundError and ValueError as `read_runs`.
    """
    runs = read_runs(paths, experts)
    groups = charts(runs)
    shown = gallery(runs, settings, most_cards, replay)
    library, script = get_plotlyjs(), _asset("report.js")
    environment = Environment(
        loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.get_template("report.html.j2").render(
        title=", ".join(run.name for run in runs),
        runs=runs,
        groups=groups,
        traces=[chart.traces for _, drawn in groups for chart in drawn],
        changes=before_and_after(runs),
        scores=episode_table(runs),
        episode_columns=EPISODE_COLUMNS,
        gallery=shown,
        gaze_colours=CSS_COLOURS,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        style=Markup(_asset("report.css")),
        library=Markup(library),
        script=Markup(script),
        script_hashes=" ".join(_csp_hash(each) for each in (library, script)),
    )
    write_bytes(output, html.encode("utf-8", errors="replace"))
    curves = sum(len(drawn) for _, drawn in groups)
    held = f"{curves} curves, {len(shown.cards)} of {shown.questions} questions"
    return held + (f"; {shown.replayed} replayed experts. {shown.note}".rstrip(". ") if shown.replayed else "")


def _asset(name: str) -> str:
    return (files(PACKAGE) / "templates" / name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
