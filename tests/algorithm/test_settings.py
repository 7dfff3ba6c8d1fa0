"""Settings: the paper's rule by default, and a clear refusal of anything else that is wrong."""

import pytest

from medeyes_verl.algorithm.settings import DualStreamSettings
from medeyes_verl.settings.reader import read


def test_defaults_are_the_papers_rule():
    settings = read(DualStreamSettings, {})
    assert settings == DualStreamSettings("stream", "none", 0.1, True, 1.0, 1.0)


def test_absent_keys_keep_their_defaults():
    settings = read(DualStreamSettings, {"off_policy_shaping": "luffy", "off_policy_clip": False})
    assert (settings.off_policy_shaping, settings.off_policy_clip) == ("luffy", False)
    assert settings.off_policy_baseline == "stream"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {"off_policy_baselin": "stream"},
            r"off_policy_baselin='stream': there is no such key; did you mean off_policy_baseline\? Known keys",
        ),
        ({1: 2}, "1=2: there is no such key"),
        (
            {"off_policy_baseline": "expert"},
            "off_policy_baseline='expert': use one of stream, on_policy, pooled, none",
        ),
        ({"off_policy_baseline": None}, "off_policy_baseline=null: use one of"),
        ({"off_policy_shaping": "LUFFY"}, "off_policy_shaping='LUFFY': use one of none, luffy, log"),
        ({"off_policy_clip": "yes"}, "off_policy_clip='yes': use true or false"),
        ({"off_policy_clip": 1}, "off_policy_clip=1: use true or false"),
        ({"shaping_gamma": 0}, "shaping_gamma=0: use a number above 0"),
        ({"shaping_gamma": -0.1}, "shaping_gamma=-0.1: use a number above 0"),
        ({"on_policy_weight": float("nan")}, "on_policy_weight=nan: use a number from 0 upwards"),
        ({"off_policy_weight": float("inf")}, "off_policy_weight=inf: use a number"),
        ({"off_policy_weight": True}, "off_policy_weight=true: use a number"),
        ({"off_policy_weight": "1"}, "off_policy_weight='1': use a number"),
        ({"off_policy_focus": "rarest"}, "off_policy_focus='rarest': use one of none, uncertain, rare"),
        ({"ratio": "sequences"}, "ratio='sequences': use one of"),
        ({"off_policy_warmup_steps": 1.5}, "off_policy_warmup_steps=1.5: use a whole number"),
        ({"off_policy_decay_steps": -1}, "off_policy_decay_steps=-1: use a whole number from 0"),
        ({"off_policy_decay_steps": 5}, "off_policy_decay_steps=5: the fall needs both"),
        ({"off_policy_weight_end": 0.1}, "the fall needs both"),
        ({"complementary_weight": True, "off_policy_weight": 1.5}, "reaches 1.5; use at most 1"),
        ({"gate_solve_rate": 0.5}, "gate_solve_rate=0.5: has no effect with off_policy_gate=always"),
        ({"gated_rollouts": "drop"}, "gated_rollouts='drop': has no effect with off_policy_gate=always"),
        ({"solved_reward": 0.5}, "set off_policy_gate=unsolved, or leave it out"),
        ({"focus_power": 1.0}, "focus_power=1.0: has no effect with off_policy_focus=none"),
        ({"off_policy_gate": "unsolved", "gate_solve_rate": 1}, "no prompt exceeds 1"),
        ({"off_policy_shaping": "log", "expert_log_probs": "stored"}, "whatever b is"),
        ({"ratio": "sequence", "off_policy_focus": "rare"}, "weigh tokens one by one"),
        ({"ratio": "sequence_mean", "off_policy_shaping": "log"}, "weigh tokens one by one"),
        ({"ratio": "sequence", "on_policy_loss": "gspo"}, "has a ratio of its own"),
    ],
)
def test_impossible_settings_are_refused_by_name(mapping, message):
    with pytest.raises(ValueError, match=message):
        read(DualStreamSettings, mapping)
