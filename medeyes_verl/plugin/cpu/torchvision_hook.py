"""Lets a CUDA build of torchvision be imported beside a CPU build of torch.

Where only one package index is at hand, torchvision comes as its CUDA build; its compiled part does not load
beside a CPU torch, and its Python part then stops at ``operator torchvision::nms does not exist``. veRL
needs torchvision's Python part alone (without it the image processor is silently None). So the two missing
operators are declared, without an implementation, just before torchvision is first imported.

``medeyes-verl doctor --fix`` adds a start-up line to the environment that imports this module, since it must
run in every process, vLLM's included. It imports nothing heavy, and does nothing where the builds agree.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[object] = []  # a torch.library.Library undoes its definitions when it is collected


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Declares the operators when torchvision is looked for, then steps aside."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            if _builds_disagree():
                _declare_operators()
        return None


def _builds_disagree() -> bool:
    """Whether torchvision was built for CUDA and torch was not."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or torch.version.cuda is not None:
        return False
    version_file = Path(spec.origin).with_name("version.py")
    return bool(re.search(r"__version__ = '[^']*\+cu\d+'", version_file.read_text(encoding="utf-8")))


def _declare_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in OPERATORS:
        library.define(schema)
    _declared.append(library)


if not any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
    sys.meta_path.insert(0, _BeforeTorchvision())
