"""How far a file was sent holds for the same file, read as the same feed."""

from datetime import UTC, datetime
from pathlib import Path

from ops import checkpoint, open_file
from ops.checkpoint import Digest

AT = datetime(2026, 11, 20, tzinfo=UTC)


def test_a_file_that_is_sent_as_another_feed_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    with open_file.opened(file) as source:
        interrupted = checkpoint.of(source, "vau", AT)
        interrupted.offset, interrupted.lines = 8, 2
        checkpoint.write(source, interrupted, Digest(source))
        same = checkpoint.read(source, checkpoint.of(source, "vau", AT), Digest(source))
        assert same is not None
        assert (same.offset, same.lines) == (8, 2)
        for feed in ("discover", "canonical"):
            assert checkpoint.read(source, checkpoint.of(source, feed, AT), Digest(source)) is None
            assert checkpoint.read(source, checkpoint.of(source, feed, AT), Digest(source), growing=True) is None
