"""Reports taken back: what is known as if they had not come.

A fact, or the state of a credential, is what its reports make together. Those that one update alone reported name that
update in their stamps. From the second report on, all reports are kept one by one (`Knowledge.fact_reports`,
`Knowledge.state_reports`). So what remains without some of them is exact:

    reports that are left    the fact or the state
    all                      stays as it is
    some                     is made anew of these
    none                     is not known any more

That a person accepted a fact (`Fact.accepted`) holds as long as the fact is known, whoever reports it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from domain.knowledge import NOTHING_REPORTED, CredentialState, Fact, FactId, Knowledge, merge, unite
from domain.update import Scope, Stamp
from domain.wallet import Key


class Reports:
    """The reports of the facts and states that came more than once."""

    def __init__(self) -> None:
        self._facts: dict[FactId, dict[Stamp, Fact]] = {}
        self._states: dict[tuple[Key, Scope], dict[Stamp, CredentialState]] = {}

    def add_fact(self, report: Fact) -> None:
        """Add one report of a fact."""
        self._facts.setdefault(report.id, {})[report.stamp] = report

    def add_state(self, key: Key, scope: Scope, stamp: Stamp, report: CredentialState) -> None:
        """Add one report of a credential."""
        self._states.setdefault((key, scope), {})[stamp] = report

    def of_fact(self, fact: Fact) -> dict[Stamp, Fact]:
        """All reports of a fact."""
        return {**fact.reports, **self._facts.get(fact.id, {})}

    def of_state(self, key: Key, scope: Scope, state: CredentialState) -> dict[Stamp, CredentialState]:
        """All reports of the state of a credential."""
        return {**state.reports, **self._states.get((key, scope), {})}


class TakenBack(NamedTuple):
    """What was taken back: reports of facts and of states.

    `forgotten` are the facts that no report is left of, `narrowed` those of which a credential has lost a name; both as
    they were.
    """

    fact_reports: Sequence[tuple[FactId, Stamp]] = ()
    state_reports: Sequence[tuple[Key, Scope, Stamp]] = ()
    forgotten: Sequence[Fact] = ()
    narrowed: Sequence[Fact] = ()


def take_back(knowledge: Knowledge, reports: Reports, stamps: Collection[Stamp], keys: Iterable[Key]) -> TakenBack:
    """Take the reports with these stamps, as far as they are about `keys`, back from `knowledge`.

    `reports` has those of the facts that lead from `keys`, and of the states of `keys`. What changed counts as
    reported, so that it is written.
    """
    keys = list(keys)
    facts = take_back_facts(knowledge, reports, stamps, keys)
    return facts._replace(state_reports=_take_back_states(knowledge, reports, stamps, keys))


def take_back_facts(
    knowledge: Knowledge, reports: Reports, stamps: Collection[Stamp], keys: Iterable[Key]
) -> TakenBack:
    """As `take_back`, of replacement facts alone: what was reported of a status, an expiry or a detail stays."""
    taken_back: list[tuple[FactId, Stamp]] = []
    forgotten: list[Fact] = []
    narrowed: list[Fact] = []
    for fact in {fact.id: fact for key in keys for fact in knowledge.facts_from(key)}.values():
        of_fact = reports.of_fact(fact)
        withdrawn = [stamp for stamp in of_fact if stamp in stamps]
        if not withdrawn:
            continue
        taken_back += [(fact.id, stamp) for stamp in withdrawn]
        remaining = fact_of(of_fact, without=stamps)
        if remaining is None:
            forgotten.append(fact)
            knowledge.forget_fact(fact.id)
        else:
            if (remaining.old, remaining.new) != (fact.old, fact.new):
                narrowed.append(fact)
            knowledge.add_fact(remaining._replace(accepted=fact.accepted))
            knowledge.reported_facts.add(fact.id)
    return TakenBack(taken_back, (), forgotten, narrowed)


def _take_back_states(
    knowledge: Knowledge, reports: Reports, stamps: Collection[Stamp], keys: Iterable[Key]
) -> list[tuple[Key, Scope, Stamp]]:
    taken_back: list[tuple[Key, Scope, Stamp]] = []
    states = [(key, *of_key) for key in keys for of_key in knowledge.states.get(key, {}).items()]
    for key, scope, state in states:
        of_state = reports.of_state(key, scope, state)
        withdrawn = [stamp for stamp in of_state if stamp in stamps]
        if withdrawn:
            taken_back += [(key, scope, stamp) for stamp in withdrawn]
            knowledge.add_state(key, scope, state_of(of_state, without=stamps))
            knowledge.reported_states.add((key, scope))
    return taken_back


def fact_of(reports: Mapping[Stamp, Fact], *, without: Collection[Stamp] = ()) -> Fact | None:
    """The fact that these reports make together, the earliest first; None if none is left."""
    remaining = [reports[stamp] for stamp in sorted(reports) if stamp not in without]
    return reduce(unite, remaining) if remaining else None


def state_of(reports: Mapping[Stamp, CredentialState], *, without: Collection[Stamp] = ()) -> CredentialState:
    """The state that these reports make together."""
    remaining = [reports[stamp] for stamp in sorted(reports) if stamp not in without]
    return reduce(merge, remaining, NOTHING_REPORTED)
