"""Run `medeyes-verl prepare phantom` from a checkout."""

from medeyes_verl.data.readers.phantom import app

if __name__ == "__main__":
    app()
