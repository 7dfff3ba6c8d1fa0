"""PathVQA: pathology questions, from the authors' archive or from a Hugging Face snapshot.

The archive is `qas/<split>/<split>_qa.pkl` and `images/<split>/*.jpg`, in the folder itself or in `pvqa/`.
The question files are pickles, which can run any code when they are loaded; here they are read by an
unpickler that knows plain containers, strings and numbers and refuses the rest. Closed questions are those
answered by yes or no.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from medeyes_verl.data.cells import tidy
from medeyes_verl.data.command import Benchmark, make_app
from medeyes_verl.data.image_source import SourceError, check_file
from medeyes_verl.data.places import checked_list, in_folder, only_place, refuse_second_form
from medeyes_verl.data.record import Record, make_record
from medeyes_verl.data.shards import SPLIT_NAMES, tables_in
from medeyes_verl.data.tables import simple_records

MAX_PICKLE_BYTES = 128 * 2**20
"""The published files have under 3 MB."""
_KEYS = ("image", "question", "answer")


def read(folder: Path) -> Iterator[Record]:
    """The questions of a folder in either form."""
    questions = only_place((folder / "qas", folder / "pvqa" / "qas"), "the source holds the questions")
    if questions is None:
        yield from simple_records(folder)
        return
    root = questions.parent
    refuse_second_form(questions, tables_in(folder))
    for name in ("train", "val", "test"):
        path, picture = root / "qas" / name / f"{name}_qa.pkl", in_folder(root / "images" / name)
        if path.is_file():
            for number, entry in enumerate(read_plain_pickle(path)):
                image = tidy(entry["image"])[0]
                yield make_record(
                    SPLIT_NAMES[name],
                    entry["question"],
                    entry["answer"],
                    (picture(f"{image}.jpg"),) if image else (),
                    left_out="" if image else "no image",
                    place=f"{path.name}: entry {number}",
                )


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dicts, strings and numbers need no class; whatever asks for one is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and could run anything")


def read_plain_pickle(path: Path) -> list[dict[str, Any]]:
    """A pickled list of questions. Raises SourceError when it is anything else, without running what it holds."""
    check_file(path)
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise SourceError(f"{path} is larger than {MAX_PICKLE_BYTES} bytes; it is not to be trusted")
    data = path.read_bytes()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
                raise pickle.UnpicklingError("it asks for memory beyond its own size")
        found = _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise SourceError(f"{path} is no plain pickle of questions: {error}") from error
    return checked_list(found, path, _KEYS)


app = make_app(Benchmark("path_vqa", read, "flaviagiammarino/path-vqa"))
