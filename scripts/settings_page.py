"""Write docs/settings.md, the reference of all settings, from their schema: `python scripts/settings_page.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from medeyes_verl.config.settings import ALGORITHM, DATA, OF_THE_MODEL, REWARD, ROLLOUT, SECTIONS
from medeyes_verl.expert.build_settings import BuildSettings
from medeyes_verl.expert.sampler import sampler_preset
from medeyes_verl.settings.reader import joined
from medeyes_verl.settings.reference import as_yaml, markdown, rows

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
BASE = ROOT / "medeyes_verl" / "config" / "medeyes" / "base.yaml"
HEAD = """# Settings

Every key of this project, with what is allowed, its default and its meaning. This page is made from the dataclasses
that read the keys (`python scripts/settings_page.py`); a test compares the two.

An unknown key, a value of another type and a combination that cannot be honoured are refused at start, with key, value
and what is allowed. Types are strict: `"3"` is no number and `1` is no `true`.

## A training run: `main_ppo +medeyes=RECIPE`

All keys are declared in [base.yaml](../medeyes_verl/config/medeyes/base.yaml), so each is set without Hydra's `+`:
`reward.medeyes.custom_weight=0.5`. Below `medeyes` itself are `data` (folder with train.parquet, val.parquet and
experts), `model` (Hugging Face folder or name) and `output` (output directory). Recipes change some of these defaults.
"""
INTRODUCTIONS = {
    ROLLOUT: "The episode and its off-policy stream.",
    ALGORITHM: "The objective of the dual stream; [method.md](method.md) explains it. The defaults are the paper's.",
    REWARD: "The parts of the reward and their weights; the defaults are the paper's.",
    DATA: "Where a table's images are.",
}
BUILD = """## A build of experts: `medeyes-verl experts build --config FILE.yaml`

The same keys are set one by one behind the options, as `KEY=VALUE`; values given so go over the file's. `oracle` has at
most one section, whose name is the oracle's. Examples are in [experts.md](experts.md).
"""


def page() -> str:
    """Return the page's text."""
    parts = [HEAD]
    for where, schema in SECTIONS.items():
        described = [row for row in rows(schema) if f"{where}.{row.key}" not in OF_THE_MODEL]
        parts.append(f"### `{where}`\n\n{INTRODUCTIONS[where]}\n\n{markdown(described, 'recipes', _declared(where))}\n")
    tiny = sampler_preset("tiny")
    preset = {f"sampler.{row.key}": row.default for row in rows(type(tiny), defaults=tiny)}
    parts.append(f"{BUILD}\n{markdown(list(rows(BuildSettings)), 'tiny', preset)}\n")
    return "\n".join(parts)


def _declared(where: str) -> dict[str, str]:
    """The values that base.yaml gives the keys of a section, as it says them."""
    section = OmegaConf.to_container(OmegaConf.select(OmegaConf.load(BASE), where))
    return dict(_leaves("", section))


def _leaves(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(joined(where, key), below)
    else:
        yield where, as_yaml(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} written")
