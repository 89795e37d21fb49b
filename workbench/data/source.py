"""Where a card's files are: inside an installed package, found without importing it."""

import hashlib
import importlib.metadata
import re
from pathlib import Path, PurePosixPath

from workbench.data.card import Card
from workbench.errors import RequestError, WorkError

PACKAGE = re.compile(r"package:(?P<package>[A-Za-z0-9._-]+)==(?P<version>[^/]+)/(?P<folder>.+)")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_folder(source: str) -> Path:
    """The folder that `source` names. Raises RequestError when it is malformed or not installed."""
    match = PACKAGE.fullmatch(source)
    if not match or ".." in PurePosixPath(match["folder"]).parts:
        raise RequestError(f'source = "{source}" is not of the form package:<distribution>==<version>/<folder>.')
    try:
        distribution = importlib.metadata.distribution(match["package"])
    except importlib.metadata.PackageNotFoundError:
        raise RequestError(
            f"the data come from the package {match['package']}, which is not installed. Run `make report` or `make test` once."
        ) from None
    if distribution.version != match["version"]:
        raise RequestError(f"the card asks for {match['package']} {match['version']}; {distribution.version} is installed.")
    return Path(str(distribution.locate_file(match["package"]))) / match["folder"]


def source_files(card: Card) -> dict[str, Path]:
    """Paths of `events`, `items` and `users` (those the card has), each checked against its sha256.

    Raises WorkError with both hashes when a file is not the one the card describes.
    """
    folder = source_folder(card.source)
    found = {}
    for role, file in card.files:
        if file is None:
            continue
        path = folder / file.name
        if not path.is_file():
            raise WorkError(f"{file.name} is not in {card.source}. Reinstall the package.")
        if (actual := sha256_of(path)) != file.sha256:
            raise WorkError(f"{file.name} hashes to {actual[:12]}…, the card says {file.sha256[:12]}…. Reinstall the package.")
        found[role] = path
    return found
