"""Makes initsearch's config groups known to every Hydra app; Hydra finds this by the folder's name."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from initsearch.shipped_configs import app_conf_dir


class InitSearchSearchPathPlugin(SearchPathPlugin):
    """Appends the groups `initsearch/plan`, `initsearch/space`, `initsearch/search` and `callbacks/init`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder after the app's own: what the app has under the same name wins."""
        search_path.append("initsearch", f"file://{app_conf_dir()}")
