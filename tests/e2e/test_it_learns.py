"""README's first command shows learning that chance cannot give, started as a newcomer starts it.

A policy that knows how to gaze and is in the habit of giving up is trained for a few steps of main_ppo, with experts
that gaze. Afterwards the 95% interval of its validation accuracy lies above the one before: without learning, that
happens in fewer than one in a hundred runs. It must come from gazing, and from crops that show the lesion.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from ablations.results import SHOWN

from medeyes_verl.evaluation.episode_log import LoggedEpisode, read_episodes
from medeyes_verl.evaluation.grounding import grounding
from medeyes_verl.evaluation.statistics import wilson_interval

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
STEPS = 20
"""Of quickstart.sh without options."""
LAST_LINES = re.compile(
    r"Sampled validation \(temperature 1\) on 300 held-out questions .*: they do not overlap, so it rose .*\n"
    r"validation accuracy: (?P<before>\S+) \[(?P<l>\S+), (?P<u>\S+)\] -> (?P<after>\S+) \[(?P<L>\S+), (?P<U>\S+)\]\n\Z"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run named by MEDEYES_TEST_RUN (.ci/run made it) if quickstart ended it with its own steps; else a new one."""
    given = os.environ.get("MEDEYES_TEST_RUN")
    if given and (Path(given) / "logs" / f"validation-{STEPS}.jsonl").is_file():
        return Path(given)
    output = tmp_path_factory.mktemp("quickstart")
    command = ["bash", "scripts/quickstart.sh", "--output", str(output)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=3600, stdout=subprocess.DEVNULL)
    return output


def test_the_intervals_before_and_after_do_not_overlap(run: Path) -> None:
    said = (run / "logs" / "summary.log").read_text(encoding="utf-8")
    ends = LAST_LINES.search(said)
    assert ends, said
    lower, upper = float(ends["L"]), float(ends["u"])
    assert lower > upper, ends[0]


@pytest.mark.parametrize("shown", ["a gaze", "the lesion"])
def test_it_is_right_more_often_because_it_gazes_and_sees_the_lesion(run: Path, shown: str) -> None:
    """The share of episodes with a gaze, and of those with the lesion in a crop, rises by more than chance gives."""
    holds = lesion_seen if shown == "the lesion" else has_gaze
    counts = []
    for step in (0, STEPS):
        episodes = read_episodes(run / "logs" / f"validation-{step}.jsonl")
        counts.append((sum(map(holds, episodes)), len(episodes)))
    before, after = (wilson_interval(*count) for count in counts)
    assert after.low > before.high, counts


def has_gaze(episode: LoggedEpisode) -> bool:
    return bool(episode.trace.boxes)


def lesion_seen(episode: LoggedEpisode) -> bool:
    best = grounding(episode.trace, episode.regions)
    return best is not None and best.coverage >= SHOWN
