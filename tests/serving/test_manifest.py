"""What a manifest promises is looked at before anything is read: every refusal in one line, with what is wrong."""

import json
import os
from pathlib import Path

import pytest

from workbench.errors import RequestError, WorkError
from workbench.files import sha256_of
from workbench.serving import Bundle
from workbench.serving.manifest import MANIFEST, SCHEMA, SUFFIXES, TABLES, check_files, inside, read_manifest

FILES = (
    "retriever.onnx",
    "items.parquet",
    "index.faiss",
    "README.md",
    "policy/policy.json",
    "policy/policy.toml",
    "features/stream_0.parquet",
)
FACTS = {"name": "made/home", "surface": "home", "items": 3, **{table: dict.fromkeys(names, 1) for table, names in TABLES.items()}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle as far as a manifest can say."""
    found = tmp_path / "bundle"
    for number, name in enumerate(FILES):
        path = found / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"what {name} holds".encode() * (number + 1))
    write(found)
    return found


def write(folder: Path, **told: object) -> None:
    hashes = {
        path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({"schema": SCHEMA, **FACTS, "sha256": hashes, **told}), encoding="utf-8")


def names(folder: Path, name: str) -> None:
    """The manifest names one file more."""
    told = read_manifest(folder)
    write(folder, sha256={**told["sha256"], name: "0" * 64})


def refused(folder: Path, kind: type[Exception] = WorkError) -> str:
    """What is said, by the checks and by who opens a bundle alike."""
    with pytest.raises(kind) as error:
        check_files(folder, read_manifest(folder))
    with pytest.raises(kind) as again:
        Bundle.open(folder)
    told = str(error.value)
    assert str(again.value) == told
    assert "\n" not in told
    return told


def test_a_folder_as_it_was_written_is_taken(folder):
    told = read_manifest(folder)
    check_files(folder, told)
    assert set(told["sha256"]) == set(FILES)


def test_the_files_tried_are_of_every_kind_that_a_bundle_may_hold():
    assert {Path(name).suffix for name in FILES} == SUFFIXES


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_told_with_both_hashes(name, folder):
    path = folder / name
    before = sha256_of(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    told = refused(folder)
    assert name in told
    assert before[:12] in told
    assert sha256_of(path)[:12] in told


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_grown_is_another(name, folder):
    path = folder / name
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole + b"\0"):
        path.write_bytes(content)
        assert name in refused(folder)
    path.write_bytes(whole)
    check_files(folder, read_manifest(folder))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()
    told = refused(folder)
    assert name in told
    assert "No such file" in told


def test_a_folder_in_a_files_place_is_no_file(folder):
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    assert "README.md is no file" in refused(folder)


@pytest.mark.parametrize("name", ["more.parquet", "model.pkl", "policy/more.json", "policy/" + MANIFEST, "new/deep/x.onnx", ".hidden"])
def test_a_file_that_the_manifest_does_not_name_is_named(name, folder):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    assert f"holds {name}, which {MANIFEST} does not name" in refused(folder)


def test_a_link_that_the_manifest_does_not_name_is_a_file_too_many(folder):
    (folder / "more.json").symlink_to(folder / "policy" / "policy.json")
    assert "holds more.json" in refused(folder)
    (folder / "more.json").unlink()
    (folder / "more.json").symlink_to("nowhere")
    assert "holds more.json" in refused(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../bundle/README.md",
        "policy/../../x.json",
        "/etc/hosts.json",
        "..",
        "",
        ".",
        "..\\x.json",
        "policy\\policy.json",
        "C:\\x.json",
    ],
)
def test_a_name_that_leads_out_is_refused_before_anything_is_read(name, folder):
    for path in (folder.parent / "x", folder.parent / "x.json"):
        path.write_bytes(b"")
    with pytest.raises(WorkError, match="leads out of the bundle"):
        inside(folder, name)
    names(folder, name)
    assert "leads out of the bundle" in refused(folder)


@pytest.mark.parametrize(
    "name", ["model.pkl", "weights.pt", "run.py", "run.sh", "lib.so", "x.json.gz", "noending", ".onnx", "x.ONNX", "a.onnx.data"]
)
def test_a_kind_of_file_that_no_bundle_has_is_refused_even_with_the_right_hash(name, folder):
    (folder / name).write_bytes(b"cos\nsystem\n")
    write(folder)
    assert f'names "{name}", and a bundle has no such files' in refused(folder)


@pytest.mark.parametrize("to", ["outside", "inside"])
def test_a_link_is_refused_although_what_it_leads_to_hashes_right(to, folder):
    target = (folder.parent if to == "outside" else folder / "policy") / "kept.parquet"
    (folder / "items.parquet").rename(target)
    (folder / "items.parquet").symlink_to(target)
    assert "items.parquet is a link" in refused(folder)


def test_a_link_in_place_of_a_folder_is_refused(folder):
    (folder / "policy").rename(folder.parent / "elsewhere")
    (folder / "policy").symlink_to(folder.parent / "elsewhere")
    assert "policy/policy.json is a link" in refused(folder)


def test_the_bundle_itself_may_stand_behind_a_link(folder):
    """A registry may point at a version by one."""
    (folder.parent / "champion").symlink_to(folder)
    check_files(folder.parent / "champion", read_manifest(folder.parent / "champion"))


def test_a_bundle_is_checked_wherever_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder)
    check_files(Path(), read_manifest(Path()))
    (folder / "README.md").write_bytes(b"other")
    with pytest.raises(WorkError, match=r"README\.md"):
        check_files(Path(), read_manifest(Path()))


def test_a_newer_schema_is_refused_with_both_numbers(folder):
    write(folder, schema=SCHEMA + 6)
    told = refused(folder, RequestError)
    assert f"schema {SCHEMA + 6}" in told
    assert f"up to {SCHEMA}" in told


def test_a_newer_schema_is_told_before_what_else_may_have_changed(folder):
    (folder / MANIFEST).write_text(json.dumps({"schema": SCHEMA + 1}), encoding="utf-8")
    assert f"schema {SCHEMA + 1}" in refused(folder, RequestError)


def test_a_folder_without_a_manifest_holds_no_bundle(folder):
    (folder / MANIFEST).unlink()
    assert f"holds no bundle: it has no {MANIFEST}" in refused(folder, RequestError)
    assert "holds no bundle" in refused(folder / "nowhere", RequestError)


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 1', b"\xff\xfe\x00", b"schema = 1", b"{'schema': 1}"])
def test_a_manifest_that_is_no_json_cannot_be_read(content, folder):
    (folder / MANIFEST).write_bytes(content)
    assert f"{MANIFEST} cannot be read" in refused(folder)


@pytest.mark.parametrize("content", ["[]", "7", "null", '"schema"', "{}", '{"schema": "1"}', '{"schema": null}', '{"schema": 1.5}'])
def test_what_has_no_schema_is_no_manifest(content, folder):
    (folder / MANIFEST).write_text(content, encoding="utf-8")
    assert "is no manifest of a bundle: it has no schema" in refused(folder)


@pytest.mark.parametrize("name", [*FACTS, "sha256"])
def test_a_missing_fact_is_named(name, folder):
    told = read_manifest(folder)
    del told[name]
    (folder / MANIFEST).write_text(json.dumps(told), encoding="utf-8")
    assert f"it has no {name}." in refused(folder)


def test_a_manifest_that_is_a_folder_cannot_be_read(folder):
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()
    assert f"{MANIFEST} cannot be read" in refused(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(folder):
    (folder / "README.md").chmod(0)
    assert "README.md cannot be read (Permission denied)" in refused(folder)


@pytest.mark.parametrize("expected", ["", "0" * 64, None, 7, ["x"]])
def test_a_hash_that_is_none_is_another(expected, folder):
    told = read_manifest(folder)
    write(folder, sha256={**told["sha256"], "README.md": expected})
    assert "README.md hashes to" in refused(folder)


@pytest.mark.parametrize("hashes", [None, [], ["README.md"], "README.md", 7])
def test_hashes_that_are_no_table_make_no_manifest(hashes, folder):
    write(folder, sha256=hashes)
    refused(folder)


def test_a_name_that_no_file_can_have_is_refused(folder):
    names(folder, "a\0b.json")
    refused(folder)


def test_what_is_no_bundle_although_every_hash_is_right_is_told(folder):
    """All files are what the manifest says, and none of them is what it should be."""
    with pytest.raises(WorkError, match=r"^bundle cannot be read: ") as error:
        Bundle.open(folder)
    assert "\n" not in str(error.value)


def test_a_file_in_the_bundles_place_is_no_bundle(tmp_path):
    (tmp_path / "a.csv").write_text("user_id")
    with pytest.raises(RequestError, match="holds no bundle"):
        Bundle.open(tmp_path / "a.csv")


def test_a_pipe_in_a_files_place_is_not_read(folder):
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    assert "README.md is no file" in refused(folder)
