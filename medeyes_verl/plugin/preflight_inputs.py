"""Problems with the files a configuration names: tables, experts, the user's reward function."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from omegaconf import DictConfig

from medeyes_verl.config.settings import ROLLOUT, RolloutSettings
from medeyes_verl.data.completion import table_problems
from medeyes_verl.expert.store import StoreError, TrajectoryStore
from medeyes_verl.plugin.problem import Problem, local_files, value_of

OUR_DATASET = "MedEyesDataset"
PREPARE = "prepare the table (docs/data.md), or name the one you have"
EXPERTS = "build them: medeyes-verl experts --help; or set n_expert=0"


def input_problems(config: DictConfig, settings: RolloutSettings, tables: bool) -> Iterator[Problem]:
    """Yield what is wrong with tables and experts. Files on remote storage are veRL's to fetch and are passed over."""
    ours = value_of(config, "data.custom_cls.name") == OUR_DATASET
    for key in ("data.train_files", "data.val_files"):
        for file in local_files(value_of(config, key)):
            if not file.exists():
                yield Problem(key, file, "there is no such file", PREPARE)
            elif tables and ours:
                yield from _rows_that_cannot_be_used(config, key, file)
    stored = settings.demonstrations.column is None and settings.live.oracle is None
    if settings.n_expert and settings.off_policy_source != "replay" and stored:
        yield from _experts(config, settings)


def reward_function_problems(config: DictConfig) -> Iterator[Problem]:
    """Yield what is wrong with ``reward.custom_reward_function``; its code is read, not run."""
    key = "reward.custom_reward_function"
    path, name = value_of(config, f"{key}.path"), value_of(config, f"{key}.name")
    if not path:
        return
    source = _source_of(str(path))
    if source is None:
        yield Problem(f"{key}.path", path, "there is no such file or module", "name a Python file, or pkg://MODULE")
        return
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        yield Problem(f"{key}.path", path, f"it is no Python file: {error}", "correct the file")
        return
    names = _top_level_names(tree)
    if names is not None and name not in names:
        yield Problem(f"{key}.name", name, f"{path} defines no such function", "name one that it defines")


def _rows_that_cannot_be_used(config: DictConfig, key: str, file: Path) -> Iterator[Problem]:
    names = {name: value_of(config, f"data.{name}") for name in ("prompt_key", "image_key")}
    try:
        found = table_problems(file, **{name: value for name, value in names.items() if value})
    except ValueError as error:
        found = [str(error)]
    for line in found:
        yield Problem(key, None, line, "correct or remove these rows; docs/own_runs.md says what a table needs")


def _experts(config: DictConfig, settings: RolloutSettings) -> Iterator[Problem]:
    if settings.experts is not None:
        try:
            TrajectoryStore(settings.experts)
        except StoreError as error:
            yield Problem(f"{ROLLOUT}.experts", settings.experts, str(error), EXPERTS)
            return
    files = [
        file
        for file in local_files(value_of(config, "data.train_files"))
        if file.suffix == ".parquet" and file.exists()
    ]
    if files and not any(_may_have_experts(file) for file in files):
        yield Problem(
            f"{ROLLOUT}.n_expert",
            settings.n_expert,
            "no row of data.train_files carries extra_info.expert_id, so no expert would ever be replayed",
            "prepare the table with --expert-ids, or set n_expert=0 (and rollout.n to the rollouts you want)",
        )


def _may_have_experts(file: Path) -> bool:
    """Whether a table names an expert anywhere, or chooses another agent loop by the row."""
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            if "agent_name" in schema.names:
                return True
            extra = schema.field("extra_info").type if "extra_info" in schema.names else None
            if extra is None or not pa.types.is_struct(extra) or extra.get_field_index("expert_id") < 0:
                return False
            column = table.read(columns=["extra_info.expert_id"]).column("extra_info")
            return any(pc.any(pc.is_valid(pc.struct_field(chunk, "expert_id"))).as_py() for chunk in column.chunks)
    except (OSError, pa.ArrowException):
        return True  # said elsewhere: a table that cannot be read


def _source_of(path: str) -> Path | None:
    if path.startswith("pkg://"):
        try:
            spec = importlib.util.find_spec(path.removeprefix("pkg://").replace("/", "."))
        except (ImportError, ValueError):
            return None
        return Path(spec.origin) if spec and spec.origin else None
    file = Path(path.removeprefix("file://")).expanduser()
    return file if file.is_file() else None


def _top_level_names(tree: ast.Module) -> set[str] | None:
    """What a module defines by name; None where a star import may define anything."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif not isinstance(node, ast.Expr):
            return None  # definitions inside if or try: the module must be run to know
    return names
