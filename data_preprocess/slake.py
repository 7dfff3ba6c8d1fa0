"""Run `medeyes-verl prepare slake` from a checkout."""

from medeyes_verl.data.readers.slake import app

if __name__ == "__main__":
    app()
