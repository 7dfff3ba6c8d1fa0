"""veRL's dataset for tables whose picture paths are relative to a folder that may be mounted anywhere.

Named by ``data.custom_cls``; a table with absolute paths needs veRL's own class and nothing of this.
"""

from pathlib import Path
from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset

from medeyes_verl.plugin.settings import data_settings


class MedEyesDataset(RLHFDataset):
    """RLHFDataset that joins ``data.medeyes.image_root`` to each row's picture paths."""

    def _build_messages(self, example: dict[str, Any], key: str) -> list[dict[str, Any]]:
        root = data_settings(self.config).image_root
        if root is not None:
            example[self.image_key] = [str(Path(root) / path) for path in example[self.image_key]]
        return super()._build_messages(example, key)
