"""Run `medeyes-verl prepare vqa-rad` from a checkout."""

from medeyes_verl.data.readers.vqa_rad import app

if __name__ == "__main__":
    app()
