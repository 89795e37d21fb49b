"""Runs as self-contained HTML. Everything is escaped unless a filter below made it safe; nothing is fetched when the page is opened."""

import datetime
import functools
import re
from collections.abc import Sequence
from typing import Any

import bleach
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.filters import ansi2html, markdown2html
from nbformat import NotebookNode

TAGS = {
    *("a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "hr", "li", "ol", "p", "pre", "strong", "sub", "sup", "ul"),
    *("div", "span", "table", "caption", "thead", "tbody", "tr", "th", "td"),
}
SKIPPED = {"report-skip", "parameters", "injected-parameters", "papermill-error-cell-tag"}
"""Tags of cells that the page says elsewhere: parameters, the verdict, papermill's own notes on an error."""
ATTRIBUTES = {"a": ["href", "class"], "th": ["scope", "class"], "td": ["class"], "h1": ["id"], "h2": ["id"], "h3": ["id"], "h4": ["id"]}


def sanitised(text: str) -> Markup:
    """HTML in which only harmless tags are still tags; anything else shows as the text it is. No images: those would be fetched."""
    text = re.sub(r"<style\b.*?</style>", "", text, flags=re.DOTALL | re.IGNORECASE)  # pandas puts one into its tables
    return Markup(bleach.clean(text, tags=TAGS, attributes=ATTRIBUTES))  # noqa: S704, this is what makes it safe


def _markdown(text: str) -> Markup:
    return sanitised(markdown2html(text))


def _ansi(text: str) -> Markup:
    return Markup(ansi2html(text))  # noqa: S704, it escapes


def _day(moment: str) -> str:
    return f"{datetime.datetime.fromisoformat(moment):%d %b %Y}"


def moment(moment: str) -> str:
    return f"{datetime.datetime.fromisoformat(moment):%d %b %Y, %H:%M} UTC"


@functools.cache
def _templates() -> Environment:
    environment = Environment(loader=PackageLoader("workbench.reporting"), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"sanitised": sanitised, "markdown": _markdown, "ansi": _ansi, "day": _day, "moment": moment}
    return environment


def _broke(cell: NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def report_html(run: dict[str, Any], notebook: NotebookNode) -> str:
    """The page of one run: verdict first, then the notebook with its code folded away, limits and provenance at the end."""
    cells = [cell for cell in notebook.cells if _broke(cell) or not SKIPPED & set(cell.metadata.get("tags", []))]
    if cells and cells[0].cell_type == "markdown":  # the question is the page's title
        cells = [NotebookNode(cells[0], source=re.sub(r"\A# .*\n*", "", cells[0].source)), *cells[1:]]
    rendered = "".join(_markdown(cell.source) for cell in cells if cell.cell_type == "markdown")
    headings = [
        {"id": Markup(i).unescape(), "text": Markup(text).striptags()}  # noqa: S704, taken from sanitised text, escaped again on output
        for i, text in re.findall(r'<h2 id="([^"]*)">(.*?)(?:<a .*?</a>)?</h2>', rendered)
    ]
    return _templates().get_template("report.html.j2").render(run=run, cells=cells, headings=headings)


def index_html(entries: Sequence[dict[str, str]]) -> str:
    """The page of all runs; `entries` in the order to show, with state, path, text, notebook, profile, data, when, took."""
    failures = sum(entry["state"] != "succeeded" for entry in entries)
    return _templates().get_template("index.html.j2").render(runs=entries, failures=failures)
