"""A model of RecBole, made of its settings and our data."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import torch

from workbench.data import Interactions, Side
from workbench.errors import NotApplicable, RequestError
from workbench.models.recbole.dataset import ITEM, LABEL, LENGTH, NEGATIVE, SEQUENCE, USER, VALUE, Data
from workbench.models.recbole.families import FAMILY, FROM_ITEM_FEATURES
from workbench.models.recbole.faster import with_fast_graphs
from workbench.models.recbole.learn import one_line
from workbench.models.recbole.library import get_model
from workbench.models.recbole.settings import for_recbole

NAMES = {
    "USER_ID_FIELD": USER,
    "ITEM_ID_FIELD": ITEM,
    "LABEL_FIELD": LABEL,
    "RATING_FIELD": VALUE,
    "NEG_PREFIX": NEGATIVE.removesuffix(ITEM),
    "LIST_SUFFIX": SEQUENCE.removeprefix(ITEM),
    "ITEM_LIST_LENGTH_FIELD": LENGTH,
    "MASK_ITEM_SEQ": f"Mask_{SEQUENCE}",
    "POS_ITEMS": f"Pos_{ITEM}",
    "NEG_ITEMS": f"Neg_{ITEM}",
    "MASK_INDEX": "MASK_INDEX",
    "INVERSE_ITEM_SEQ": f"Inverse_{SEQUENCE}",
    "ENTITY_ID_FIELD": "entity_id",
    "RELATION_ID_FIELD": "relation_id",
    "HEAD_ENTITY_ID_FIELD": "head_id",
    "TAIL_ENTITY_ID_FIELD": "tail_id",
}


class Given(dict[str, Any]):
    """RecBole's `Config`, without its files, its command line and its evaluation of texts; what is not set is None."""

    def __missing__(self, _: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying asks for
            raise AttributeError(name)
        return self if name == "final_config_dict" else self[name]


def build(name: str, config: Any, log: Interactions, side: Side) -> tuple[Any, Data]:
    """An untrained instance of RecBole's class, on the CPU, and what it was told of the data.

    Raises NotApplicable when the model needs what the data lacks, RequestError for settings that RecBole refuses.
    """
    side.check(log)
    given = Given(NAMES)
    given.update(for_recbole(name, config), **_around(name, config))
    data = Data(name, log, side, given)
    features = data.item_fields
    if name in FROM_ITEM_FEATURES and not set(features) - set(data.numerical):
        raise NotApplicable(f"recbole:{name} needs groups of items as features, and this data has none.")
    if FAMILY[name] == "sequential" and len(log) > 1 and (log.timestamps == log.timestamps[0]).all():
        raise NotApplicable(f"recbole:{name} learns from the order of events, and this data has no times.")
    numbers = [] if name == "FwFM" else data.numerical
    groups = [field for field in features if field not in numbers]
    given.update(numerical_features=numbers, selected_features=groups, item_attribute=next(iter(groups), None))
    try:
        with redirect_stdout(io.StringIO()):  # some print what they are made of
            model = get_model(name)(given, data)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(f"recbole:{name} cannot be made with these settings and this data: {one_line(error)}.") from error
    with_fast_graphs(name, model)
    _mend(name, model, log)
    return model, data


def _around(name: str, config: Any) -> Mapping[str, Any]:
    """What RecBole has in its configuration beside a model's own settings."""
    return {
        "device": torch.device("cpu"),
        "MAX_ITEM_LIST_LENGTH": getattr(config, "length", 50),
        "train_batch_size": getattr(config, "batch_size", 2048),
        "train_neg_sample_args": {"sample_num": getattr(config, "negatives", 1)},
        "seed": getattr(config, "seed", 0),
        "double_tower": name == "DSSM",
        "train_method": "no_pretrain",
        "train_stage": "actor_pretrain" if name == "RaCT" else "pretrain",
        "teacher": "CrossNet",
    }


def _mend(name: str, model: Any, log: Interactions) -> None:
    if name == "S3Rec":  # without what it would learn before, which RecBole keeps in a pickle
        model.train_stage, model.loss_fct = "finetune", torch.nn.CrossEntropyLoss()
    if name == "Pop":  # RecBole's counts an item once a batch
        model.item_cnt[1:, 0] = log.events_per_item
        model.max_cnt = model.item_cnt.max()
