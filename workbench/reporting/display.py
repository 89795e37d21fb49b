"""Tables and figures that read the same in JupyterLab and in the report: captioned, escaped, with alt text."""

import base64
import html
import io
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as MplFigure


@dataclass(frozen=True, eq=False)
class Table:
    """A frame as an HTML table. Cells are text or numbers; whatever is in them is shown, never interpreted."""

    frame: pd.DataFrame
    caption: str
    digits: int = 3

    def _repr_html_(self) -> str:
        sides = ["right" if pd.api.types.is_numeric_dtype(self.frame[column]) else "left" for column in self.frame.columns]
        head = "".join(
            f'<th scope="col" class="{side}">{html.escape(str(column))}</th>'
            for column, side in zip(self.frame.columns, sides, strict=True)
        )
        rows = (
            "".join(f'<td class="{side}">{html.escape(self._text(value))}</td>' for value, side in zip(row, sides, strict=True))
            for row in self.frame.itertuples(index=False)
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><caption>{html.escape(self.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        return self.caption  # notebooks keep text beside the HTML; the numbers need not be there twice

    def _text(self, value: object) -> str:
        if isinstance(value, float):
            return "" if pd.isna(value) else f"{value:.{self.digits}f}"
        return f"{value:,}" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Note:
    """A sentence in place of a figure that would be empty."""

    text: str

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.text)}</p>"

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Text:
    """A text as it stands in a file."""

    text: str
    title: str

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.title)}</p><pre>{html.escape(self.text)}</pre>"

    def __repr__(self) -> str:
        return self.title


@dataclass(frozen=True, eq=False)
class Figure:
    """A matplotlib figure with what a reader who cannot see it needs. `name` becomes the file `figures/<name>.png` of the run."""

    figure: MplFigure
    name: str
    alt: str
    caption: str

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight")
        png = base64.b64encode(buffer.getvalue()).decode()
        described = {"alt": self.alt, "caption": self.caption, "name": self.name}
        return {"image/png": png, "text/plain": self.alt}, {"image/png": described}

    def __repr__(self) -> str:
        return self.alt
