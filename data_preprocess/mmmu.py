"""Run `medeyes-verl prepare mmmu` from a checkout."""

from medeyes_verl.data.readers.mmmu import app

if __name__ == "__main__":
    app()
