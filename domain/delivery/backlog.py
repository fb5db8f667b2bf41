"""How many deliveries a dispatcher claims of which endpoint, so that no endpoint keeps another endpoint waiting.

A delivery is outstanding from its claim until its attempt has ended. Endpoints with due deliveries get equal shares of
what the dispatcher can take. An endpoint never has more deliveries outstanding than its window allows
(`domain.delivery.circuit`).

An endpoint is prompt if its latest attempt ended quickly, whatever its outcome. A new endpoint is not prompt. Together,
the endpoints that are not prompt have deliveries outstanding for half of the connections at most. However many of them
hang, the other half is left to the prompt endpoints. Only prompt endpoints that begin to hang at the same moment can
fill all connections, for as long as an attempt takes.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from math import ceil

from domain.delivery.circuit import SLUGGISH, narrow_window, widest_window, window_after
from domain.delivery.outcome import ACCEPTED, Outcome

# Deliveries claimed ahead for each connection: half of them keeps all connections busy during the next claim.
_CLAIMS_PER_CONNECTION = 8


class Backlog:
    """The endpoints that have deliveries due, and how many deliveries of each endpoint are outstanding.

    `outstanding` is the number for all endpoints together.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._capacity = connections * _CLAIMS_PER_CONNECTION
        self._widest_window = widest_window(connections)
        self._first_window = narrow_window(self._widest_window, connections)
        # in the order of their turns; a dict, because its keys are an ordered set
        self._due: dict[str, None] = {}
        self._due_since_look: dict[str, None] = {}
        self._outstanding_of: defaultdict[str, int] = defaultdict(int)
        # of the endpoints that have been attempted
        self._windows: dict[str, int] = {}
        self._prompt: set[str] = set()
        self._paused: set[str] = set()
        self._outstanding_not_prompt = 0
        self.outstanding = 0
        self._claim_again_at = 0

    # --- due endpoints ----------------------------------------------------------------------------------------------

    def begin_look(self) -> None:
        """Note that a look for endpoints with due deliveries begins."""
        self._due_since_look = {}

    def list_due(self, endpoint_ids: Collection[str]) -> None:
        """Take over what the look found. Newly due endpoints come first, with those added since the look began."""
        listed = {**self._due_since_look, **dict.fromkeys(endpoint_ids)}
        still = {id_: None for id_ in self._due if id_ in listed}
        self._due = {id_: None for id_ in listed if id_ not in still} | still

    def add_due(self, endpoint_ids: Collection[str]) -> None:
        """Note that these endpoints have deliveries due. Those that were not known to have any come first."""
        self._due_since_look.update(dict.fromkeys(endpoint_ids))
        if new := {id_: None for id_ in endpoint_ids if id_ not in self._due}:
            self._due = new | self._due

    # --- claims -----------------------------------------------------------------------------------------------------

    def quotas(self) -> dict[str, int]:
        """How many deliveries to claim of each endpoint, in the order of their turns. Those without room are left out.

        The endpoints are due no more, unless `note_claim` or `add_due` says so.
        """
        free = self._capacity - self.outstanding
        share = ceil(free / max(1, len(self._due)))
        not_prompt = self._outstanding_not_prompt
        # equal, too: 50 new endpoints that get one delivery each have all answered a moment later
        share_not_prompt = ceil((self._widest_window - not_prompt) / max(1, len(self._due.keys() - self._prompt)))
        quotas = {}
        for id_ in self._due:
            if id_ in self._paused:
                continue
            is_prompt = id_ in self._prompt
            room = self._room(id_, outstanding_not_prompt=not_prompt)
            if (quota := min(free, share if is_prompt else share_not_prompt, room)) > 0:
                quotas[id_] = quota
                free -= quota
                not_prompt += 0 if is_prompt else quota
        for id_ in quotas:
            del self._due[id_]
        return quotas

    def note_claim(self, quotas: Mapping[str, int], counts: Mapping[str, int]) -> None:
        """Note that a claim of `quotas` brought `counts` deliveries of each endpoint.

        An endpoint that filled its quota may have more due, and takes its turn behind the others.
        """
        self._due |= {id_: None for id_, quota in quotas.items() if counts.get(id_) == quota and id_ not in self._due}
        for id_, count in counts.items():
            self.add_outstanding(id_, count)
        self._claim_again_at = (self.outstanding - self._outstanding_not_prompt) // 2

    def add_outstanding(self, endpoint_id: str, count: int = 1) -> None:
        """Note that `count` more deliveries of the endpoint are outstanding."""
        self._outstanding_of[endpoint_id] += count
        self.outstanding += count
        if endpoint_id not in self._prompt:
            self._outstanding_not_prompt += count

    def room_for_next(self, endpoint_id: str) -> int:
        """How many next deliveries of finished lines may be claimed outside of the turns of the endpoints.

        Zero while the endpoint has other deliveries due: those have waited longer.
        """
        if endpoint_id in self._due:
            return 0
        room = self._room(endpoint_id, outstanding_not_prompt=self._outstanding_not_prompt)
        return max(0, min(room, self._capacity - self.outstanding))

    def has_much_room(self) -> bool:
        """Whether a further claim may be large: half of the capacity is free."""
        return 2 * self.outstanding < self._capacity

    def release(self, endpoint_id: str) -> bool:
        """Note that a delivery is not outstanding any more. Return whether it is time for the next claim.

        It is when an endpoint with due deliveries has none outstanding, or when the prompt endpoints have used up half
        of the latest claim. Waiting for that half makes claims large.
        """
        self.add_outstanding(endpoint_id, -1)
        if not self._due:
            return False
        if endpoint_id in self._due and not self._outstanding_of[endpoint_id]:
            return True
        return self.outstanding - self._outstanding_not_prompt <= self._claim_again_at

    # --- windows ----------------------------------------------------------------------------------------------------

    def narrow(self, endpoint_id: str) -> None:
        """Note that an attempt at the endpoint is under way for longer than SLUGGISH."""
        self._set_window(endpoint_id, narrow_window(self._window(endpoint_id), self._connections), is_prompt=False)

    def has_smallest_window(self, endpoint_id: str) -> bool:
        """Whether the window of the endpoint is a single delivery."""
        return self._window(endpoint_id) == 1

    def note_answer(self, endpoint_id: str, outcome: Outcome, seconds: float) -> None:
        """Note how an attempt at the endpoint ended, and how long it took."""
        is_prompt = seconds <= SLUGGISH
        former = self._window(endpoint_id)
        if is_prompt and outcome is ACCEPTED and former == self._widest_window and endpoint_id in self._prompt:
            return  # nearly every attempt ends so
        window = window_after(former, outcome, seconds, connections=self._connections)
        self._set_window(endpoint_id, window, is_prompt=is_prompt)

    # --- pauses -----------------------------------------------------------------------------------------------------

    def pause(self, endpoint_id: str) -> None:
        """Claim nothing of the endpoint until `resume`.

        It answered 410 or asked for a hold, which is not recorded yet; or a fault of our own keeps webhooks from it.
        """
        self._paused.add(endpoint_id)

    def resume(self, endpoint_id: str) -> None:
        """End the pause: from now on the database says whether the endpoint may be claimed of."""
        self._paused.discard(endpoint_id)

    def is_paused(self, endpoint_id: str) -> bool:
        """Whether the endpoint is paused."""
        return endpoint_id in self._paused

    # --- inside -----------------------------------------------------------------------------------------------------

    def _window(self, endpoint_id: str) -> int:
        return self._windows.get(endpoint_id, self._first_window)

    def _set_window(self, endpoint_id: str, window: int, *, is_prompt: bool) -> None:
        self._windows[endpoint_id] = window
        if is_prompt and endpoint_id not in self._prompt:
            self._prompt.add(endpoint_id)
            self._outstanding_not_prompt -= self._outstanding_of[endpoint_id]
        elif not is_prompt and endpoint_id in self._prompt:
            self._prompt.remove(endpoint_id)
            self._outstanding_not_prompt += self._outstanding_of[endpoint_id]

    def _room(self, endpoint_id: str, *, outstanding_not_prompt: int) -> int:
        room = self._window(endpoint_id) - self._outstanding_of[endpoint_id]
        return room if endpoint_id in self._prompt else min(room, self._widest_window - outstanding_not_prompt)
