"""Watch a policy look: `python scripts/demo.py RUN`, the same as `medeyes-verl demo RUN`."""

import typer

from medeyes_verl.cli.report import demo

if __name__ == "__main__":
    typer.run(demo)
