"""The gallery: a card a question, on it every play of that question side by side (runs, steps, the expert).

A page must stay small enough to open and to send, so the number of cards, the plays on each and the size of every
picture are bounded; which questions are left out is decided so that each kind (wrong, no gaze, format fault) and
each source stays represented, and the page says how many there were.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from medeyes_verl.evaluation.episode_log import LoggedEpisode
from medeyes_verl.evaluation.run_logs import Run
from medeyes_verl.expert.store import TrajectoryStore
from medeyes_verl.gaze.crop import crop_of, open_picture
from medeyes_verl.gaze.geometry import Box
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.gaze.trace import TraceTurn
from medeyes_verl.report.episode_image import box_words, call_words, observed, truth_in_words
from medeyes_verl.report.expert_play import ExpertReplay

MOST_CARDS = 60
MOST_PLAYS = 5
MOST_PICTURES = 4
"""Pictures of one question that are shown."""
MOST_TEXT = 2_000
"""Characters of one turn that are shown."""
VIEW_SIDE = 384
CROP_SIDE = 160
JPEG_QUALITY = 72


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page."""

    url: str | None
    """data:image/jpeg;…; None where the file could not be read."""
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Step:
    """One turn as the page shows it."""

    number: int | None
    """Of the gaze, from 1; None for a turn without a valid gaze."""
    image: int
    box: Box | None
    crop: Shown | None
    reasoning: str
    raw: str
    """The model's whole turn, untouched."""
    note: str
    """What the environment answered in words."""


@dataclass(frozen=True, slots=True)
class Play:
    """One episode of the card's question."""

    label: str
    expert: bool
    right: bool
    answer: str | None
    finish: str
    faults: tuple[str, ...]
    steps: tuple[Step, ...]
    facts: str
    """Figures in a line."""

    @property
    def gazes(self) -> int:
        return sum(step.number is not None for step in self.steps)


@dataclass(frozen=True, slots=True)
class Card:
    """One question with its plays."""

    id: str
    source: str
    kind: str
    question: str
    truth: str
    options: tuple[str, ...]
    pictures: tuple[Shown, ...]
    more_pictures: int
    regions: tuple[tuple[str, Box], ...]
    """What the benchmark marks as the target, on the first picture."""
    plays: tuple[Play, ...]
    more_plays: int
    tags: tuple[str, ...]
    """What the filters ask for: wrong, right, no-gaze, fault, differ."""


@dataclass(frozen=True, slots=True)
class Gallery:
    cards: tuple[Card, ...]
    questions: int
    """How many questions the logs hold; the cards are some of them."""
    unreadable: int
    """Images that could not be read."""
    replayed: int
    """Stored experts that were replayed for the page."""
    note: str
    """How they were replayed, where that differs from training."""

    @property
    def sources(self) -> list[str]:
        return sorted({card.source for card in self.cards})


def gallery(
    runs: Sequence[Run], settings: EpisodeSettings, most_cards: int = MOST_CARDS, replay: ExpertReplay | None = None
) -> Gallery:
    """Make cards for the questions of all runs' episodes.

    `settings` are those the episodes were played with. `replay` says how stored experts are replayed: by default
    with these settings and without a token budget.
    """
    replay = replay or ExpertReplay(settings)
    plays: dict[tuple[str, str], list[tuple[str, LoggedEpisode]]] = {}
    for run in runs:
        for episode_set in run.episode_sets:
            for episode in episode_set.episodes:
                plays.setdefault((episode.data_source, episode.id), []).append((episode_set.label, episode))
    chosen = _balanced(list(plays.values()), most_cards)
    stores = [run.experts for run in runs if run.experts is not None]
    experts = [_expert_plays(each, stores, replay) for each in chosen]
    cards = tuple(_card([*each, *beside], settings) for each, beside in zip(chosen, experts, strict=True))
    replayed = sum(map(len, experts))
    shown = [picture for card in cards for picture in card.pictures]
    unreadable = sum(picture.url is None for picture in shown)
    return Gallery(cards, len(plays), unreadable, replayed, replay.note if replayed else "")


def _balanced(questions: list[list[tuple[str, LoggedEpisode]]], most: int) -> list[list[tuple[str, LoggedEpisode]]]:
    """At most `most` questions, in their order, taken in turn from each (source, tags) so that all are represented."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for place, plays in enumerate(questions):
        groups.setdefault((plays[0][1].data_source, _tags([episode for _, episode in plays])), []).append(place)
    chosen: list[int] = []
    waiting = list(groups.values())
    while waiting and len(chosen) < most:
        for group in waiting:
            chosen.append(group.pop(0))
        waiting = [group for group in waiting if group]
    return [questions[place] for place in sorted(chosen[:most])]


def _expert_plays(
    plays: Sequence[tuple[str, LoggedEpisode]], stores: Sequence[TrajectoryStore], replay: ExpertReplay
) -> list[tuple[str, LoggedEpisode]]:
    """The first stored trajectory of the question, where no log holds an expert's play of it."""
    policy = plays[0][1]
    if any(episode.stream == "expert" for _, episode in plays):
        return []
    for trajectory in (found for store in stores for found in store.get(policy.id)):
        try:
            originals = [_original(path) for path in policy.images]
        except ValueError:
            return []  # the card says already that its pictures cannot be read
        return [(f"expert ({trajectory.source})", replay.episode(policy, trajectory, originals))]
    return []


