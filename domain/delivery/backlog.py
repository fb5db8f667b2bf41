"""How many deliveries a dispatcher claims of which endpoint, so that no endpoint keeps another one waiting.

Endpoints with due deliveries get equal shares of what the dispatcher can take. An endpoint never holds more than its
window (`domain.delivery.circuit`). All endpoints whose window is narrowed hold half of the connections together at
most: however many endpoints hang, the quick ones always have the other half. (Of fewer than four connections no window
is narrower than half of them, which is one.)
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from math import ceil

from domain.delivery.circuit import SLUGGISH, narrowed, widest, window_after
from domain.delivery.outcome import Outcome

# Deliveries claimed ahead for each connection: half of them keeps all connections busy during the next claim.
_CLAIMS_PER_CONNECTION = 8


class Backlog:
    """The endpoints that have deliveries due, and what this dispatcher holds of each endpoint.

    `outstanding` is the number of deliveries that are held: claimed, and not attempted yet.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._capacity = connections * _CLAIMS_PER_CONNECTION
        self._widest = widest(connections)
        # in the order of their turns; a dict, because its keys are an ordered set
        self._due: dict[str, None] = {}
        self._held: defaultdict[str, int] = defaultdict(int)
        # of the endpoints whose window is narrower than the widest
        self._windows: dict[str, int] = {}
        self._held_by_narrowed = 0
        self.outstanding = 0
        self._claim_again_at = 0

    # --- what is due ------------------------------------------------------------------------------------------------

    def list_due(self, endpoint_ids: Collection[str]) -> None:
        """Take over a complete list of the endpoints with due deliveries. Newly due ones come first."""
        listed = set(endpoint_ids)
        still = {id_: None for id_ in self._due if id_ in listed}
        self._due = {id_: None for id_ in endpoint_ids if id_ not in still} | still

    def add_due(self, endpoint_ids: Collection[str]) -> None:
        """Note that these endpoints have deliveries due. Those that were not known to have any come first."""
        if new := {id_: None for id_ in endpoint_ids if id_ not in self._due}:
            self._due = new | self._due

    # --- claims -----------------------------------------------------------------------------------------------------

    def quotas(self) -> dict[str, int]:
        """How many deliveries to claim of each endpoint, in the order of their turns; never zero of one."""
        free = self._capacity - self.outstanding
        share = ceil(free / max(1, len(self._due)))
        narrow = self._held_by_narrowed
        quotas = {}
        for id_ in self._due:
            room = self._room(id_)
            if id_ in self._windows:
                room = min(room, self._widest - narrow)
            if (quota := min(free, share, room)) > 0:
                quotas[id_] = quota
                free -= quota
                narrow += quota if id_ in self._windows else 0
        return quotas

    def claimed(self, quotas: Mapping[str, int], counts: Mapping[str, int]) -> None:
        """Note what a claim of `quotas` brought: `counts` of each endpoint.

        An endpoint that filled its quota may have more due, and takes its turn behind the others.
        """
        for id_, quota in quotas.items():
            self._due.pop(id_, None)
            if counts.get(id_) == quota:
                self._due[id_] = None
        for id_, count in counts.items():
            self.hold(id_, count)
        self._claim_again_at = (self.outstanding - self._held_by_narrowed) // 2

    def hold(self, endpoint_id: str, count: int = 1) -> None:
        """Note deliveries that were claimed without a quota: the next of a line, claimed when its head was recorded."""
        self._add_held(endpoint_id, count)

    def room_for_next(self, endpoint_id: str) -> int:
        """How many next deliveries of finished lines may be claimed outside of the turns of the endpoints.

        None while the endpoint has other deliveries due: those have waited longer.
        """
        if endpoint_id in self._due:
            return 0
        return max(0, min(self._room(endpoint_id), self._capacity - self.outstanding))

    def has_much_room(self) -> bool:
        """Whether a further claim may be large: half of what may be held is free."""
        return 2 * self.outstanding < self._capacity

    def release(self, endpoint_id: str) -> bool:
        """Note that one delivery is not held any more. Return whether it is time for the next claim.

        It is when an endpoint with due deliveries has none in hand, or when the quick endpoints have used up half of
        the latest claim. Waiting for that half makes claims large.
        """
        self._add_held(endpoint_id, -1)
        if not self._due:
            return False
        if endpoint_id in self._due and not self._held[endpoint_id]:
            return True
        return self.outstanding - self._held_by_narrowed <= self._claim_again_at

    # --- windows ----------------------------------------------------------------------------------------------------

    def narrow(self, endpoint_id: str) -> None:
        """Note that an attempt at the endpoint is under way for longer than SLUGGISH."""
        self._set_window(endpoint_id, narrowed(self._window(endpoint_id), self._connections))

    def answered(self, endpoint_id: str, outcome: Outcome, seconds: float) -> None:
        """Note how an attempt at the endpoint ended, and how long it took."""
        if outcome is Outcome.ACCEPTED and seconds <= SLUGGISH and endpoint_id not in self._windows:
            return  # nearly every attempt ends so
        window = window_after(self._window(endpoint_id), outcome, seconds, connections=self._connections)
        self._set_window(endpoint_id, window)

    def _window(self, endpoint_id: str) -> int:
        return self._windows.get(endpoint_id, self._widest)

    def _set_window(self, endpoint_id: str, window: int) -> None:
        held = self._held[endpoint_id]
        if self._windows.pop(endpoint_id, None) is not None:
            self._held_by_narrowed -= held
        if window < self._widest:
            self._windows[endpoint_id] = window
            self._held_by_narrowed += held

    def _room(self, endpoint_id: str) -> int:
        return self._window(endpoint_id) - self._held[endpoint_id]

    def _add_held(self, endpoint_id: str, count: int) -> None:
        self._held[endpoint_id] += count
        self.outstanding += count
        if endpoint_id in self._windows:
            self._held_by_narrowed += count
