"""A person's judgement of an update that waits: what it says is true of a wallet after all, or it never applies.

    the update waits because          --to WALLET                        --accept
    OWNER_MISMATCH                    it is about that wallet's          it is about every customer
                                      customer
    TYPE_CONFLICT, ACCOUNT_CONFLICT   it is followed in that wallet      it is followed in every wallet
                                      in spite of the conflict           in spite of the conflict

Both together: it is about that wallet's customer, and is followed there in spite of a conflict. What does not wait, or
waits for a reason that no judgement can remove, is not released.

A merge (AMBIGUOUS_CUSTOMER) is done with every wallet of the customer that it names as former: into WALLET, one of
those of the other customer, or into the only one.

A release changes nothing but the knowledge: who the update is about, and in whose wallets its fact is accepted. The
wallets are then resolved as after any update.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from domain.account import Conflict
from domain.decide import Decision, Merge, Verdict, WaitingUpdate, decide, decide_merge, named_wallets
from domain.knowledge import CredentialState, Fact, FactId, Knowledge
from domain.retraction import Reports, TakenBack, take_back
from domain.update import Credential, Outcome, Scope
from domain.wallet import Key, MethodId, Wallet, WalletId

DISCARDED = Verdict(Outcome.IGNORED, "DISCARDED")
"""The outcome of an update that a person discarded."""

_OWNER_MISMATCH, _ID_REUSED, _VENDOR_PAUSED = "OWNER_MISMATCH", "ID_REUSED", "VENDOR_PAUSED"
_CONFLICTS = frozenset(conflict.value for conflict in Conflict)
_WAIT = (Outcome.PARKED, Outcome.QUARANTINED)


class Obstacle(Enum):
    """Why an update cannot be released as a person asked for it."""

    NOT_WAITING = "it does not wait for anything"
    HELD = "its vendor is paused; it is taken in when the vendor is resumed (`repoint vendors resume`)"
    PARKED = "no wallet knows its credential; it is resolved as soon as one comes to know it"
    ID_REUSED = "its id was used before, and its content was not kept: have the vendor send it under an id of its own"
    FORGOTTEN = "what it reported is not known any more: have the vendor send it again"
    NO_CHOICE = "expected --to WALLET or --accept"
    NO_CUSTOMER = "the wallet names no customer"
    NO_WALLET = "there is no such wallet"
    NOT_CONCERNED = "the wallet knows none of its credentials"
    NOT_NAMED = "the wallet is not of the customer that it merges into"
    SEVERAL_TARGETS = "the customer that it merges into has several wallets: expected --to WALLET"
    NO_TARGET = "no wallet is of the customer that it merges into"
    NO_SOURCE = "no wallet is left of the customer that it merges"
    TOO_MANY_WALLETS = "more wallets know its credential than one transaction changes"
    STILL_QUARANTINED = "it would be quarantined all the same"


class Choice(NamedTuple):
    """What a person decided: the wallet that the update is about, and whether it counts in spite of a conflict."""

    to: Wallet | None = None
    accept: bool = False


class Correction(NamedTuple):
    """What a release changes of an update.

    `customer`: whom it is about; None: whom it names itself. `accepted`: in whose wallets a conflict does not count.
    """

    customer: Scope | None = None
    accepted: frozenset[Scope] = frozenset()


def judge(reason: str | None, choice: Choice) -> Correction | Obstacle:
    """What `choice` means for an update that waits for `reason`."""
    if choice.to is None and not choice.accept:
        return Obstacle.NO_CHOICE
    customer = () if choice.to is None else tuple(sorted(choice.to.customer.identities))
    if choice.to is not None and not customer:
        return Obstacle.NO_CUSTOMER
    if reason == _OWNER_MISMATCH:
        both = choice.to is not None and choice.accept
        return Correction(customer, frozenset((customer,)) if both else frozenset())
    if reason in _CONFLICTS:
        return Correction(accepted=frozenset((customer,)))
    return Obstacle.ID_REUSED if reason == _ID_REUSED else Obstacle.NOT_WAITING


def judge_merge(update: WaitingUpdate, choice: Choice, wallets: Iterable[Wallet]) -> Merge | Obstacle:
    """What `choice` means for a merge. `wallets` are those of both customers."""
    wallets = list(wallets)
    targets = named_wallets(update.merge_into, wallets)
    if choice.to is not None:
        if choice.to.id not in targets:
            return Obstacle.NOT_NAMED
        targets = [choice.to.id]
    if len(targets) != 1:
        return _without_target(targets, choice)
    sources = [source for source in named_wallets(update.merge_from, wallets) if source != targets[0]]
    return Merge(tuple(sources), targets[0]) if sources else Obstacle.NO_SOURCE


def _without_target(targets: list[WalletId], choice: Choice) -> Obstacle:
    if not targets:
        return Obstacle.NO_TARGET
    return Obstacle.SEVERAL_TARGETS if choice.accept else Obstacle.NO_CHOICE


class Judged(NamedTuple):
    """What becomes of an update by a judgement, of the wallets, and of what it reported."""

    verdict: Verdict
    decision: Decision
    taken_back: TakenBack = TakenBack()


class Known(NamedTuple):
    """What a judgement is decided by.

    `wallets` know the update's credential, or are of the customers that a merge names. `reports` are those about its
    credential. `waiting` are other updates that wait. `name` is as in `domain.decide.decide`.
    """

    wallets: Sequence[Wallet]
    knowledge: Knowledge
    reports: Reports
    waiting: Sequence[WaitingUpdate]
    name: Callable[[WalletId, Key], MethodId]


def release(update: WaitingUpdate, verdict: Verdict, choice: Choice, known: Known) -> Judged | Obstacle:
    """Apply an update that has waited with `verdict`, as a person chose. The knowledge learns what that means."""
    if verdict.outcome not in _WAIT:
        return Obstacle.NOT_WAITING
    if update.merge_from:
        return _release_merge(update, choice, known)
    if verdict.outcome is Outcome.PARKED:
        return Obstacle.HELD if verdict.reason == _VENDOR_PAUSED else Obstacle.PARKED
    if verdict.reason != _ID_REUSED and not update.keys:
        return Obstacle.FORGOTTEN
    correction = judge(verdict.reason, choice)
    if isinstance(correction, Obstacle):
        return correction
    if choice.to is not None and choice.to.id not in {wallet.id for wallet in known.wallets}:
        return Obstacle.NOT_CONCERNED
    applied = correct(known.knowledge, known.reports, update, correction)
    if isinstance(applied, Obstacle):
        return applied
    released, taken_back = applied
    decision = decide((), known.wallets, known.knowledge, [released, *known.waiting], known.name)
    verdicts = {decided.inbox_id: verdict for decided, verdict in decision.waiting}
    verdict = verdicts.get(update.inbox_id, verdict)
    if verdict.outcome in _WAIT:
        return Obstacle.STILL_QUARANTINED
    return Judged(verdict, decision, taken_back)


def _release_merge(update: WaitingUpdate, choice: Choice, known: Known) -> Judged | Obstacle:
    merge = judge_merge(update, choice, known.wallets)
    if isinstance(merge, Obstacle):
        return merge
    decision = decide_merge(merge, known.wallets, known.knowledge, known.waiting, known.name)
    return Judged(Verdict(Outcome.APPLIED), decision)


def discard(update: WaitingUpdate, verdict: Verdict, known: Known, *, is_original: bool) -> Judged | Obstacle:
    """Have an update that waits never apply. What it alone reported is not known any more.

    Only the first update with an id has reported anything.
    """
    if verdict.outcome not in _WAIT:
        return Obstacle.NOT_WAITING
    taken_back = TakenBack()
    if is_original and update.keys:
        taken_back = take_back(known.knowledge, known.reports, {update.stamp}, update.keys)
    decision = decide((), known.wallets, known.knowledge, known.waiting, known.name)
    return Judged(DISCARDED, decision, taken_back)


def correct(
    knowledge: Knowledge, reports: Reports, update: WaitingUpdate, correction: Correction
) -> tuple[WaitingUpdate, TakenBack] | Obstacle:
    """Bring a correction into `knowledge`. Return the update as it is then, and what was taken back.

    What the update reported of the customer whom it named is taken back where it is about another one.
    """
    facts, states = _reports_of(knowledge, reports, update)
    if not facts and not states:
        return Obstacle.FORGOTTEN
    taken_back = TakenBack()
    if correction.customer is not None and correction.customer != update.scope:
        taken_back = take_back(knowledge, reports, {update.stamp}, update.keys)
        facts = [fact._replace(scope=correction.customer) for fact in facts]
        for fact in facts:
            knowledge.learn_fact(fact)
        for key, state in states:
            knowledge.learn_state(Credential(key), correction.customer, state)
        update = update._replace(scope=correction.customer)
    if correction.accepted:
        for fact in facts:
            knowledge.accept(fact.id, correction.accepted)
    return update, taken_back


def _reports_of(
    knowledge: Knowledge, reports: Reports, update: WaitingUpdate
) -> tuple[list[Fact], list[tuple[Key, CredentialState]]]:
    """What the update itself reported, as far as it is known: facts, and a state under each name of its credential."""
    facts: dict[FactId, Fact] = {}
    states: list[tuple[Key, CredentialState]] = []
    for key in update.keys:
        for fact in knowledge.facts_from(key):
            of_fact = reports.of_fact(fact)
            if update.stamp in of_fact:
                facts[fact.id] = of_fact[update.stamp]
        for scope, state in knowledge.states.get(key, {}).items():
            of_state = reports.of_state(key, scope, state)
            if update.stamp in of_state:
                states.append((key, of_state[update.stamp]))
    return list(facts.values()), states
