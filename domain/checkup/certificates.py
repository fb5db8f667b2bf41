"""Certificates near their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.checkup.diagnosis import Bounds, Diagnosis, Level, span, verdict

# A new certificate takes a working week to be signed and brought to every place.
_WARNING, _FAULT = timedelta(days=21), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, the server or the file that showed it, and when it is valid."""

    where: str
    begins: datetime
    ends: datetime


def certificate(shown: Certificate, now: datetime) -> Diagnosis:
    """Judge one certificate."""
    remaining = (shown.ends - now).total_seconds()
    expected = f"valid for {span(_WARNING.total_seconds())} more"
    level = _REMAINING.level(-remaining)
    measured = f"ends in {span(remaining)}" if remaining > 0 else f"ended {span(-remaining)} ago"
    if shown.begins > now:
        level, measured = Level.FAULT, f"begins in {span((shown.begins - now).total_seconds())}"
    command = "openssl x509 -noout -dates -subject"
    return verdict("certificates", shown.where, level, expected, measured, command=command)


_REMAINING = Bounds(-_WARNING.total_seconds(), -_FAULT.total_seconds())


def latest(certificates: Sequence[Certificate]) -> Certificate | None:
    """The certificate of a bundle that ends last: those before it are followed by it."""
    return max(certificates, key=lambda certificate: certificate.ends, default=None)
