"""veRL's dataset for our tables and for tables made for stock veRL.

Named by ``data.custom_cls``. It adds three things to veRL's own class: image paths may be relative to a folder that is
mounted anywhere; what a row lacks is completed (`medeyes_verl.data.completion`); and a table with rows that cannot be
completed is refused when the dataset is made, which is before the first rollout.
"""

from os import fspath
from pathlib import Path
from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset

from medeyes_verl.config.settings import data_settings
from medeyes_verl.data.completion import UNKNOWN_SOURCE, complete, names_are_unique, own_name, table_problems

REFUSED = "{problems}\nCorrect or remove these rows; docs/own_runs.md says what a table needs."


class TableRefusedError(ValueError):
    """A table has rows that cannot be used."""


class MedEyesDataset(RLHFDataset):
    """RLHFDataset that joins ``data.medeyes.image_root`` to image paths, completes rows, and refuses a faulty table."""

    def _read_files_and_tokenize(self) -> None:
        files = [Path(file) for file in self.data_files]
        problems = [line for file in files for line in table_problems(file, self.prompt_key, self.image_key)]
        if problems:
            raise TableRefusedError(REFUSED.format(problems="\n".join(problems)))
        # of several tables one may repeat another's numbers; a row's place in the whole is then its name
        self._named = len(files) == 1 and names_are_unique(files[0])
        super()._read_files_and_tokenize()

    def __getitem__(self, item: int) -> dict[str, Any]:
        row: dict[str, Any] = super().__getitem__(item)
        extra = row["extra_info"]
        name = own_name(extra) if self._named or extra.get("id") is not None else f"row-{item}"
        row["extra_info"] = complete(row, name).extra_info
        row.setdefault("data_source", UNKNOWN_SOURCE)
        return row

    def _build_messages(self, example: dict[str, Any], key: str) -> list[dict[str, Any]]:
        images = example.get(self.image_key)
        if images is not None:
            each = images if isinstance(images, list | tuple) else [images]
            example[self.image_key] = [self._located(image) for image in each]
        return super()._build_messages(example, key)

    def _located(self, image: Any) -> Any:
        """An image as veRL takes it: a struct without bytes is its path, and a path is joined to the root."""
        if isinstance(image, dict) and image.get("bytes") is None and image.get("path") is not None:
            image = image["path"]
        root = data_settings(self.config).image_root
        if root is None or not isinstance(image, str | Path):
            return image
        return fspath(Path(root) / image)
