"""All that a build of experts is told: the schema of `medeyes-verl experts build --config FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from medeyes_verl.expert.framing import PresetName
from medeyes_verl.expert.oracles.choice import OracleSettings
from medeyes_verl.expert.sampler import SamplerSettings, sampler_preset
from medeyes_verl.settings.reader import Between, SettingError, check, read, read_value

Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """A build of experts."""

    data: Path
    """A training parquet file."""
    store: Path
    """Folder of the trajectory store; a store that is there is added to."""
    preset: PresetName = "paper"
    """Where the defaults of `sampler` come from. `paper`: the paper's; `tiny`: for the quickstart's small policy."""
    seed: int = 0
    """The same seed, questions and oracle answers give the same trajectories."""
    engine: Engine = "local"
    """`ray`: on the cluster of RAY_ADDRESS, else on this machine."""
    workers: Annotated[int, Between(1)] | None = None
    """Ray actors; null: 2. Files and caches have to be on a file system that all machines share."""
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    oracle: OracleSettings = field(default_factory=OracleSettings)

    def __post_init__(self) -> None:
        check(self)
        if self.workers is not None and self.engine == "local":
            raise SettingError("workers", str(self.workers), "engine=local has one process; set engine=ray")

    @property
    def processes(self) -> int:
        """Processes that sample."""
        return 1 if self.engine == "local" else self.workers or 2


def read_build(given: Mapping[str, Any], origin: str = "") -> BuildSettings:
    """Read a build's settings; what `sampler` leaves out is the preset's. Raises SettingError."""
    try:
        preset = read_value(PresetName, given.get("preset", "paper"), "preset")
        sampler = read(SamplerSettings, given.get("sampler", {}), "sampler", base=sampler_preset(preset))
        return read(BuildSettings, {**given, "sampler": sampler})
    except SettingError as error:
        raise SettingError(error.key, error.value, error.reason, origin) from error
