"""Evaluate a policy: ``python scripts/evaluate.py SOURCE --data TABLE.parquet``, as ``medeyes-verl evaluate`` does."""

import typer

from medeyes_verl.cli.evaluate import evaluate

if __name__ == "__main__":
    typer.run(evaluate)
