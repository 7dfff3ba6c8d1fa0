"""`python -m medeyes_verl.cli`: the command line where no script is installed."""

from medeyes_verl.cli.app import app

app()
