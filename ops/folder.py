"""A directory by its descriptor: other processes may rename or link paths meanwhile, and the directory stays the same.

Names are looked up in the directory itself (`openat`), and no link is followed. New files have mode 0600.
"""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.terminal import file_name

# In bytes; ext4, XFS, Btrfs, APFS and tmpfs agree.
_LONGEST_NAME = 255
_DIGEST_BYTES = 8


def name_beside(name: str, form: str) -> str:
    """The name of a file that belongs to the file `name`: `form` with it in place of `{}`, cut to what a file system
    takes.
    """
    whole = form.format(name)
    if len(os.fsencode(whole)) <= _LONGEST_NAME:
        return whole
    written = os.fsencode(name)
    digest = blake2b(written, digest_size=_DIGEST_BYTES).hexdigest()
    room = _LONGEST_NAME - len(form.format("")) - len(digest) - 1
    return form.format(f"{os.fsdecode(written[:room])}-{digest}")


class Folder:
    """An open directory; a context manager that closes it. `path` is only for messages."""

    def __init__(self, path: Path, *, inside: "Folder | None" = None, create: bool = False) -> None:
        """Open `path`, or its last name `inside` a folder. Raises OSError where that is impossible.

        With `create`, a missing folder is made for its owner alone, and a link is refused.
        """
        self.path = path
        place, parent = (path, None) if inside is None else (path.name, inside.descriptor)
        if create:
            with suppress(FileExistsError):
                os.mkdir(place, 0o700, dir_fd=parent)
        link = os.O_NOFOLLOW if create else 0
        self.descriptor: int = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | link, dir_fd=parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def title(self, name: str) -> str:
        """The path of `name` for people, safe on a terminal."""
        return file_name(str(self.path / name))

    def names(self) -> list[str]:
        return os.listdir(self.descriptor)  # noqa: PTH208 - Path knows no descriptors

    def state(self, name: str) -> os.stat_result | None:
        """The state of the entry, of a link itself if it is one; None if there is no entry."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the file `name`. Does not wait for a pipe."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=self.descriptor)

    def read(self, name: str) -> bytes:
        with os.fdopen(self.open(name), "rb") as stream:
            return stream.read()

    def write(self, name: str, content: bytes) -> None:
        """Write the file in one step: a process that dies meanwhile leaves the former content."""
        unfinished = name_beside(name, "{}.new")
        with os.fdopen(self.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as stream:
            stream.write(content)
        self.move(unfinished, self, name)

    def move(self, name: str, target: "Folder", new_name: str) -> None:
        """Move the file to `new_name`, over a file that has the name already."""
        os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)

    def link(self, name: str, new_name: str) -> None:
        """Give the file `name` another name here. Raises FileExistsError where the name is taken."""
        os.link(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self.descriptor)
