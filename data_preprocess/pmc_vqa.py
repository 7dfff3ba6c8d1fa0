"""Run `medeyes-verl prepare pmc-vqa` from a checkout."""

from medeyes_verl.data.readers.pmc_vqa import app

if __name__ == "__main__":
    app()
