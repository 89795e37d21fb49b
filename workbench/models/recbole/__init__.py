"""RecBole's models on a current stack, trained and judged like our own. Nothing outside of this folder knows RecBole.

Importing it makes RecBole importable; `workbench.models.create("recbole:LightGCN")` does that when it is asked for one.
"""

from workbench.models.recbole.families import FAMILIES, FAMILY, IMPOSSIBLE, NOTES, SUPPORTED
from workbench.models.recbole.library import (
    Trainer,
    create_dataset,
    data_preparation,
    get_model,
    get_trainer,
    init_seed,
    interaction,
    itemknn,
    recbole_config,
    slimelastic,
)
from workbench.models.recbole.zoo import Zoo, zoo_model

__all__ = [
    "FAMILIES",
    "FAMILY",
    "IMPOSSIBLE",
    "NOTES",
    "SUPPORTED",
    "Trainer",
    "Zoo",
    "create_dataset",
    "data_preparation",
    "get_model",
    "get_trainer",
    "init_seed",
    "interaction",
    "itemknn",
    "recbole_config",
    "slimelastic",
    "zoo_model",
]
