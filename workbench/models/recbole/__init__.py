"""RecBole's models on a current stack, trained and judged like our own. Nothing outside of this folder knows RecBole.

Importing it makes RecBole importable; `workbench.models.create("recbole:LightGCN")` does that when it is asked for one.
"""

from workbench.models.recbole.families import FAMILY, IMPOSSIBLE, NOTES, SUPPORTED
from workbench.models.recbole.zoo import Zoo, zoo_model

__all__ = ["FAMILY", "IMPOSSIBLE", "NOTES", "SUPPORTED", "Zoo", "zoo_model"]
