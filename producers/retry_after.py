"""The header Retry-After (RFC 9110, 10.2.3): seconds, or a date in one of HTTP's three forms."""

from datetime import UTC, datetime, timedelta

# Ten digits are a Unix time, which some servers send, and no delay: 10^9 seconds are 31 years.
_MOST_DIGITS = 9

# RFC 9110, 5.6.7: the form of today, the one of RFC 850, and that of C's asctime. All are in GMT.
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


def delay(header: str, *, now: datetime) -> timedelta | None:
    """The delay from `now`, negative for a past date; None for a value that is neither seconds nor a date."""
    value = header.strip(" \t")
    if value.isascii() and value.isdigit():
        digits = value.lstrip("0") or "0"
        return timedelta(seconds=int(digits)) if len(digits) <= _MOST_DIGITS else None
    for form in _DATES:
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC) - now
        except ValueError:
            continue
    return None
