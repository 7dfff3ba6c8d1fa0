"""What the trainer remembers of a step: the policy's own right and well-formed episodes, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import NonTensorStack, TensorDict

from medeyes_verl.expert.entry_file import StoreError
from medeyes_verl.expert.replay import ReplaySettings
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.grammar import Fault
from medeyes_verl.gaze.trace import EpisodeTrace, TraceTurn
from medeyes_verl.plugin.replay_actor import _Replay, successes


def fields(acc: float = 1.0, faults: tuple[str, ...] = ()) -> dict[str, Any]:
    trace = EpisodeTrace(
        turns=(
            TraceTurn("<reasoning>scan</reasoning>…", "scan", "", Box(0, 0, 112, 112), 1, "drill"),
            TraceTurn(
                "<reasoning>ring seen</reasoning>\n<answer>ring</answer>",
                "ring seen",
                None,
                faults=tuple(Fault(fault) for fault in faults),
            ),
        ),
        answer="ring",
        finish="answered",
    )
    return {"trace": trace.as_dict(), "reward_extra_info": {"acc": acc}}


def remembered(row: dict[str, Any], expert_id: str | None = "q", real: bool = True, expert: bool = False) -> Any:
    rows = TensorDict(
        {
            "extra_fields": NonTensorStack(row),
            "extra_info": NonTensorStack({"expert_id": expert_id}),
            "rm_scores": torch.nested.as_nested_tensor([torch.tensor([0.0, 0.9])], layout=torch.jagged),
        },
        batch_size=1,
    )
    return successes(rows, [real], torch.tensor([expert]), step=3)


def test_a_success_becomes_a_trajectory_in_the_originals_pixels() -> None:
    (success,) = remembered(fields())
    assert (success.reward, success.step) == (pytest.approx(0.9), 3)
    trajectory = success.trajectory
    assert (trajectory.expert_id, trajectory.answer, trajectory.source) == ("q", "ring", "replay")
    assert [(step.reasoning, step.box) for step in trajectory.steps] == [("scan", Box(0, 0, 112, 112))]
    assert trajectory.conclusion == "ring seen"


@pytest.mark.parametrize(
    "case",
    [
        {"row": fields(acc=0.0)},
        {"row": fields(faults=("tiny_box",))},
        {"row": fields(), "expert": True},
        {"row": fields(), "real": False},
        {"row": fields(), "expert_id": None},
    ],
)
def test_anything_else_is_not_remembered(case: dict[str, Any]) -> None:
    assert remembered(**case) == []


def test_a_checkpoints_buffer_of_the_old_form_is_refused_by_name(tmp_path: Path) -> None:
    assert _Replay(ReplaySettings()).restore(str(tmp_path)) == 0
    (tmp_path / "replay.arrow").write_bytes(b"")
    with pytest.raises(StoreError, match=r"replay\.arrow: a replay buffer of Arrow is no longer read; delete it"):
        _Replay(ReplaySettings()).restore(str(tmp_path))
