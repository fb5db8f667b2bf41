"""Beginning again where a batch, a dispatcher or another run was in the way."""

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from store.failures import Failure, failure


def _is_contended(error: BaseException) -> bool:
    return failure(error) is Failure.CONTENDED


# A batch holds the credentials of a page's wallets for some milliseconds.
retried = retry(
    retry=retry_if_exception(_is_contended), stop=stop_after_attempt(20), wait=wait_random(0, 0.5), reraise=True
)
"""Decorates a transaction: it is begun again while others hold what it locks."""
