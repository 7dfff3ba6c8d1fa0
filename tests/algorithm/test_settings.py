"""Settings: the paper's rule by default, and a clear refusal of anything else that is wrong."""

import pytest

from medeyes_verl.algorithm.settings import DualStreamSettings


def test_defaults_are_the_papers_rule():
    settings = DualStreamSettings.from_mapping({})
    assert settings == DualStreamSettings("stream", "none", 0.1, True, 1.0, 1.0)


def test_absent_keys_keep_their_defaults():
    settings = DualStreamSettings.from_mapping({"off_policy_shaping": "luffy", "off_policy_clip": False})
    assert (settings.off_policy_shaping, settings.off_policy_clip) == ("luffy", False)
    assert settings.off_policy_baseline == "stream"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {"off_policy_baselin": "stream"},
            r"unknown .*off_policy_baselin'.*the settings are .*off_policy_baseline'",
        ),
        ({1: 2}, "unknown"),
        (
            {"off_policy_baseline": "expert"},
            r"off_policy_baseline is 'expert'; use one of \['stream', 'on_policy'",
        ),
        ({"off_policy_baseline": None}, "off_policy_baseline is None"),
        ({"off_policy_shaping": "LUFFY"}, "off_policy_shaping is 'LUFFY'"),
        ({"off_policy_clip": "yes"}, "off_policy_clip is 'yes'"),
        ({"off_policy_clip": 1}, "off_policy_clip is 1"),
        ({"shaping_gamma": 0}, "shaping_gamma is 0"),
        ({"shaping_gamma": -0.1}, "shaping_gamma is -0.1"),
        ({"on_policy_weight": float("nan")}, "on_policy_weight is nan"),
        ({"off_policy_weight": float("inf")}, "off_policy_weight is inf"),
        ({"off_policy_weight": True}, "off_policy_weight is True"),
        ({"off_policy_weight": "1"}, "off_policy_weight is '1'"),
    ],
)
def test_impossible_settings_are_refused_by_name(mapping, message):
    with pytest.raises(ValueError, match=message):
        DualStreamSettings.from_mapping(mapping)
