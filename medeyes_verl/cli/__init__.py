"""`medeyes-verl`: one Typer app, one file a command."""
