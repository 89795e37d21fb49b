"""The map is true: each module imports what docs/architecture.md says, no more and no less."""

import ast
import re

from tests.conftest import ROOT

EVERYBODYS = {"errors", "paths", "files", "PROFILES"}


def imports(module: str) -> set[str]:
    place = ROOT / "workbench" / module
    found = set()
    for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench"):
                parts = node.module.split(".")[1:2]
                found |= set(parts or [alias.name for alias in node.names])
    return found - EVERYBODYS - {module}


def test_every_module_is_on_the_map_and_imports_what_it_says():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \|(.*)\|$", text.split("From the bottom up")[1], re.MULTILINE))
    modules = {path.stem for path in (ROOT / "workbench").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(rows) == modules - EVERYBODYS - {"__init__"}
    above = set(rows)
    for module, said in rows.items():
        above.discard(module)
        assert imports(module) == set(re.findall(r"`(\w+)`", said)), module
        assert not imports(module) & above, f"{module} imports from above"
