"""Convert credential states, facts and reports of them to rows of their tables, and back."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, TypeAlias

from domain.knowledge import CardFace, CredentialState, Dated, Fact, FactId
from domain.update import Credential, NewCredential, Reason, Scope, Stamp
from domain.wallet import Expiry, Key, MethodStatus, MethodType
from store.rows import CREDENTIAL_STATE, FACT_REPORT, REPLACEMENT_FACT, STATE_REPORT

Values: TypeAlias = tuple[Any, ...]
"""A row in the form that a statement accepts."""

_NO_EXPIRY = (None, None)
_NO_STAMP = (None, None, None)


def write_state(key: Key, scope: Scope, state: CredentialState, keep: timedelta) -> Values:
    """The row of `credentials`, to be kept for `keep` from now."""
    status, expiry = state.status, state.expiry
    status_at, status_vendor, status_update_id = status.stamp if status else _NO_STAMP
    year, month = expiry.value if expiry else _NO_EXPIRY
    expiry_at, expiry_vendor, expiry_update_id = expiry.stamp if expiry else _NO_STAMP
    return CREDENTIAL_STATE.row(
        key=key,
        scope=write_scope(scope),
        status=status.value if status else None,
        status_at=status_at,
        status_vendor=status_vendor,
        status_update_id=status_update_id,
        expiry_year=year,
        expiry_month=month,
        expiry_at=expiry_at,
        expiry_vendor=expiry_vendor,
        expiry_update_id=expiry_update_id,
        details=_write_details(state) if state.details or state.cards else None,
        keep=keep,
    )


def read_state(selected: Sequence[Any]) -> tuple[Key, Scope, CredentialState]:
    """The credential, the customer and the state of a row of `credentials`."""
    row = CREDENTIAL_STATE.read(selected)
    status = expiry = None
    if row.status is not None:
        stamp = Stamp(row.status_at, row.status_vendor, row.status_update_id)
        status = Dated(MethodStatus[row.status], stamp)
    if row.expiry_year is not None:
        stamp = Stamp(row.expiry_at, row.expiry_vendor, row.expiry_update_id)
        expiry = Dated(Expiry(row.expiry_year, row.expiry_month), stamp)
    state = CredentialState(status, expiry, *(() if row.details is None else _read_details(row.details)))
    return row.key, read_scope(row.scope), state


def write_fact(fact: Fact, keep: timedelta) -> Values:
    """The row of `replacement_facts`, to be kept for `keep` from now."""
    new = fact.reported
    year, month = new.expiry or _NO_EXPIRY
    return REPLACEMENT_FACT.row(
        old_key=fact.old.key,
        new_key=fact.new.key,
        scope=write_scope(fact.scope),
        old_alias=fact.old.alias,
        new_alias=fact.new.alias,
        vendor=fact.stamp.vendor,
        update_id=fact.stamp.update_id,
        occurred_at=fact.stamp.occurred_at,
        reason=fact.reason,
        method_type=fact.method_type,
        last4=new.last4,
        brand=new.brand,
        expiry_month=month,
        expiry_year=year,
        par=new.par,
        details=json.dumps(dict(new.details)) if new.details else None,
        later_expiry=None if fact.later is None else _write_expiry(fact.later),
        accepted=json.dumps(sorted(fact.accepted)) if fact.accepted else None,
        keep=keep,
    )


def read_fact(selected: Sequence[Any]) -> Fact:
    """The fact of a row of `replacement_facts`."""
    row = REPLACEMENT_FACT.read(selected)
    return _fact(row)._replace(
        later=None if row.later_expiry is None else _read_expiry(row.later_expiry),
        accepted=frozenset() if row.accepted is None else frozenset(map(_scope, json.loads(row.accepted))),
    )


def _fact(row: Any) -> Fact:  # noqa: ANN401 - a named tuple whose names are computed
    """The columns that a fact and a report of it have in common."""
    new = Credential(row.new_key, row.new_alias)
    return Fact(
        old=Credential(row.old_key, row.old_alias),
        new=new,
        stamp=Stamp(row.occurred_at, row.vendor, row.update_id),
        reason=Reason[row.reason],
        scope=read_scope(row.scope),
        method_type=None if row.method_type is None else MethodType[row.method_type],
        reported=NewCredential(
            new,
            row.last4,
            row.brand,
            None if row.expiry_year is None else Expiry(row.expiry_year, row.expiry_month),
            row.par,
            {} if row.details is None else json.loads(row.details),
        ),
    )


def write_fact_report(fact: Fact) -> Values:
    """The row of `fact_reports` for a report of a fact."""
    new = fact.reported
    year, month = new.expiry or _NO_EXPIRY
    return FACT_REPORT.row(
        digest=fact_report_digest(fact.id, fact.stamp),
        old_key=fact.old.key,
        new_key=fact.new.key,
        scope=write_scope(fact.scope),
        vendor=fact.stamp.vendor,
        update_id=fact.stamp.update_id,
        occurred_at=fact.stamp.occurred_at,
        old_alias=fact.old.alias,
        new_alias=fact.new.alias,
        reason=fact.reason,
        method_type=fact.method_type,
        last4=new.last4,
        brand=new.brand,
        expiry_month=month,
        expiry_year=year,
        par=new.par,
        details=json.dumps(dict(new.details)) if new.details else None,
    )


def fact_report_digest(fact_id: FactId, stamp: Stamp) -> bytes:
    """What a report of a fact is found by."""
    old, new, scope = fact_id
    return _digest(old, new, write_scope(scope), stamp.vendor, stamp.update_id)


def state_report_digest(key: Key, scope: Scope, stamp: Stamp) -> bytes:
    """What a report of a credential is found by."""
    return _digest(key, write_scope(scope), stamp.vendor, stamp.update_id)


def _digest(*values: str) -> bytes:
    # no text of PostgreSQL's has the character in between
    return blake2b("\0".join(values).encode(), digest_size=16).digest()


def read_fact_report(selected: Sequence[Any]) -> Fact:
    """The report of a row of `fact_reports`."""
    return _fact(FACT_REPORT.read(selected))


def write_state_report(key: Key, scope: Scope, stamp: Stamp, report: CredentialState) -> Values:
    """The row of `state_reports` for a report of a credential: all of it has the same stamp."""
    year, month = report.expiry.value if report.expiry else _NO_EXPIRY
    details: dict[str, object] = {name: detail.value for name, detail in report.details.items()}
    if report.cards:
        details[_CARDS] = [[*card] for card in report.cards]
    return STATE_REPORT.row(
        digest=state_report_digest(key, scope, stamp),
        key=key,
        scope=write_scope(scope),
        vendor=stamp.vendor,
        update_id=stamp.update_id,
        occurred_at=stamp.occurred_at,
        status=report.status.value if report.status else None,
        expiry_month=month,
        expiry_year=year,
        details=json.dumps(details) if details else None,
    )


def read_state_report(selected: Sequence[Any]) -> tuple[Key, Scope, Stamp, CredentialState]:
    """The credential, the customer, the stamp and the report of a row of `state_reports`."""
    row = STATE_REPORT.read(selected)
    stamp = Stamp(row.occurred_at, row.vendor, row.update_id)
    details = {} if row.details is None else json.loads(row.details)
    cards = details.pop(_CARDS, ())
    report = CredentialState(
        None if row.status is None else Dated(MethodStatus[row.status], stamp),
        None if row.expiry_year is None else Dated(Expiry(row.expiry_year, row.expiry_month), stamp),
        {name: Dated(value, stamp) for name, value in details.items()},
        {CardFace(vendor, last4, brand, Expiry(*expiry)): stamp for vendor, last4, brand, expiry in cards},
    )
    return row.key, read_scope(row.scope), stamp, report


def write_scope(scope: Scope) -> str:
    return json.dumps(scope, ensure_ascii=False) if scope else ""


def read_scope(written: str) -> Scope:
    return _scope(json.loads(written)) if written else ()


def _scope(written: Iterable[Sequence[str]]) -> Scope:
    return tuple((name, value) for name, value in written)


def _write_expiry(expiry: Dated[Expiry]) -> str:
    return json.dumps([expiry.value, *_write_stamp(expiry.stamp)])


def _read_expiry(written: str) -> Dated[Expiry]:
    (year, month), *stamp = json.loads(written)
    return Dated(Expiry(year, month), _read_stamp(*stamp))


# A key beside the details, none of which has this name: [[vendor, last4, brand, [year, month], occurred at, …]].
_CARDS = "cards"


def _write_details(state: CredentialState) -> str:
    written: dict[str, object] = {
        name: [detail.value, *_write_stamp(detail.stamp)] for name, detail in state.details.items()
    }
    if state.cards:
        written[_CARDS] = [[*card, *_write_stamp(stamp)] for card, stamp in state.cards.items()]
    return json.dumps(written)


def _read_details(written: str) -> tuple[dict[str, Dated[object]], dict[CardFace, Stamp]]:
    details = json.loads(written)
    cards = details.pop(_CARDS, ())
    return (
        {name: Dated(value, _read_stamp(*stamp)) for name, (value, *stamp) in details.items()},
        {
            CardFace(vendor, last4, brand, Expiry(*expiry)): _read_stamp(*stamp)
            for vendor, last4, brand, expiry, *stamp in cards
        },
    )


def _write_stamp(stamp: Stamp) -> tuple[str, str, str]:
    return (stamp.occurred_at.isoformat(), stamp.vendor, stamp.update_id)


def _read_stamp(at: str, vendor: str, update_id: str) -> Stamp:
    return Stamp(datetime.fromisoformat(at), vendor, update_id)
