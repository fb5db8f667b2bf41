"""Importing a file of wallets: every fault is named by its line, and the remaining lines may be imported."""

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from sqlalchemy.ext.asyncio import AsyncEngine

from domain import pan
from domain.refusal import Refusal, RefusalCode, Refused
from domain.wallet import IDENTIFIERS, Wallet, WalletId
from ops import files, json_lines, terminal
from ops.json_lines import MOST_FAULTS, Faults
from ops.terminal import Failed
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.method_line import NEVER
from schemas.wallet import WalletLine, read_line
from store import connectivity
from wallets.change import Retention
from wallets.importing import id_paths, import_wallets

# As many as an update's batch may touch: the statements are the same.
_BATCH = 500
# Many large wallets are more than a statement should hold.
_BATCH_CHARACTERS = 4_000_000


@dataclass
class Imported:
    """The result of an import. `faults` and `doubles` are named by line and field, the first hundred of each.

    `present` wallets existed already, and are left as they are.
    """

    wallets: int = 0
    faults: list[str] = field(default_factory=list)
    refused_lines: set[int] = field(default_factory=set)
    present: int = 0
    doubles: list[str] = field(default_factory=list)
    doubles_count: int = 0
    beside: Path | None = None


async def import_file(
    engine: AsyncEngine,
    file: Path,
    keep: Retention,
    *,
    dry_run: bool,
    identifiers: AbstractSet[str] = IDENTIFIERS,
    digit_ids: DigitIds = NO_DIGIT_IDS,
    skip_invalid: bool = False,
) -> Imported:
    """Import the wallets of `file`: all of them, or with `skip_invalid` those that can be.

    Raises:
        Failed: a line is at fault. It names up to a hundred faults, each with its line and field. Or another import
            that ran at the same time has an id of the file.
    """
    with _Beside(file) as beside:
        lines = _Lines(
            file,
            partial(read_line, identifiers=identifiers, digit_ids=digit_ids),
            beside if skip_invalid and not dry_run else None,
            skip_invalid=skip_invalid,
        )
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            try:
                lines.done.wallets = await import_wallets(connection, lines.read(), keep, on_refused=lines.refuse)
            except Refused as refused:  # `lines` takes every other one
                raise Failed(f"{refused.refusal}, by another import; nothing was imported") from None
            lines.check()
        lines.done.beside = beside.keep()
    return lines.done


class _Beside:
    """The refused lines of a file, beside it and for their owner alone. Without `keep` there is no such file."""

    def __init__(self, file: Path) -> None:
        self._path = file.with_name(file.name + ".refused")
        self._unfinished = file.with_name(file.name + ".refused.unfinished")
        self._stream: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._unfinished.unlink(missing_ok=True)

    def add(self, text: str) -> None:
        try:
            if self._stream is None:
                self._stream = self._created()
            self._stream.write(_masked(text) + "\n")
        except OSError as error:
            raise Failed(f"nothing was imported: {self._path} cannot be written ({error.strerror})") from None

    def _created(self) -> TextIO:
        self._unfinished.unlink(missing_ok=True)
        # made anew: a link that somebody laid there is not followed
        number = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        return os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace")

    def keep(self) -> Path | None:
        """Where the lines are; None where there were none."""
        if self._stream is None:
            return None
        self._stream.close()
        self._stream = None
        return self._unfinished.replace(self._path)


