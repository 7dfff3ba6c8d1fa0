"""A few rows that cannot be scored are counted and named once; more of them end the run with the first one's text."""

import logging
from typing import Any

import pytest

from medeyes_verl.plugin.reward_errors import RewardErrors, RewardErrorsError


def rows(failed: int, of: int) -> list[dict[str, Any]]:
    bad = {"reward_extra_info": {"id": "q7", "reward_error": 1.0, "reward_error_text": "KeyError: 'answer'"}}
    good = {"reward_extra_info": {"id": "q1", "reward_error": 0.0, "reward_error_text": ""}}
    return [good] * (of - failed) + [bad] * failed


def test_more_than_a_hundredth_ends_the_run() -> None:
    with pytest.raises(RewardErrorsError, match=r"training step 3: 3 of 200 rows .* row q7: KeyError: 'answer'"):
        RewardErrors().check(rows(3, 200), "training step 3")


def test_up_to_a_hundredth_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    errors = RewardErrors()
    with caplog.at_level(logging.WARNING):
        errors.check(rows(2, 200), "training step 3")
        errors.check(rows(1, 200), "training step 4")
    assert len(caplog.records) == 1
    assert "2 of 200 rows could not be scored" in caplog.text
    assert "KeyError: 'answer'" in caplog.text


def test_rows_of_another_reward_manager_have_no_errors_of_ours() -> None:
    RewardErrors().check([{}, {"reward_extra_info": {"acc": 0.0}}, {"reward_extra_info": None}], "training step 1")
    RewardErrors().check([], "training step 1")
