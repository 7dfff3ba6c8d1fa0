"""Lets stock ``main_ppo`` find our recipes: ``python -m verl.trainer.main_ppo +medeyes=cpu_tiny``.

Hydra imports every module below ``hydra_plugins`` at start-up, so this one imports nothing but Hydra.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class MedEyesRecipes(SearchPathPlugin):
    """Adds the folder of the config group ``medeyes``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="medeyes-verl", path="pkg://medeyes_verl.config")
