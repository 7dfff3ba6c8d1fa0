"""An expert's stored trajectory as an episode, to stand beside the policy's on the same question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from medeyes_verl.evaluation.episode_log import LoggedEpisode, LoggedTurn
from medeyes_verl.expert.trajectory import Trajectory, turn_texts
from medeyes_verl.gaze.episode import Episode
from medeyes_verl.gaze.geometry import Box, Size
from medeyes_verl.gaze.settings import EpisodeSettings


def expert_episode(
    policy: LoggedEpisode, trajectory: Trajectory, originals: Sequence[Image.Image], settings: EpisodeSettings
) -> LoggedEpisode:
    """The trajectory played by the policy's rules on the policy's question; `originals` are the question's pictures.

    Raises ValueError for a trajectory that looks at a picture the question has not.
    """
    episode = Episode(originals, settings)
    texts = turn_texts(trajectory, settings, [Size(*picture.size) for picture in originals])
    observations = []
    for text in texts:
        observations.append(episode.reply(text))
        if episode.over:
            break
    if not episode.over:
        episode.truncate()
    boxes = iter(zip(episode.record.boxes, episode.record.images, strict=True))
    turns = []
    for text, seen in zip(texts, observations, strict=False):
        box: Box | None = None
        image = 1
        if seen is not None and seen.picture is not None:
            box, image = next(boxes)
        turns.append(LoggedTurn(text, None if seen is None else seen.text, box, image))
    return replace(
        policy,
        sample=0,
        record=episode.record,
        turns=tuple(turns),
        scores=replace(policy.scores, acc=float(trajectory.correct)),
        tokens=0,
        seconds=0.0,
        model=trajectory.source,
        stream="expert",
        error=None,
    )
