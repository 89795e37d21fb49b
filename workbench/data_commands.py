"""`workbench data …`: what a person types, and what they read then. Imports the data package only when a command runs."""

import argparse
import os
from pathlib import Path
from typing import Any

from workbench.errors import RequestError

ALLOWED = ("duplicate", "missing from table", "future", "unit", "retyped", "removed", "volume", "null share")
COLUMNS = {
    "user": "user_id",
    "item": "item_id",
    "time": "timestamp",
    "value": "value",
    "event": "event",
    "request": "request_id",
    "session": "session_id",
    "position": "position",
    "propensity": "propensity",
    "user-key": "user_key",
    "item-key": "item_key",
}
"""Options that name a column, and what the card calls it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench data add`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="CSV, TSV, Parquet, JSON lines, RecBole's atomic files; .gz too")
    parser.add_argument("--name", required=True, metavar="NAME", help="what to call the data set")
    parser.add_argument("--item-table", type=Path, metavar="FILE", help="attributes of items")
    parser.add_argument("--user-table", type=Path, metavar="FILE", help="attributes of people")
    for option, column in COLUMNS.items():
        of = f"the {option.split('-')[0]} table's key" if option.endswith("key") else f"the column with {column}"
        more = "; several, separated by commas, make one id" if option in ("user", "item", "session", "user-key", "item-key") else ""
        parser.add_argument(f"--{option}", metavar="COLUMN", help=f"{of}: a name, or a place from 0{more}")
    parser.add_argument("--context", metavar="COLUMNS", help="further columns to keep, separated by commas")
    parser.add_argument("--delimiter", metavar="D", help="what stands between columns; \\t is a tab")
    parser.add_argument("--quote", metavar="Q", help="the quote character, or none")
    parser.add_argument("--encoding", choices=("utf-8", "latin-1", "utf-16"))
    parser.add_argument("--header", choices=("yes", "no"), help="default: yes, unless columns are named by place")
    parser.add_argument("--unit", choices=("s", "ms", "us", "ns", "text"), help="of times: a count since 1970, or text")
    parser.add_argument("--zone", help="of times that name none: UTC, or one like Europe/Berlin")
    parser.add_argument("--time-format", metavar="FORMAT", help="as strptime has it, for times that are not ISO 8601")
    parser.add_argument("--positive-min", type=float, metavar="X", help="values from here on count as liked")
    parser.add_argument("--negative-max", type=float, metavar="X", help="values up to here count as disliked")
    for kind, meaning in (
        ("positive", "count as liked"),
        ("negative", "count as disliked"),
        ("exposure", "only say that an item was shown"),
    ):
        parser.add_argument(f"--{kind}-events", metavar="TYPES", default="", help=f"event types that {meaning}, separated by commas")
    parser.add_argument("--repeats", choices=("yes", "no"), help="whether taking the same item again is normal")
    parser.add_argument("--title")
    parser.add_argument("--licence")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CHECK",
        help=f"a check to note instead of failing; repeatable: {', '.join(ALLOWED)}",
    )
    parser.add_argument("--update", action="store_true", help="the next version of a data set that was added before")
    add_building(parser)
    parser.set_defaults(command=add_one)


def add_building(parser: argparse.ArgumentParser) -> None:
    """Options of whatever makes a snapshot."""
    parser.add_argument("--quarantine", action="store_true", help="set rows that fail a check apart, with the reason, instead of failing")
    parser.add_argument("--memory-limit", metavar="SIZE", help="what may be held in memory, like 500MB; default: 4GB")


def add_one(options: argparse.Namespace) -> int:
    from workbench.data import Dataset, add
    from workbench.data.request import Request

    columns = {kind: value for option, kind in COLUMNS.items() if (value := getattr(options, option.replace("-", "_"))) is not None}
    reading: dict[str, Any] = {key: getattr(options, key) for key in ("delimiter", "encoding") if getattr(options, key) is not None}
    if options.quote is not None:
        reading["quote"] = "" if options.quote == "none" else options.quote
    if options.header is not None:
        reading["header"] = options.header == "yes"
    for text in (options.title, options.licence):
        if text is not None and not text.isprintable():
            raise RequestError(f"{text!r} should be text that can be printed.")
    card, snapshot, understood = add(
        Request(
            file=options.file,
            name=options.name,
            item_table=options.item_table,
            user_table=options.user_table,
            columns=columns,
            context=_listed(options.context) if options.context is not None else None,
            reading=reading,
            unit=options.unit,
            zone=options.zone,
            time_format=options.time_format,
            positive_min=options.positive_min,
            positive_events=_listed(options.positive_events),
            negative_max=options.negative_max,
            negative_events=_listed(options.negative_events),
            exposure_events=_listed(options.exposure_events),
            repeats=None if options.repeats is None else options.repeats == "yes",
            title=options.title,
            licence=options.licence,
            allow=tuple(options.allow),
            update=options.update,
            **_building(options),
        )
    )
    print(f"{snapshot.id}, card datasets/{options.name}.toml (version {card.version})")
    for line in understood:
        print(f"  {line}")
    _print_facts(Dataset(options.name, card, snapshot))
    print(f"  split: {card.split.default}, because {card.split.because}")
    print(f"Check the guesses in the card. Then: workbench report --dataset {options.name}")
    return 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _building(options: argparse.Namespace) -> dict[str, Any]:
    return {"quarantine": options.quarantine, **({"memory_limit": options.memory_limit} if options.memory_limit else {})}


def list_all(_: argparse.Namespace) -> int:
    from workbench.data import list_cards, load_card

    broken = 0
    for name in list_cards():
        try:
            print(f"{name:20} {load_card(name).title}")
        except RequestError as error:
            broken = error.exit_code
            print(f"{name:20} {error}")
    return broken


def prepare_one(options: argparse.Namespace) -> int:
    from workbench.data import prepare

    snapshot = prepare(options.name, **_building(options))
    print(f"{snapshot.id}  {snapshot.origin['events']:,} events  {os.path.relpath(snapshot.folder)}")
    for apart in snapshot.manifest["quarantined"]:
        print(f"  set apart: {apart['rows']:,} rows of {apart['file']}, {apart['check']}")
    for note in snapshot.manifest["notes"]:
        print(f"  note: {note}")
    return 0


def describe(options: argparse.Namespace) -> int:
    from workbench.data import load_dataset

    data = load_dataset(options.name)
    print(f"{data.card.title}, {data.snapshot.id}")
    _print_facts(data)
    return 0


def _print_facts(data: Any) -> None:
    for _, (fact, value) in data.describe().iterrows():
        print(f"  {fact:52} {value}")


def list_versions(options: argparse.Namespace) -> int:
    from workbench.data import load_card, versions

    card = load_card(options.name)
    for snapshot in versions(options.name):
        manifest = snapshot.manifest
        current = "  current" if manifest["card_fingerprint"] == card.fingerprint else ""
        apart = sum(each["rows"] for each in manifest["quarantined"])
        print(
            f"{snapshot.id}  {manifest['created'][:19]}Z  card version {manifest['card_version']}  {snapshot.rows('events'):,} events  "
            f"{apart:,} set apart  after {manifest['parent'] or 'none'}{current}"
        )
    return 0


def diff(options: argparse.Namespace) -> int:
    from workbench.data import difference, version

    before, after = version(options.before), version(options.after)
    print(f"{before.id} → {after.id}")
    for line in difference(before, after) or ["no difference"]:
        print(f"  {line}")
    return 0
