"""The mixing command on prepared benchmarks."""

from collections import Counter

from typer.testing import CliRunner

from medeyes_verl.data.readers.mix import app
from medeyes_verl.data.readers.path_vqa import app as path_vqa


def test_prepared_files_are_mixed(tmp_path, run, rows, snapshot, encode) -> None:
    for name, count in (("a", 4), ("b", 2)):
        cells = [{"image": encode(number), "question": f"{name} {number}?", "answer": "yes"} for number in range(count)]
        source = snapshot(tmp_path / name, {"train": cells})
        assert run(path_vqa, source, tmp_path / "out" / name, "--relative").exit_code == 0
    inputs = [f"--input={tmp_path / 'out' / name / 'train.parquet'}" for name in ("a", "b")]
    output = tmp_path / "mixed.parquet"
    result = CliRunner().invoke(app, [*inputs, "--weights", "balanced", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert Counter(row["extra_info"]["question"][0] for row in rows(output)) == {"a": 2, "b": 2}
    result = CliRunner().invoke(app, [*inputs, "--weights", "1,2,3", "--output", str(output)])
    assert result.exit_code == 1
    assert "one positive number for each of the 2 files" in result.output
