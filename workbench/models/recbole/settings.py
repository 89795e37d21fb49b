"""The settings of a model of RecBole as a dataclass, so that they are checked like any other model's.

Names, types and defaults are those of RecBole's own files; what training is told is ours (`Learning`), and what names a file or would be
evaluated is left out.
"""

import json
import re
from dataclasses import field, make_dataclass
from functools import cache
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import BeforeValidator, Field

from workbench.models.recbole.defaults import DEFAULTS
from workbench.models.recbole.families import CLOSED_FORM, EVERY_POSITION, FAMILY, FROM_PEOPLE
from workbench.models.recbole.library import properties
from workbench.training import Learning

LEFT_OUT = frozenset(
    """fields freeze_kg fredom_type mf_pretrain_path mlp_pretrain_path pre_model_path pretrain_epochs pretrain_path save_step
    selected_features item_attribute teacher train_method train_stage transform use_pretrain warm_up double_tower""".split()  # noqa: SIM905
)
"""Settings that name files, would be evaluated, or are decided by the data."""
SHARES = re.compile(r"drop|ratio$|prob|^std$")
REAL = re.compile(r"alpha|beta|gamma|lambda|lamda|rho|weight|temp|tau|margin|reg|noise|^w_m|cap$|lmd|shrink|factor$|^l1")
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
DIVISORS = re.compile(r"temp|_tau$|^tau$")
COUNTS = re.compile(r"^reranker|size$|^n_|num|merging|mode$|window|bias|remove|context_norm")

UNREAD: dict[str, frozenset[str]] = {
    "DMF": frozenset({"embedding_size"}),
    "DiffRec": frozenset({"sampling_noise"}),
    "FEARec": frozenset({"spatial_ratio"}),
    "KD_DAGFM": frozenset({"phase"}),
    "NCL": frozenset({"m_step"}),
    "RepeatNet": frozenset({"loss_type"}),
    "S3Rec": frozenset({"mask_ratio", "aap_weight", "mip_weight", "map_weight", "sp_weight"}),
}
"""Settings that a model does not read, or reads where we do not go: they keep RecBole's default."""
PER_MODEL: dict[tuple[str, str], Any] = {
    ("BERT4Rec", "length"): Annotated[int, Field(ge=2)],
    ("DCNV2", "structure"): Literal["stacked", "parallel"],
    ("DMF", "inter_matrix_type"): Literal["01"],
    ("MultiVAE", "latent_dimension"): Annotated[int, Field(ge=2, multiple_of=2)],
    ("NCL", "warm_up_step"): Annotated[int, Field(ge=0)],
    ("NNCF", "neigh_info_method"): Literal["random"],
    ("SGL", "type"): Literal["ED", "ND", "RW"],
    ("SimpleX", "aggregator"): Literal["mean", "user_attention", "self_attention"],
    ("CORE", "dnn_type"): Literal["trm", "ave"],
    **{(name, "loss_type"): Literal["CE"] for name in ("BERT4Rec", "CORE", "S3Rec")},
}
"""What RecBole does not check, or says at length."""
LOSSES: dict[str, Any] = {"CE": Literal["CE", "BPR"], "BPR": Literal["BPR"], "BCE": Literal["BCE", "MSE"]}
"""What a model whose loss is this by default may have."""


@cache
def settings_of(name: str) -> type:
    """The dataclass of the model's settings, frozen, every field with a default."""
    ours = _learning(name) if name not in CLOSED_FORM else {}
    defaults = {**_theirs(name), **ours, **DEFAULTS.get(name, {})}
    fields = [(setting, _type(name, setting, value), field(default=value)) for setting, value in defaults.items()]
    bases = () if name in CLOSED_FORM else (Learning,)
    return make_dataclass(f"{name}Settings", fields, bases=bases, frozen=True, kw_only=True, namespace={"__module__": __name__})


def for_recbole(name: str, config: Any) -> dict[str, Any]:
    """RecBole's names and types for the model's own settings."""
    kept = {setting: _default(setting, value) for setting, value in _written(name).items() if setting in UNREAD.get(name, ())}
    values = kept | {setting: getattr(config, setting) for setting in _theirs(name)}
    return {_their_name(setting): list(value) if isinstance(value, tuple) else value for setting, value in values.items()}


@cache
def _theirs(name: str) -> dict[str, Any]:
    hidden = LEFT_OUT | UNREAD.get(name, frozenset())
    kept = {setting: value for setting, value in _written(name).items() if setting not in hidden and value is not None}
    return {setting.replace("-", "_"): _default(setting, value) for setting, value in kept.items()}


def _written(name: str) -> dict[str, Any]:
    """RecBole's file."""
    path = properties(name)
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}


def _learning(name: str) -> dict[str, Any]:
    """What training of this model is told besides `Learning`."""
    told: dict[str, Any] = {}
    if FAMILY[name] == "sequential":
        told["length"] = 50
    if name in EVERY_POSITION:
        told |= {"every_position": True, "batch_size": 32}
    if FAMILY[name] != "sequential" and name not in FROM_PEOPLE:
        told["negatives"] = 1
    return told


def _their_name(setting: str) -> str:
    return {"time_aware": "time-aware"}.get(setting, setting)


def _default(setting: str, value: Any) -> Any:
    """As YAML has it, but for lists, and numbers that RecBole writes as 1e-4 or as whole ones and reads as any."""
    if isinstance(value, list):
        return tuple(_default(setting, each) for each in value)
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    real = (REAL.search(setting) or SHARES.search(setting)) and not COUNTS.search(setting)
    return float(value) if whole and real else value


def _type(name: str, setting: str, value: Any) -> Any:
    if setting in Learning.__dataclass_fields__:
        return Learning.__dataclass_fields__[setting].type
    if isinstance(value, tuple):
        of = tuple[float, ...] if value and isinstance(value[0], float) else tuple[int, ...]
        return Annotated[of, BeforeValidator(_listed)]
    if (name, setting) in PER_MODEL:
        return PER_MODEL[name, setting]
    if setting == "loss_type":
        return LOSSES[value]
    if isinstance(value, bool | str):
        return type(value)
    if SHARES.search(setting):
        return Annotated[float, Field(ge=0, lt=1) if "drop" in setting else Field(ge=0, le=1)]
    if DIVISORS.search(setting):
        return Annotated[float, Field(gt=0)]
    if isinstance(value, int):
        return Annotated[int, Field(ge=1)] if value >= 1 else int
    return Annotated[float, Field(ge=0)] if value >= 0 else float


def _listed(value: Any) -> Any:
    """A list typed on a command line: [64, 32] or 64, 32."""
    try:
        found = json.loads(value if value.lstrip().startswith("[") else f"[{value}]") if isinstance(value, str) else value
    except ValueError:
        return value
    return [str(each) if isinstance(each, bool) else each for each in found] if isinstance(found, list | tuple) else found  # True is no 1
