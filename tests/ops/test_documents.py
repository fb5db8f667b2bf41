"""What the documents say of settings is what the program says."""

from pathlib import Path

from ops import settings

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"


def table() -> str:
    """The settings as they stand in docs/running.md."""
    rows = ["| Setting | Default | Why |", "|---|---|---|"]
    rows += [
        f"| `{one.name}` | {f'`{one.default}`' if one.default else ''} | {one.reason} |" for one in settings.described()
    ]
    return "\n".join(rows)


def test_every_setting_is_described_as_the_program_describes_it() -> None:
    assert table() in RUNNING.read_text()
