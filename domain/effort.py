"""Limits on what one decision looks at, so that no single update blocks all others."""

MOST_CREDENTIALS = 10_000
"""The most credentials of one account: a thousand times what a card collects in ten years."""

# Facts and methods looked at in one decision: some seconds of one core. 500 updates of ordinary wallets take 3,000.
_DEFAULT_LIMIT = 400_000
# The same for work that only makes an outcome more exact.
_SPARE_LIMIT = 50_000


class TooMuch(Exception):
    """An update or a batch exceeds what one transaction may do. The text names the limit, and holds no value."""


class Effort:
    """Counts the facts and methods that one decision looks at; it may look at `limit`."""

    def __init__(self, limit: float = _DEFAULT_LIMIT) -> None:
        self._limit = self._remaining = limit
        self._spare = _SPARE_LIMIT

    def spend(self, count: int) -> None:
        """Count `count` facts and methods as looked at.

        Raises:
            TooMuch: the decision looks at more than it may.
        """
        self._remaining -= count
        if self._remaining < 0:
            raise TooMuch(f"one decision looks at more than {self._limit} replacement facts and payment methods")

    def spare(self, count: int) -> bool:
        """Count `count` facts and methods as looked at for a more exact outcome; False where that is too much."""
        self._spare -= count
        return self._spare >= 0
