"""The features worth having of any log, as far as a data set can feed them."""

import math
from collections.abc import Collection, Sequence

from workbench.errors import NotApplicable, RequestError, check_once, names_in, unknown
from workbench.features.build import number
from workbench.features.definition import KINDS, Feature, feature
from workbench.features.tables import Tables

WEEK, MONTH = 7.0, 30.0
GROUPS = ("retrieval", "person", "item", "match", "moment")
"""What features are of, for leaving them out together."""
OF_GROUP = {"user": "person", "item": "item", "user_item": "match", "user_group": "match", "context": "moment", "candidate": "retrieval"}


def group_of(each: Feature) -> str:
    """One of GROUPS."""
    return OF_GROUP[each.entity]


def standard_features(tables: Tables, given: Sequence[str] = (), sensitive: Collection[str] = ()) -> list[Feature]:
    """Those that these tables can feed.

    given: columns that retrieval hands over. sensitive: attributes of people that may be learnt from although the card calls them
    sensitive, each named on purpose. Raises RequestError for one that is no such column.
    """
    found = [feature(name.replace(" ", "_"), "candidate", "given", of=name) for name in given]
    found += [
        feature("person_events", "user", "count"),
        feature("person_events_week", "user", "count", window=WEEK),
        feature("person_mean", "user", "mean"),
        feature("person_liked", "user", "rate", of="liked"),
        feature("person_recency", "user", "recency"),
        feature("item_events", "item", "count"),
        feature("item_events_month", "item", "count", window=MONTH),
        feature("item_events_fading", "item", "decayed", half_life=MONTH),
        feature("item_people", "item", "distinct"),
        feature("item_mean", "item", "mean"),
        feature("item_liked", "item", "rate", of="liked"),
        feature("item_recency", "item", "recency"),
        feature("hour", "context", "hour", privacy="public"),
        feature("weekday", "context", "weekday", privacy="public"),
    ]
    for group in tables.groups:
        if tables.privacy.get(group) in ("sensitive", "identifier"):
            continue
        found += [
            feature(f"with_{group}_events", "user_group", "count", group=group),
            feature(f"with_{group}_liked_events", "user_group", "count", events="liked", group=group),
            feature(f"with_{group}_mean", "user_group", "mean", group=group),
            feature(f"with_{group}_liked", "user_group", "rate", of="liked", group=group),
            feature(f"with_{group}_recency", "user_group", "recency", group=group),
        ]
    found += [_typed(kind, entity) for kind in tables.event_types if kind not in KINDS for entity in ("user", "item")]
    numbers = [name for name in tables.columns_of("item") if tables.privacy.get(name) == "public" and _is_number(tables, name)]
    found += [feature(f"its_{name}", "item", "attribute", of=name, privacy="public") for name in numbers]
    known = [name for name in tables.columns_of("user") if tables.privacy.get(name) == "sensitive"]
    for name in sensitive:
        if name not in known:
            raise unknown("sensitive column of people", name, known)
        found.append(feature(f"their_{name}", "user", "attribute", of=name, category=True, privacy="sensitive"))
    return [each for each in found if _fed(each, tables)]


def parse_groups(text: str) -> list[str]:
    """Groups of features out of "retrieval, item"; "all" is all of them. Raises RequestError for an unknown one, a repeated one, none."""
    names = list(GROUPS) if text.strip() == "all" else names_in(text)
    for name in names:
        if name not in GROUPS:
            raise unknown("group of features", name, [*GROUPS, "all"])
    check_once(names, f'features = "{text}"', "group of features", GROUPS)
    return names


def parse_columns(text: str) -> list[str]:
    """Names of columns out of "gender, age"; none out of "". Raises RequestError for one that comes twice."""
    names = names_in(text)
    if len(set(names)) < len(names):
        raise RequestError(f'sensitive = "{text}" should name each column once.')
    return names


def chosen_features(definitions: Sequence[Feature], groups: Collection[str]) -> list[Feature]:
    """Those of these groups. Raises NotApplicable where the data has none."""
    found = [each for each in definitions if group_of(each) in groups]
    if not found:
        raise NotApplicable(f"this data has no features of {', '.join(groups)}.")
    return found


def _typed(kind: str, entity: str) -> Feature:
    whose = {"user": "person", "item": "item"}[entity]
    return feature(f"{whose}_events_{kind}s", entity, "count", events=kind)


def _fed(each: Feature, tables: Tables) -> bool:
    """A mean of values that no event has says nothing."""
    return each.aggregation not in ("mean", "last") or tables.events["value"].null_count < len(tables.events)


def _is_number(tables: Tables, name: str) -> bool:
    """Nine in ten of its cells, at least, are numbers."""
    cells = [cell for cell in tables.attributes["item"][name].to_pylist() if cell]
    return bool(cells) and sum(not math.isnan(number(cell)) for cell in cells) >= 0.9 * len(cells)
