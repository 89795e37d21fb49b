"""Data with known truth and the suite every model passes; import them in your own tests."""

from workbench.testing.contract import check_recommender
from workbench.testing.synthetic import checkerboard, interactions, latent_log
from workbench.testing.truth import Truth, WorldConfig
from workbench.testing.world import World

__all__ = ["Truth", "World", "WorldConfig", "check_recommender", "checkerboard", "interactions", "latent_log"]
