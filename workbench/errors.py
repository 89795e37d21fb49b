"""The ways a command can end badly, and the hint that turns a typo into an answer."""

import difflib
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path


class RequestError(ValueError):
    """What was asked for cannot be done as asked. Exit code 2; nothing was written."""

    exit_code = 2


class NotApplicable(RequestError):  # noqa: N818
    """What was asked for has no answer on this data, which is no mistake of anybody's. A report says so and why; a command exits with 2."""


class WorkError(RuntimeError):
    """The request was right and the work failed. Exit code 1; the message says what and where."""

    exit_code = 1


def unknown(kind: str, name: str, known: Iterable[str]) -> RequestError:
    """The error for a name nobody knows: the nearest known one first, then all of them."""
    names = sorted(known)
    folded = {each.casefold(): each for each in names}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)]
    hint = f'Did you mean "{near[0]}"?  ' if near else ""
    return RequestError(f'there is no {kind} "{name}". {hint}({", ".join(names)})')


def names_in(text: str) -> list[str]:
    """["ease", "popularity"] out of "ease, popularity"."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_once(names: Sequence[str], given: str, kind: str, known: Iterable[str]) -> None:
    """Raises RequestError where there is no name, or one comes twice. given: the parameter as typed, its name and its text."""
    if not names or len(set(names)) < len(names):
        raise RequestError(f"{given} should name each {kind} once, at least one. ({', '.join(known)})")


def reason(error: Exception) -> str:
    """One line for a reader: our own errors speak for themselves, of others the kind and the place are said."""
    told = " ".join(str(error).split())
    if isinstance(error, RequestError | WorkError):
        return told
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {told or 'no reason given'} ({Path(where.filename).name}, line {where.lineno})"
