"""How much one decision may look at, so that no update keeps the others waiting without end."""

MOST_CREDENTIALS = 10_000
"""To as many credentials facts may lead in one account: a thousand times what a card collects in ten years."""

# Facts and methods looked at in one decision: some seconds of one core. 500 updates of ordinary wallets take 3,000.
_MOST = 400_000
# The same for what only makes an outcome more exact.
_MOST_TO_SPARE = 50_000


class TooMuch(Exception):
    """More than one transaction may do. The text says what of, without a value."""


class Effort:
    """What one decision has looked at so far, of `most` facts and methods that it may look at."""

    def __init__(self, most: float = _MOST) -> None:
        self._most = self._left = most
        self._to_spare = _MOST_TO_SPARE

    def spend(self, count: int) -> None:
        """Count `count` facts and methods as looked at.

        Raises:
            TooMuch: the decision looks at more than it may.
        """
        self._left -= count
        if self._left < 0:
            raise TooMuch(f"one decision looks at more than {self._most} replacement facts and payment methods")

    def spare(self, count: int) -> bool:
        """Count `count` facts and methods as looked at for a more exact outcome; False where that is too much."""
        self._to_spare -= count
        return self._to_spare >= 0
