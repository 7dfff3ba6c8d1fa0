"""docs/settings.md says what the schema says, and says something about every key."""

import pytest
from settings_page import PAGE, ROOT, page

from medeyes_verl.config.settings import SECTIONS
from medeyes_verl.expert.build_settings import BuildSettings, read_build
from medeyes_verl.expert.navigator import NavigatorSettings
from medeyes_verl.expert.sampler import SamplerSettings
from medeyes_verl.settings.reference import rows
from medeyes_verl.settings.sources import load_yaml, overlaid


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python scripts/settings_page.py"


@pytest.mark.parametrize("schema", [*SECTIONS.values(), BuildSettings])
def test_every_key_has_a_meaning(schema: type) -> None:
    assert [row.key for row in rows(schema) if not row.meaning] == []


def test_the_example_of_a_build_is_read() -> None:
    file = ROOT / "examples" / "experts.yaml"
    settings = read_build(overlaid(load_yaml(file), [], {}, str(file)))
    assert settings.oracle.chosen == "endpoint"
    assert settings.sampler == SamplerSettings(navigator=NavigatorSettings(style="oracle"))
