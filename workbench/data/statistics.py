"""What a manifest says of each column: enough to notice that the next version of a log is another kind of thing."""

from typing import Any

from workbench.data.engine import quoted
from workbench.data.tables import Tables

NUMBERS = ("INTEGER", "BIGINT", "DOUBLE")


def column_statistics(tables: Tables, table: str) -> dict[str, dict[str, Any]]:
    """By column: `kind` (whole number, number, text, empty), empty cells, distinct values (approximate), least, largest and mean of
    numbers.

    The ids of a log stand in its tables of people and items, and are described there.
    """
    columns = {name: kind for name, kind in tables.columns(table).items() if name not in ("user_code", "item_code")}
    if not columns:
        return {}
    described = ", ".join(_described(name, kind) for name, kind in columns.items())
    row = tables.connection.execute(f"SELECT {described} FROM {table}").fetchall()[0]
    return dict(zip(columns, row, strict=True))


def _described(name: str, kind: str) -> str:
    column = quoted(name)
    common = f"nulls := count(*) - count({column}), about_distinct := approx_count_distinct({column})"
    if kind in NUMBERS:
        whole = "'number'" if kind == "DOUBLE" else "'whole number'"
        kind_of = f"CASE WHEN count({column}) = 0 THEN 'empty' ELSE {whole} END"
        return f"struct_pack(kind := {kind_of}, {common}, least := min({column}), largest := max({column}), mean := avg({column}))"
    number, whole = f"TRY_CAST({column} AS DOUBLE)", f"regexp_full_match({column}, '-?[0-9]+')"
    return f"""struct_pack(kind := CASE
        WHEN count({column}) = 0 THEN 'empty'
        WHEN count({column}) = count(*) FILTER (WHERE {whole}) THEN 'whole number'
        WHEN count({column}) = count({number}) THEN 'number' ELSE 'text' END, {common})"""
