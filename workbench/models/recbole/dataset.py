"""What a model of RecBole asks its `Dataset`, answered from our own encoded data. Their codes are ours plus one: 0 is padding."""

from functools import cached_property
from typing import Any, NoReturn

import torch
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from workbench.data import Interactions, Side
from workbench.errors import NotApplicable
from workbench.models.recbole.families import FAMILY
from workbench.models.recbole.library import FeatureSource, FeatureType, Interaction, interaction

USER, ITEM, LABEL, TIME, VALUE = "user_id", "item_id", "label", "timestamp", "rating"
SEQUENCE, LENGTH = "item_id_list", "item_length"
NEGATIVE, NEGATIVES = f"neg_{ITEM}", f"neg_{SEQUENCE}"


class Data:
    """Stands in for RecBole's `Dataset`, `name` being the model that asks.

    Pairs are told once each, however often somebody had the item; rows of events to sequential models alone. Raises NotApplicable, saying
    what is missing, when the model asks for what the data lacks.
    """

    uid_field, iid_field, time_field = USER, ITEM, TIME

    def __init__(self, name: str, log: Interactions, side: Side, config: Any) -> None:
        self.name, self.log, self.side, self.config = name, log, side, config
        self.user_num, self.item_num, self.inter_num = log.n_users + 1, log.n_items + 1, len(log)
        people, items = _columns(side.users, side.user_fields, "user"), _columns(side.items, side.item_fields, "item")
        self.user_feat = interaction({USER: torch.arange(self.user_num), **{field: table for field, (table, _, _) in people.items()}})
        self.item_feat = interaction({ITEM: torch.arange(self.item_num), **{field: table for field, (table, _, _) in items.items()}})
        known = {**people, **items}
        self.sizes = {USER: self.user_num, ITEM: self.item_num, **{field: size for field, (_, _, size) in known.items()}}
        self.field2type = {USER: FeatureType.TOKEN, ITEM: FeatureType.TOKEN, **{field: kind for field, (_, kind, _) in known.items()}}
        self.field2source = {
            USER: FeatureSource.USER_ID,
            ITEM: FeatureSource.ITEM_ID,
            **dict.fromkeys(people, FeatureSource.USER),
            **dict.fromkeys(items, FeatureSource.ITEM),
        }
        self.field2seqlen = {SEQUENCE: config["MAX_ITEM_LIST_LENGTH"]}

    @property
    def item_fields(self) -> list[str]:
        """Attributes of items, without the id."""
        return self.fields(source=[FeatureSource.ITEM])

    @property
    def numerical(self) -> list[str]:
        """Attributes that are numbers rather than groups."""
        return self.fields(ftype=[FeatureType.FLOAT_SEQ])

    @cached_property
    def inter_feat(self) -> Interaction:
        """Every pair; of a sequential model every event that has some before it, with these."""
        log, length = self.log, self.field2seqlen[SEQUENCE]
        sequential = FAMILY[self.name] == "sequential"
        events = with_history(log) if sequential else self._events
        told = {USER: log.users + 1, ITEM: log.items + 1, TIME: log.timestamps, VALUE: log.values.float()}
        rows = {name: column[events] for name, column in told.items()}
        if sequential:
            lengths = (events - log.offsets[log.users[events]]).clamp(max=length)
            rows |= {SEQUENCE: before_each(log.items, events, lengths, length), LENGTH: lengths}
        return interaction(rows)

    def to(self, device: torch.device) -> None:
        """The features, in place."""
        self.user_feat, self.item_feat = self.user_feat.to(device), self.item_feat.to(device)

    def features(self) -> list[Tensor]:
        """Every table of features."""
        columns = {**self.user_feat.interaction, **self.item_feat.interaction}
        return [table for name, table in columns.items() if name not in (USER, ITEM)]

    def num(self, field: str) -> int:
        return self.sizes[field]

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        kinds, sources = (set(asked) if asked is not None else None for asked in (ftype, source))
        return [
            field
            for field, kind in self.field2type.items()
            if (kinds is None or kind in kinds) and (sources is None or self.field2source[field] in sources)
        ]

    def get_user_feature(self) -> Interaction:
        return self.user_feat

    def get_item_feature(self) -> Interaction:
        return self.item_feat

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> coo_matrix | csr_matrix:
        users, items, values = self._pairs
        content = (values if value_field else torch.ones(len(users))).numpy()
        matrix = coo_matrix((content, (users.numpy(), items.numpy())), shape=(self.user_num, self.item_num))
        return matrix if form == "coo" else matrix.tocsr()

    def history_item_matrix(self, value_field: str | None = None, max_history_len: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """int64 (user_num, longest): items of each person, then 0; float: their values; int64 (user_num,): how many."""
        users, items, values = self._pairs
        return padded(users, items, values if value_field else torch.ones(len(users)), self.user_num, max_history_len)

    def history_user_matrix(self, value_field: str | None = None, max_history_len: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        users, items, values = self._pairs
        order = items.argsort(stable=True)
        content = values if value_field else torch.ones(len(users))
        return padded(items[order], users[order], content[order], self.item_num, max_history_len)

    @cached_property
    def _events(self) -> Tensor:
        """int64 (pairs,): the last event of each (person, item), by person and then in order of time."""
        keys = self.log.users * self.log.n_items + self.log.items
        _, place = keys.unique(return_inverse=True)
        last = torch.full((int(place.max()) + 1 if len(place) else 0,), -1)
        return last.scatter_reduce_(0, place, torch.arange(len(place)), "amax").sort().values

    @property
    def _pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each (person, item) once; int64, int64, float32."""
        events = self._events
        return self.log.users[events] + 1, self.log.items[events] + 1, self.log.values[events].float()

    def get_preload_weight(self, field: str) -> NoReturn:
        raise self._missing(f'vectors "{field}" that somebody trained before')

    def kg_graph(self, **_: Any) -> NoReturn:
        raise self._missing("a knowledge graph")

    ckg_graph = kg_graph

    def __getattr__(self, asked: str) -> NoReturn:
        if asked.startswith("__"):
            raise AttributeError(asked)
        raise self._missing(f'what RecBole calls "{asked}"')

    def _missing(self, what: str) -> NotApplicable:
        return NotApplicable(f"recbole:{self.name} needs {what}, which this data lacks.")


def with_history(log: Interactions) -> Tensor:
    """int64 (n,): the events that have an event of the same person before them."""
    return torch.nonzero(torch.arange(len(log)) > log.offsets[log.users])[:, 0]


def before_each(items: Tensor, events: Tensor, lengths: Tensor, longest: int) -> Tensor:
    """int64 (n, longest): RecBole's codes of the items of the `lengths`, int64 (n,), events before each of `events`, int64 (n,); then 0."""
    steps = torch.arange(longest, device=events.device)
    places = ((events - lengths)[:, None] + steps).clamp(max=len(items) - 1)
    return (items[places] + 1) * (steps < lengths[:, None])


def padded(rows: Tensor, columns: Tensor, values: Tensor, n_rows: int, longest: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """int64 (n_rows, n): the columns of each row, then 0; float (n_rows, n): their values; int64 (n_rows,): how many.

    rows: int64, ascending. longest: no more than so many of each row, the last ones.
    """
    counts = torch.bincount(rows, minlength=n_rows)
    back = counts.cumsum(0)[rows] - 1 - torch.arange(len(rows))  # 0 for a row's last
    kept = counts if longest is None else counts.clamp(max=longest)
    told = back < kept[rows]
    rows, columns, values, places = rows[told], columns[told], values[told], (kept[rows] - 1 - back)[told]
    width = max(1, int(kept.max()))
    ids, content = torch.zeros(n_rows, width, dtype=torch.int64), torch.zeros(n_rows, width)
    ids[rows, places], content[rows, places] = columns, values
    return ids, content, kept


def _columns(table: Tensor | None, fields: tuple[tuple[str, int], ...], of: str) -> dict[str, tuple[Tensor, Any, int]]:
    """By attribute: its column as RecBole has it (row 0 is padding), its type and how many values it has."""
    if table is None:
        return {}
    widths = [width for _, width in fields] or [table.shape[1]]
    names = [name for name, _ in fields] or ["features"]
    parts = zip(names, table.float().split(widths, dim=1), strict=True)
    return {f"{of}:{name}": _column(torch.cat([torch.zeros(1, part.shape[1]), part])) for name, part in parts}


def _column(part: Tensor) -> tuple[Tensor, Any, int]:
    """One of several groups: a code. Some of several groups: a list of codes. Anything else: a list of (value, code)."""
    size = part.shape[1] + 1
    if not ((part == 0) | (part == 1)).all():
        codes = torch.arange(1, size).float().expand_as(part)
        return torch.stack([part, codes], dim=2), FeatureType.FLOAT_SEQ, size
    rows, codes = part.nonzero(as_tuple=True)
    lists, _, counts = padded(rows, codes + 1, torch.ones(len(rows)), len(part))
    if int(counts.max()) <= 1:
        return lists[:, 0], FeatureType.TOKEN, size
    return lists, FeatureType.TOKEN_SEQ, size
