"""Examples out of a log of what was shown: each request is a page, its candidates are what stood on it, labels are what people did
there."""

from collections.abc import Collection, Sequence

import torch

from workbench.data import Dataset
from workbench.data.card import any_of
from workbench.data.interactions import offsets_of
from workbench.errors import NotApplicable
from workbench.features import Asked, Feature, Tables, build_features, standard_features
from workbench.features.sql import condition
from workbench.ranking.examples import Examples


def logged_examples(
    data: Dataset,
    tables: Tables,
    tasks: tuple[str, ...],
    *,
    definitions: Sequence[Feature] | None = None,
    sensitive: Collection[str] = (),
) -> tuple[Examples, dict[str, torch.Tensor]]:
    """Every page of the log, in order of time; and of each show its "position", int64, and "propensity", float64, NaN where the log has
    none.

    tasks: kinds of events, each meant given the one before; an event belongs to the show of the same request, item and position.
    definitions: of features; None for the standard ones. Raises NotApplicable for a log without shows, requests, positions or times.
    """
    columns = data.snapshot.columns("events")
    for name in ("request_id", "position", "timestamp"):
        if name not in columns:
            raise NotApplicable(f"pages of a log need {name}, and {data.name} has none.")
    if not data.card.meaning.exposure:
        raise NotApplicable(f"pages of a log need events that say what was shown, and the card of {data.name} names none.")
    found = _shows(data, tasks)
    page = found["page"].long()
    lengths = torch.bincount(page)
    offsets = offsets_of(lengths)
    users, items, moments = (found[name].long() for name in ("user_code", "item_code", "moment"))
    if definitions is None:
        definitions = standard_features(tables, (), sensitive)
    labels = torch.stack([found[f"k{place}"].bool() for place in range(len(tasks))], dim=1)
    relevant = torch.zeros(len(lengths), dtype=torch.int64).index_add_(0, page, labels[:, -1].long())
    examples = Examples(
        users=users[offsets[:-1]],
        moments=moments[offsets[:-1]],
        offsets=offsets,
        items=items,
        features=build_features(definitions, tables, Asked(users, items, moments), allowed=sensitive),
        labels=labels,
        tasks=tasks,
        n_relevant=relevant,
        given_by=torch.zeros_like(items),
        retriever=f"what was shown in {data.snapshot.id}",
    )
    return examples, {"position": found["position"].long(), "propensity": found["propensity"].double()}


def _shows(data: Dataset, tasks: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """A row for each show, by page and position: page, from 0 in order of time, user_code, item_code, position, moment, propensity, and k0
    …: whether an event of each of these kinds came of it."""
    columns, meaning = data.snapshot.columns("events"), data.card.meaning
    shown = any_of(meaning.exposure)
    acting = {"all": f"NOT {shown}", "liked": any_of(meaning.positive), "disliked": any_of(meaning.negative)}
    kinds = ", ".join(f"bool_or({acting.get(kind) or condition(kind)}) AS k{place}" for place, kind in enumerate(tasks))
    propensity = "propensity" if "propensity" in columns else "CAST(NULL AS DOUBLE)"
    names = ", ".join(f"coalesce(k.k{place}, FALSE) AS k{place}" for place in range(len(tasks)))
    query = f"""
        WITH came AS (SELECT request_id, item_code, position, {kinds} FROM coded_events WHERE NOT {shown}
                      GROUP BY request_id, item_code, position),
             shown AS (SELECT request_id, user_code, item_code, position, min(timestamp) AS timestamp, min({propensity}) AS propensity
                       FROM coded_events WHERE {shown} GROUP BY request_id, user_code, item_code, position),
             pages AS (SELECT request_id, min(timestamp) AS moment FROM shown GROUP BY request_id)
        SELECT dense_rank() OVER (ORDER BY p.moment, s.request_id) - 1 AS page, s.user_code, s.item_code, s.position, p.moment,
               coalesce(s.propensity, CAST('NaN' AS DOUBLE)) AS propensity, {names}
        FROM shown AS s JOIN pages AS p ON s.request_id = p.request_id
        LEFT JOIN came AS k ON s.request_id = k.request_id AND s.item_code = k.item_code AND s.position = k.position
        ORDER BY page, s.position, s.item_code"""
    with data.connect() as connection:
        return {name: torch.from_numpy(column.copy()) for name, column in connection.execute(query).fetchnumpy().items()}
