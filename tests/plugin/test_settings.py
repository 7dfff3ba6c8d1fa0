"""Settings that do not fit together are refused before a run starts, each by its name."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from medeyes_verl.config.settings import data_settings, rollout_settings


def settings_of(n: int = 8, **ours: Any) -> Any:
    return rollout_settings(OmegaConf.create({"actor_rollout_ref": {"rollout": {"n": n, "custom": {"medeyes": ours}}}}))


def test_no_settings_mean_a_policy_alone() -> None:
    settings = rollout_settings(OmegaConf.create({"actor_rollout_ref": {"rollout": {"n": 1}}}))
    assert (settings.n_expert, settings.off_policy_source) == (0, "experts")


@pytest.mark.parametrize(
    ("ours", "complaint"),
    [
        ({"n_expert": -1}, "n_expert=-1: use a whole number from 0 upwards"),
        ({"n_expert": 2}, "neither experts names a trajectory store nor"),
        ({"n_expert": "two"}, "n_expert"),
        ({"off_policy_source": "past"}, "use one of experts, replay, mixed"),
        ({"replay": {"order": "recency", "size": 3}}, "size"),
        ({"replay": {"per_question": 0}}, "per_question"),
        ({"live": {"oracle": "annotations"}}, "needs .*experts, the store"),
        ({"live": {"oracle": "endpoint"}, "experts": "e"}, "live.url='': live.oracle=endpoint needs it"),
        ({"live": {"oracle": "crystal ball"}, "experts": "e"}, "use annotations, endpoint, or PATH:NAME"),
        ({"live": {"oracle": "annotations", "oracle_settings": {"a": 1}}, "experts": "e"}, "for an oracle of your own"),
        ({"live": {"limit": 3}}, "limit"),
        ({"live": {"url": "http://h/v1"}}, "live.url='http://h/v1': only live.oracle=endpoint reads it"),
        (
            {"live": {"model": "m", "oracle": "annotations"}, "experts": "e"},
            "live.model='m': only live",
        ),
        ({"replay": {"order": "reward"}}, "replay: off_policy_source=experts does not read it"),
    ],
)
def test_what_does_not_fit_is_named(ours: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        settings_of(**ours)


def test_replay_needs_no_store() -> None:
    assert settings_of(n_expert=2, off_policy_source="replay").experts is None


def test_an_unknown_data_key_is_named() -> None:
    with pytest.raises(ValueError, match="root"):
        data_settings(OmegaConf.create({"medeyes": {"root": "pictures"}}))
