"""A merchant's export of the payment method ids that it stores, read line after line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from domain.refusal import Refusal, Refused
from ops import files, json_lines, terminal
from ops.json_lines import Faults
from ops.terminal import Failed
from reconciliation.merchant_copy import CopyLine
from schemas import merchant_export
from schemas.merchant_export import ReadId


@dataclass(slots=True)
class MerchantFile:
    """`lines` reads the file. Refused lines are counted, and the first hundred are named by line and field."""

    file: Path
    refused: int = 0
    _faults: Faults = field(init=False)

    def __post_init__(self) -> None:
        self._faults = Faults(self.file)

    def lines(self) -> Iterator[CopyLine]:
        """The ids of the lines that can be used.

        Raises:
            Failed: the file is of another kind.
        """
        with terminal.progress(files.name(self.file), files.size(self.file)) as advance:
            read_id: ReadId | None = None
            for number, text in json_lines.read(self.file, self._refuse, expected="one payment method id a line"):
                advance(len(text.encode()) + 1)
                if read_id is None:
                    read_id, is_header = self._reader(number, text)
                    if is_header:
                        continue
                try:
                    yield CopyLine(number, read_id(text))
                except Refused as refused:
                    self._refuse(number, "", *refused.refusals)

    def _reader(self, number: int, first: str) -> tuple[ReadId, bool]:
        try:
            return merchant_export.reader(first)
        except Refused as refused:
            raise files.wrong(self.file, number, str(refused.refusal)) from None

    def _refuse(self, number: int, _line: str | bytes, *refusals: Refusal) -> None:
        self.refused += 1
        self._faults.add(number, *refusals)

    def raise_any(self) -> None:
        """Raise Failed, with the refused lines."""
        if self.refused:
            count = f"{terminal.counted(self.refused, 'line')} refused; the others were compared"
            raise Failed("\n".join((*self._faults.named, count)))
