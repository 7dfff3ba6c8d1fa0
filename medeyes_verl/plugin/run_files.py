"""What a run leaves in its folder beside its checkpoints: its metrics and its configuration.

veRL's file logger writes below the directory that main_ppo was started from, and Hydra beside it. With both in
`medeyes.output`, a command such as `medeyes-verl watch OUT` needs nothing but that folder.
"""

import os
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from medeyes_verl.data.atomic import write_bytes

LOG_VARIABLES = ("VERL_FILE_LOGGER_PATH", "VERL_FILE_LOGGER_ROOT")
"""How a user tells veRL's file logger where to write; ours then stays away."""


def keep_run_files(config: DictConfig) -> Path | None:
    """Keep this start's configuration in OUT/logs/TIME, and have veRL's file logger write there.

    To be called before veRL makes its loggers, in their process. A resumed run begins another folder: the logger
    would empty a file that is there.

    Returns:
        The folder; None where the run has no `medeyes.output` (it uses none of our recipes).
    """
    output = OmegaConf.select(config, "medeyes.output")
    if output is None:
        return None
    folder = Path(output).absolute() / "logs" / datetime.now().strftime("%Y%m%dT%H%M%S")
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    write_bytes(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config).encode())
    if not any(variable in os.environ for variable in LOG_VARIABLES):
        os.environ["VERL_FILE_LOGGER_PATH"] = str(folder / "metrics.jsonl")
    return folder
