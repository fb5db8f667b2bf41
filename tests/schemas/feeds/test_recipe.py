"""The recipe for a feed of one's own, docs/feeds.md, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = "docs/feeds.md"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project: the pages name files of every room."""
    if (ROOT / "schemas/feeds/acme.py").exists():
        pytest.skip("the recipe was followed in this project, and cannot be followed twice")
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            shutil.copytree(path, tmp_path / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file() and path.name != ".git":
            shutil.copy(path, tmp_path)
    return tmp_path


def follow(project: Path) -> None:
    """Write what the recipe shows into the files that it names."""
    page = (project / PAGE).read_text(encoding="utf-8")
    recipe = page.partition("## A feed of your own")[2]
    steps = re.findall(r"^\*\*\d\. .*?\*\*, `([\w./]+)`.*?^```\w+\n(.*?)^```", recipe, re.MULTILINE | re.DOTALL)
    assert [path for path, _ in steps] == [
        "examples/feeds/acme.csv",
        "schemas/feeds/acme.py",
        "tests/schemas/feeds/test_acme.py",
        "tests/schemas/feeds/reported/acme.txt",
    ]
    for path, content in steps:
        (project / path).write_text(content, encoding="utf-8")
    line, entry = re.findall(r"`(acme\S*,)`", recipe)
    feeds = project / "schemas/feeds/__init__.py"
    listed = feeds.read_text(encoding="utf-8")
    listed = listed.replace("    abu_push,\n", f"    abu_push,\n    {line}\n")
    listed = listed.replace("        abu_push.FEED,\n", f"        abu_push.FEED,\n        {entry}\n")
    feeds.write_text(listed, encoding="utf-8")
    row = recipe.partition("```markdown\n")[2].partition("```")[0]
    head, heading, wallets = page.partition("## What wallets must say")
    wallets = wallets.replace("| `adyen`, `adyen-rtau` |", f"{row}| `adyen`, `adyen-rtau` |", 1)
    (project / PAGE).write_text(head + heading + wallets, encoding="utf-8")


def selected(project: Path) -> list[str]:
    """The tests of every feed, those of Acme, and those that hold the documents to the feeds."""
    paths = sorted((project / "tests/schemas/feeds").glob("test_*.py"))
    of_every_feed = [path for path in paths if re.search(r"@each_feed|FEEDS.values\(\)", path.read_text())]
    return [*map(str, of_every_feed), "tests/schemas/feeds/test_acme.py", "tests/ops/test_documents.py"]


def run(project: Path, *module: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(project),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Its tables of all characters take two seconds to make, and are here already.
        "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),
    }
    process = subprocess.run(
        [sys.executable, "-m", *module], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-2000:]
    return process.stdout


def test_a_feed_that_is_made_by_the_recipe_passes_the_projects_own_tests(project: Path) -> None:
    follow(project)
    assert "docs/feeds.md: tables written" in run(project, "docs.tables")
    passed = run(project, "pytest", "-q", "-p", "no:cacheprovider", "-k", "acme or documents", *selected(project))
    # the tests of every feed, one of each; those of its own; those of the documents
    assert int(re.findall(r"(\d+) passed", passed)[0]) >= 30
    files = ("schemas/feeds/acme.py", "tests/schemas/feeds/test_acme.py", "schemas/feeds/__init__.py")
    run(project, "ruff", "check", *files)
    run(project, "ruff", "format", "--check", *files)
