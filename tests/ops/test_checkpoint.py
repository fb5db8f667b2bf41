"""How far a file was sent holds for the same file, read as the same feed."""

from datetime import UTC, datetime
from pathlib import Path

from ops import checkpoint, open_file
from ops.checkpoint import Digest
from ops.feed_files import Summary, _FileProgress
from ops.refused_lines import RefusedLines
from producers.topic import ingest
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge

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


async def test_a_checkpoint_behind_a_batch_of_a_bank_counts_all_lines_before_it(tmp_path: Path) -> None:
    """A record of such a file has several lines, and is named by the first of them."""
    file = tmp_path / "feed"
    content = (Path(__file__).parents[2] / "examples" / "feeds" / "nacha.txt").read_bytes()
    file.write_bytes(content)
    with open_file.opened(file) as source, RefusedLines(source) as refused:
        begun = checkpoint.of(source, "nacha", AT)
        progress = _FileProgress(source, begun, Digest(source), refused, lambda _: None, Summary())
        async for line in ingest.read_feed(FEEDS["nacha"], source.stream(), Edge(AT)):
            progress.passed(line)
    assert begun.offset
    assert begun.lines == content.count(b"\n", 0, begun.offset)
