"""An expert's stored trajectory as an episode, to stand beside the policy's on the same question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.gaze.conversation import Conversation
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Size
from medeyes_verl.gaze.policy_tokens import PolicyTokens
from medeyes_verl.gaze.rollout import rollout
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.policies.stored import StoredPolicy, Unbudgeted
from medeyes_verl.reward.answer import is_correct


@dataclass(frozen=True, slots=True)
class ExpertReplay:
    """How stored trajectories are replayed: as training replays them, where the policy's processor is at hand."""

    settings: EpisodeSettings
    tokens: PolicyTokens | None = None
    """Counts the response's tokens; None: a trajectory is shown whole, also where training cut it."""
    response_length: int = 0
    """Token budget of a response; read where `tokens` is given."""
    why_whole: str = "no policy was named"
    """Why there are no tokens; read where `tokens` is None."""

    @property
    def note(self) -> str:
        """What a reader of the replayed trajectories has to know; empty where they are as training had them."""
        if self.tokens is not None:
            return ""
        return (
            f"Stored experts are shown without the token budget of training, which may have cut them: {self.why_whole}"
        )

    def episode(self, policy: LoggedEpisode, trajectory: Trajectory, originals: Sequence[Image.Image]) -> LoggedEpisode:
        """Run the trajectory on the policy's question; `originals` are the question's images.

        Raises ValueError for a trajectory that looks at an image the question does not have.
        """
        settings = self.settings if self.tokens is None else self.tokens.rules(self.settings)
        texts = turn_texts(trajectory, settings, [Size(*image.size) for image in originals])
        episode = Episode(originals, settings)
        budget: Conversation | Unbudgeted = Unbudgeted()
        if self.tokens is not None:
            # only the response is budgeted, so the prompt's own words do not matter here
            prompt = [{"role": "user", "content": [{"type": "image"} for _ in originals]}]
            budget = Conversation(self.tokens, prompt, episode.views, self.response_length)
        trace = asyncio.run(rollout(episode, budget, StoredPolicy(texts)))
        correct = is_correct(trace.answer, policy.ground_truth, policy.question_type, policy.options)
        return replace(
            policy,
            sample=0,
            trace=trace,
            scores=replace(policy.scores, acc=float(correct)),
            seconds=0.0,
            model=trajectory.source,
            stream="expert",
            error=None,
        )
