"""Which oracle is asked, and how: one typed section for each, of which a build has at most one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from medeyes_verl.expert.oracles.annotations import AnnotationOracle
from medeyes_verl.expert.oracles.client import HttpSettings
from medeyes_verl.expert.oracles.endpoint import EndpointOracle, EndpointSettings
from medeyes_verl.expert.oracles.medplib import MedplibOracle, MedplibSettings
from medeyes_verl.expert.oracles.own import oracle_maker
from medeyes_verl.expert.oracles.protocol import Oracle
from medeyes_verl.expert.oracles.region_book import RegionBook
from medeyes_verl.expert.oracles.slake import read_slake
from medeyes_verl.expert.oracles.user_boxes import read_coco, read_csv
from medeyes_verl.gaze.settings import EpisodeSettings
from medeyes_verl.settings.reader import SettingError, allowed, check, section_of, types_of

OracleName = Literal["annotations", "slake", "coco", "csv", "endpoint", "medplib", "own"]
Make = Callable[[], Oracle]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlakeSettings:
    """SLAKE's own boxes and masks."""

    annotations: Path
    """The folder with `imgs/xmlab*/detection.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoSettings:
    """Boxes of your own, in a COCO-style file."""

    annotations: Path
    """A JSON file; its annotations may carry `"target": true`."""
    images: Path
    """Folder that its `file_name`s start from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSettings:
    """Boxes of your own, in a CSV file."""

    annotations: Path
    """A file with a header `image` (or `expert_id`), `x1`, `y1`, `x2`, `y2`, `label` and optionally `target`."""
    images: Path
    """Folder that its `image`s start from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSettings:
    """A class of your own, by import path (docs/extend.md)."""

    path: str
    """`package.module:NAME` or `path/to/file.py:NAME`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Its keyword arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleSettings:
    """Who is asked: `annotations` (the regions in the table) needs no section, any other has the one of its name."""

    name: OracleName | None = None
    """null: the one whose section is there, else `annotations`."""
    slake: SlakeSettings | None = None
    coco: CocoSettings | None = None
    csv: CsvSettings | None = None
    endpoint: EndpointSettings | None = None
    medplib: MedplibSettings | None = None
    own: OwnSettings | None = None

    def __post_init__(self) -> None:
        check(self)
        given = self._sections()
        if self.name is None and len(given) > 1:
            raise SettingError("name", "null", f"there are sections for {' and '.join(given)}: keep one")
        for section in given:
            if section != self.chosen:
                reason = f"name={self.chosen} does not read it; remove the section, or set name={section}"
                raise SettingError(section, None, reason)
        if self.chosen != "annotations" and not given:
            needed = section_of(types_of(OracleSettings)[self.chosen])
            raise SettingError(self.chosen, None, f"is required by name={self.chosen}: {allowed(needed)}")

    @property
    def chosen(self) -> OracleName:
        """The oracle that is asked."""
        if self.name is not None:
            return self.name
        given = self._sections()
        return given[0] if given else "annotations"

    def factory(self, episode: EpisodeSettings, replies: Path, workers: int) -> tuple[Make, list[str]]:
        """What makes the oracle in each process, and the lines about annotations that could not be used.

        Args:
            episode: of the policy: its view and crops decide what an annotation oracle sees, its prompts what an
                endpoint is asked.
            replies: where replies are kept, unless the section says otherwise.
            workers: processes that share the budget and the concurrency.

        Raises:
            ValueError: a file of annotations is not what it should be, or an import path names no oracle.
        """
        if self.own is not None:
            return oracle_maker(self.own.path, "oracle.own.path", self.own.settings), []
        if self.endpoint is not None:
            http = share_of_budget(self.endpoint.http, workers)
            endpoint = replace(self.endpoint, http=http, cache=self.endpoint.cache or replies)
            return partial(EndpointOracle, endpoint, episode.prompts), []
        if self.medplib is not None:
            http = share_of_budget(self.medplib.http, workers)
            return partial(MedplibOracle, replace(self.medplib, http=http, cache=self.medplib.cache or replies)), []
        book = self._book()
        if book is None:
            return partial(AnnotationOracle, episode.view, episode.crop), []
        return partial(AnnotationOracle, episode.view, episode.crop, book), book.rejected

    def concurrency(self, workers: int) -> int:
        """Requests that one of `workers` processes has under way at once."""
        section = self.endpoint or self.medplib
        at_once = DEFAULT_CONCURRENCY if section is None else section.http.concurrency
        return max(1, at_once // workers)

    def _sections(self) -> list[OracleName]:
        return [name for name in get_args(OracleName) if getattr(self, name, None) is not None]

    def _book(self) -> RegionBook | None:
        if self.slake is not None:
            return read_slake(self.slake.annotations)
        if self.coco is not None:
            return read_coco(self.coco.annotations, self.coco.images)
        return None if self.csv is None else read_csv(self.csv.annotations, self.csv.images)


def share_of_budget(http: HttpSettings, workers: int) -> HttpSettings:
    """The budget and the concurrency of one of `workers` processes."""
    return replace(
        http,
        concurrency=max(1, http.concurrency // workers),
        max_requests=None if http.max_requests is None else http.max_requests // workers,
        max_tokens=None if http.max_tokens is None else http.max_tokens // workers,
    )


DEFAULT_CONCURRENCY = 32
"""Questions under way at once with an oracle that sends no requests."""