class _Lines:
    """The wallets of a file, some hundreds at a time, with the line of each id among them.

    The lines of merged wallets are kept to the end: only then is it known whether the other wallet is in the file.
    """

    def __init__(
        self, file: Path, read_line: Callable[[str], WalletLine], beside: _Beside | None, *, skip_invalid: bool
    ) -> None:
        self.done = Imported()
        self._faults = Faults(file, self.done.faults)
        self._beside = beside
        self._file = file
        self._read_line = read_line
        self._skip_invalid = skip_invalid
        self._texts: dict[WalletId, tuple[int, str]] = {}
        self._merged: dict[WalletId, tuple[int, str]] = {}
        self._lines_by_id: dict[str, int] = {}

    async def read(self) -> AsyncIterator[list[Wallet]]:
        with terminal.progress("importing", files.size(self._file)) as advance:
            wallets: list[Wallet] = []
            size = 0
            for number, text in json_lines.read(self._file, self._unreadable):
                size += len(text)
                if (wallet := self._wallet(number, text, advance)) is not None:
                    wallets.append(wallet)
                if len(wallets) == _BATCH or size > _BATCH_CHARACTERS:
                    yield wallets
                    self._begin_batch()
                    wallets, size = [], 0
                if self._faults.are_too_many:
                    self.check()
            if wallets:
                yield wallets
            self._begin_batch()
        self.check()

    def _begin_batch(self) -> None:
        self._lines_by_id.clear()
        self._texts.clear()

    def check(self) -> None:
        """Raise Failed with all faults so far, unless faulty lines are skipped."""
        if self._skip_invalid:
            return
        hints = ["--skip-invalid imports the other lines"] if len(self.done.faults) > 1 or self.done.present else []
        if self.done.present:
            are = "wallet of the file is" if self.done.present == 1 else "wallets of the file are"
            hints.insert(0, f"{self.done.present:,} {are} there already, and an import changes none")
        self._faults.raise_any(*hints)

    def refuse(self, wallet_id: WalletId, refusal: Refusal) -> None:
        """Add the fault of a wallet that the database, or another line of the file, contradicts."""
        number, text = self._texts.get(wallet_id) or self._merged[wallet_id]
        if refusal.code is RefusalCode.WALLET_EXISTS:
            self.done.present += 1
            self._faults.add(number, refusal)
            return
        self._fault(number, text, refusal)

    def _wallet(self, number: int, text: str, advance: Callable[[int], None]) -> Wallet | None:
        advance(len(text))
        try:
            line = self._read_line(text)
        except Refused as refused:
            self._fault(number, text, *refused.refusals)
            return None
        wallet = line.wallet
        for path, id_ in id_paths(wallet):
            if id_ in self._lines_by_id:
                expected = f"a new id, {id_} is on line {self._lines_by_id[id_]} already"
                self._fault(number, text, Refusal(RefusalCode.REPEATED, path, expected))
                return None
        self._lines_by_id.update((id_, number) for _, id_ in id_paths(wallet))
        self._texts[wallet.id] = (number, text)
        if wallet.merged_into is not None:
            self._merged[wallet.id] = (number, text)
        for double, kept in line.doubles:
            self._note(f"{self._at(number)}: paymentMethods.{double}: joined with paymentMethods.{kept}, the same card")
        return wallet

    def _unreadable(self, number: int, line: bytes, refusal: Refusal) -> None:
        self._fault(number, line.decode(errors="backslashreplace").strip(), refusal)

    def _fault(self, number: int, text: str, *refusals: Refusal) -> None:
        self._faults.add(number, *refusals)
        self.done.refused_lines.add(number)
        if self._beside is not None:
            self._beside.add(text)

    def _note(self, double: str) -> None:
        self.done.doubles_count += 1
        if len(self.done.doubles) < MOST_FAULTS:
            self.done.doubles.append(double)

    def _at(self, number: int) -> str:
        return f"{files.name(self._file)}:{number}"


# The value of a key that no file should hold, as text, number or half of either where the line is broken.
_SECRET = re.compile(rf'("(?:{"|".join(sorted(NEVER))})"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^,}}\]]*)', re.IGNORECASE)


def _masked(text: str) -> str:
    """The line as it is kept: without card numbers, and without the values of keys that no file may have."""
    return pan.mask(_SECRET.sub(r'\1"***"', _without_escapes(text)))


def _without_escapes(text: str) -> str:
    """The text without JSON's escapes, which may hide digits from the mask."""
    if "\\u" not in text:
        return text
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError):
        return re.sub(r"\\u00([2-7][0-9A-Fa-f])", lambda escape: chr(int(escape[1], 16)), text)
    return json.dumps(parsed, ensure_ascii=False)
