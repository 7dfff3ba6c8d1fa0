"""Run `medeyes-verl prepare path-vqa` from a checkout."""

from medeyes_verl.data.readers.path_vqa import app

if __name__ == "__main__":
    app()
