"""Following a run: what a person is told, from the console's lines and from the log of metrics."""

import io
import json
from pathlib import Path

import pytest

from medeyes_verl.evaluation.watch import Progress, clock, follow_output, follow_run

CONSOLE = (
    "ray init kwargs: {}\n"
    "\x1b[36m(TaskRunner pid=7)\x1b[0m Total training steps: 3\n"
    "(TaskRunner pid=7) step:1 - medeyes/on_policy/r_acc:0.25 - medeyes/on_policy/reward:np.float64(0.5)"
    " - timing_s/step:10.0\n"
    "KeyError: 'record'\n"
    "step:2 - medeyes/on_policy/r_acc:nan - val-core/phantom/acc/mean@1:1e-1 - timing_s/step:20.0\n"
)


def test_the_console_is_kept_and_told_in_short() -> None:
    told: list[str] = []
    kept = io.StringIO()
    follow_output(io.StringIO(CONSOLE), Progress(told.append), kept)
    assert kept.getvalue() == CONSOLE
    assert [line.split("] ", 1)[1] for line in told] == [
        "Ray is starting",
        "step 1/3  accuracy 0.25  reward 0.5  10.0 s  about 0:20 left",
        "KeyError: 'record'",
        "step 2/3  accuracy nan  validation accuracy 0.1  20.0 s  about 0:15 left",
    ]


def test_a_run_is_followed_while_it_is_written(tmp_path: Path) -> None:
    """A line that is half written waits; a resumed run's second log is followed to the last step."""
    lines = [json.dumps({"step": step, "data": {"timing_s/step": 1.0}}) + "\n" for step in range(1, 4)]
    first, second = tmp_path / "logs" / "metrics-1.jsonl", tmp_path / "logs" / "metrics-2.jsonl"
    first.parent.mkdir()
    first.write_text(lines[0] + lines[1][:10])
    writing = [lambda: first.write_text(lines[0] + lines[1]), lambda: second.write_text(lines[2])]
    told: list[str] = []
    follow_run(tmp_path, Progress(told.append, total=3), sleep=lambda _: writing.pop(0)() and None)
    assert [line.split("] ", 1)[1].split("  ")[0] for line in told] == [
        f"following {first}",
        "step 1/3",
        "step 2/3",
        f"following {second}",
        "step 3/3",
    ]


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent: there is no such folder"):
        follow_run(tmp_path / "absent", Progress(print))


@pytest.mark.parametrize(("seconds", "shown"), [(5, "0:05"), (65, "1:05"), (3723, "1:02:03")])
def test_the_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
