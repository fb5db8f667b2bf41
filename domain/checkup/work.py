"""The work of the program: updates that wait, deliveries that should have gone out, endpoints that get nothing.

check           fault
─────────────   ────────────────────────────────────────────────────────────────────────────────────────────────────
leases          a lease that ends in more than a day, or one that ended and that nobody took over
deliveries      a delivery that has been due for an hour at an endpoint that is well: nobody delivers
accounts        deliveries that vanished, or that were written twice
endpoints       none: an endpoint that is held back or disabled is its merchant's, and a warning
updates         updates that should have been given up, or that some wallets have waited for too long
dead-letters    five that name a defect of this program: the intake waits for a person
fetches         a thin event whose vendor should have been asked an hour ago
losses          none: messages that were lost before they were read within a day are a warning
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.checkup.diagnosis import Bounds, Diagnosis, Level, span, verdict

# A claimed delivery is recorded or claimed again within seconds of the end of its lease.
LEASE_OVER_SECONDS = Bounds(60, 600)
# Every limit on leases ends within a day; a longer one comes of a clock that was ahead.
_LONGEST_LEASE = 86_400
DUE_SECONDS = Bounds(300, 3600)
# `unfinished_updates` and parked updates are looked at once a second and once a minute.
UPDATE_SECONDS = Bounds(600, 3600)
# As many open letters of a defect as stop the intake (`store.dead_letters`).
DEFECTS = 5
_DELIVER, _CONSUME = "repoint run --role deliver", "repoint run --role consume"


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases of some rows: how many ended and were not taken over, since when, and the longest to come."""

    rows: str
    over: int
    seconds_over: float
    longest: float


@dataclass(frozen=True, slots=True)
class DeliveryWork:
    """Live deliveries: seconds for which the oldest has been due, and the difference to the ledger (None: unknown)."""

    oldest_due: float | None
    unaccounted: int | None


@dataclass(frozen=True, slots=True)
class RestrainedEndpoint:
    """An endpoint that is disabled, or whose circuit is open, with its undelivered deliveries (1,000 at most)."""

    id: str
    disabled: bool
    reason: str | None
    deliveries: int


@dataclass(frozen=True, slots=True)
class UpdateWork:
    """Updates that wait: for a person, for a wallet beyond their time, for the rest of their wallets; dead letters.

    Counts end at 1,000; seconds are None where there are none.
    """

    quarantined: int
    parked_overdue: float | None
    unfinished: float | None
    open_letters: int
    defects: int
    fetch_overdue: float | None
    fetches_without_address: int
    lost_within_a_day: int


def leases(kinds: Sequence[Leases]) -> Iterator[Diagnosis]:
    """Judge leases of deliveries, fetches and jobs."""
    expected = f"taken over within {span(LEASE_OVER_SECONDS.warning)} of their end, which is within a day"
    for lease in kinds:
        if lease.longest > _LONGEST_LEASE:
            command = "repoint reconcile deliveries" if lease.rows == "deliveries" else _CONSUME
            measured = f"the longest ends in {span(lease.longest)}"
            yield Diagnosis("leases", lease.rows, Level.FAULT, expected, measured, command)
            continue
        level = LEASE_OVER_SECONDS.level(lease.seconds_over) if lease.over else Level.OK
        measured = f"{lease.over:,} ended, the oldest {span(lease.seconds_over)} ago" if lease.over else "none is stuck"
        role = _DELIVER if lease.rows == "deliveries" else _CONSUME
        yield verdict("leases", lease.rows, level, expected, measured, command=role)


def deliveries(work: DeliveryWork) -> Iterator[Diagnosis]:
    """Judge the oldest due delivery, and the accounts."""
    expected = f"attempted within {span(DUE_SECONDS.warning)}"
    if work.oldest_due is None:
        yield Diagnosis("deliveries", "due", Level.OK, expected, "none is due")
    else:
        level = DUE_SECONDS.level(work.oldest_due)
        measured = f"the oldest has been due for {span(work.oldest_due)}"
        yield verdict("deliveries", "due", level, expected, measured, command=_DELIVER)
    if work.unaccounted is None:
        measured = "too many to count"
        yield Diagnosis("accounts", "deliveries", Level.OK, "accepted = finished + live", measured)
        return
    level = Level.FAULT if work.unaccounted else Level.OK
    measured = f"{work.unaccounted:+,} beside them" if work.unaccounted else "they balance"
    yield verdict(
        "accounts", "deliveries", level, "accepted = finished + live", measured, command="repoint reconcile --dry-run"
    )


def endpoints(restrained: Sequence[RestrainedEndpoint], shown: int = 10) -> Iterator[Diagnosis]:
    """Judge endpoints that get nothing, those with the most deliveries first."""
    expected = "enabled, and answering"
    if not restrained:
        yield Diagnosis("endpoints", "all", Level.OK, expected, "all of them")
    for endpoint in sorted(restrained, key=lambda row: (-row.deliveries, row.id))[:shown]:
        state = f"disabled ({endpoint.reason or 'without a reason'})" if endpoint.disabled else "its circuit is open"
        measured = f"{state}, {endpoint.deliveries:,} deliveries wait"
        command = f"repoint endpoints enable {endpoint.id}"
        yield Diagnosis("endpoints", endpoint.id, Level.WARNING, expected, measured, command)
    if len(restrained) > shown:
        measured = f"{len(restrained) - shown:,} more are disabled or fail"
        yield Diagnosis("endpoints", "more", Level.WARNING, expected, measured, "repoint endpoints list")


def updates(work: UpdateWork) -> Iterator[Diagnosis]:
    """Judge updates, dead letters, thin events and losses."""
    quarantined = "repoint inbox list --outcome QUARANTINED"
    yield _counted("updates", "quarantined", work.quarantined, "none waits for a person", quarantined)
    yield _late("updates", "parked", work.parked_overdue, "given up in time")
    yield _late("updates", "unfinished", work.unfinished, "all of their wallets resolved")
    letters = "repoint dead-letters list"
    if work.defects >= DEFECTS:
        measured = f"{work.defects} that name a defect of this program: the intake waits"
        yield Diagnosis("dead-letters", "defects", Level.FAULT, f"fewer than {DEFECTS}", measured, letters)
    yield _counted("dead-letters", "open", work.open_letters, "none waits for a person", letters)
    yield _late("fetches", "due", work.fetch_overdue, "asked about in time")
    address = "an address of their vendor (REPOINT_FEED_FETCH)"
    yield _counted("fetches", "without an address", work.fetches_without_address, address, "repoint fetches list")
    lost = "none was gone before it was read"
    yield _counted("losses", "within a day", work.lost_within_a_day, lost, "repoint inbox accounts")


_MOST_COUNTED = 1000


def _counted(check: str, subject: str, count: int, expected: str, command: str) -> Diagnosis:
    """A count of which every one is for a person to look at."""
    measured = f"{count:,}{' or more' if count >= _MOST_COUNTED else ''}" if count else "none"
    return verdict(check, subject, Level.WARNING if count else Level.OK, expected, measured, command=command)


def _late(check: str, subject: str, seconds: float | None, expected: str) -> Diagnosis:
    """The age of the oldest that should have been done."""
    if seconds is None or seconds <= 0:
        return Diagnosis(check, subject, Level.OK, expected, "none is late")
    level = UPDATE_SECONDS.level(seconds)
    measured = f"the oldest is {span(seconds)} late"
    return verdict(check, subject, level, expected, measured, command=_CONSUME)
