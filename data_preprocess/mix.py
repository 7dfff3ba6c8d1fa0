"""Run `medeyes-verl prepare mix` from a checkout."""

from medeyes_verl.data.readers.mix import app

if __name__ == "__main__":
    app()