def _tags(episodes: Sequence[LoggedEpisode]) -> tuple[str, ...]:
    own = [episode for episode in episodes if episode.stream != "expert"] or list(episodes)
    facts = {
        "wrong": any(episode.scores.acc < 1 for episode in own),
        "right": any(episode.scores.acc == 1 for episode in own),
        "no-gaze": any(not episode.trace.boxes for episode in own),
        "fault": any(episode.trace.faults for episode in own),
    }
    facts["differ"] = facts["wrong"] and facts["right"]
    return tuple(name for name, holds in facts.items() if holds)


def _card(plays: Sequence[tuple[str, LoggedEpisode]], settings: EpisodeSettings) -> Card:
    first = plays[0][1]
    own = [play for play in plays if play[1].stream != "expert"]
    experts = [play for play in plays if play[1].stream == "expert"]
    kept = [*own[: MOST_PLAYS - bool(experts)], *experts[:1]] if own else experts[:MOST_PLAYS]
    pictures = tuple(
        _shown(path, None, number, settings) for number, path in enumerate(first.images[:MOST_PICTURES], 1)
    )
    kind = first.question_type.replace("_", " ")
    return Card(
        id=first.id,
        source=first.data_source,
        kind=kind,
        question=first.question,
        truth=truth_in_words(first.ground_truth, first.question_type, first.options),
        options=first.options,
        pictures=pictures,
        more_pictures=len(first.images) - len(pictures),
        regions=tuple((region.label, region.box) for region in first.regions if region.target),
        plays=tuple(_play(label, episode, settings) for label, episode in kept),
        more_plays=len(plays) - len(kept),
        tags=_tags([episode for _, episode in plays]),
    )


def _play(label: str, episode: LoggedEpisode, settings: EpisodeSettings) -> Play:
    steps: list[Step] = []
    gazes = 0
    for turn in episode.trace.turns:
        gazes += turn.box is not None
        in_reach = 1 <= turn.image <= len(episode.images)
        crop = None
        if turn.box is not None and in_reach:
            crop = _shown(episode.images[turn.image - 1], turn.box, gazes, settings)
        elif turn.call is not None and in_reach:
            crop = _shown_call(episode.images[turn.image - 1], turn, settings)
        raw = turn.text if len(turn.text) <= MOST_TEXT else turn.text[:MOST_TEXT] + " …"
        steps.append(
            Step(
                number=gazes if turn.box is not None else None,
                image=turn.image,
                box=turn.box,
                crop=crop,
                reasoning=turn.reasoning[:MOST_TEXT],
                raw=raw,
                note=_note(turn),
            )
        )
    facts = f"{episode.trace.num_tokens} tokens, {episode.seconds:.1f} s"
    return Play(
        label=label if episode.sample == 0 else f"{label} (sample {episode.sample + 1})",
        expert=episode.stream == "expert",
        right=episode.scores.acc == 1,
        answer=episode.trace.answer,
        finish=episode.trace.finish.replace("_", " "),
        faults=tuple(fault.value.replace("_", " ") for fault in episode.trace.faults),
        steps=tuple(steps),
        facts="" if episode.stream == "expert" else facts,
    )


def _note(turn: TraceTurn) -> str:
    """The words of the observation, after the call of a tool where there was one."""
    call = [] if turn.call is None else [call_words(turn)]
    return ": ".join([*call, *([turn.feedback] if turn.feedback else [])])


def _shown_call(path: str, turn: TraceTurn, settings: EpisodeSettings) -> Shown | None:
    """The image that the call of a tool gave; None where it gave words alone."""
    try:
        picture = observed(_original(path), turn, settings)
    except ValueError as error:
        return Shown(None, f"the image of {call_words(turn)} cannot be made: {error}", 1, 1)
    if picture is None:
        return None
    return Shown(_data_url(picture, CROP_SIDE), f"image after {call_words(turn)}", *picture.size)


def _shown(path: str, box: Box | None, number: int, settings: EpisodeSettings) -> Shown:
    """Picture `number`, or the crop of gaze `number`, as the page shows it; without url where it cannot be read."""
    what = f"image {number}" if box is None else f"crop of gaze {number}"
    try:
        original = _original(path)
        if box is None:
            picture, alt = original, f"{what}, {original.width} by {original.height} pixels"
        else:
            picture = crop_of(original, box, settings.crop)
            alt = f"{what}: {box_words(box)} of the original"
    except ValueError:
        return Shown(None, f"{what} could not be read", 1, 1)
    return Shown(_data_url(picture, VIEW_SIDE if box is None else CROP_SIDE), alt, *picture.size)


@lru_cache(maxsize=4)
def _original(path: str) -> Image.Image:
    return open_picture(path)


def _data_url(picture: Image.Image, side: int) -> str:
    small = picture.copy()
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
