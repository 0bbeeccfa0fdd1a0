"""Around a provider whose work leaves the process: it may be silent, broken or gone, and nobody else shall notice.

Three things, each sufficient against one kind of trouble:

- a deadline for each call: the caller goes on at it, whatever the provider does;
- a bulkhead: a call that does not end keeps its place until it does, so that a dead directory holds at most so many
  threads, never one for each login;
- a circuit breaker (`auth.identity.breaker`): a provider that keeps not answering is not asked for a while.

What must never live here: a reason that repeats what the provider, or the peer, wrote.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, NoReturn, TypeGuard, TypeVar

from auth.credential import Credential, Username, UsernamePasscode
from auth.errors import AuthenticationFailed, ProviderUnavailable
from auth.identity.breaker import Attempt, Breaker
from auth.identity.chain import Provider, Verdict, Vouched
from auth.principal import NodeIdentity, Principal

QUEUE_SHARE: Final = 0.1
"""Part of the deadline that a call may wait for a place.

At 4 places and 5 s this is half a second, in which a directory that takes 50 ms serves 40 more logins: a ward's shift
change passes. Where the places are held by calls that hang, waiting is in vain, and each waiting login holds its
connection's thread and its place among the half-open connections; so the wait is a small part of the deadline."""

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Call(Generic[Answer]):
    """One question to the provider."""

    work: Callable[[], object]
    is_answer: Callable[[object], TypeGuard[Answer]]
    claimed: str | None
    attempt: Attempt = field(init=False)
    outcome: "Future[Answer | AuthenticationFailed]" = field(init=False, default_factory=Future)
    """Cancelled by a caller who does not wait any longer."""


class Guarded:
    """A `Provider` that asks another one. Shared by all associations; thread-safe; `close` it."""

    def __init__(self, provider: Provider, *, deadline_seconds: float, concurrent: int, breaker: Breaker) -> None:
        """Guard a provider.

        Args:
            provider: verifies; its calls run in threads of their own.
            deadline_seconds: for one call, waiting for a place included.
            concurrent: calls under way at one time, those past their deadline included.
            breaker: of this provider alone.
        """
        if deadline_seconds <= 0 or concurrent < 1:
            raise ValueError("a guarded provider has a deadline above 0 and at least one place")
        self._provider = provider
        self._deadline_seconds = deadline_seconds
        self._concurrent = concurrent
        self._breaker = breaker
        self._changed = threading.Condition()
        self._workers: set[threading.Thread] = set()
        self._closed = False

    @property
    def name(self) -> str:
        """The provider's own."""
        return self._provider.name

    @property
    def identity_types(self) -> frozenset[int]:
        """The provider's own."""
        return self._provider.identity_types

    @property
    def under_way(self) -> int:
        """Calls that have not ended, those past their deadline included."""
        with self._changed:
            return len(self._workers)

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """What the provider says, if it does by the deadline.

        Raises:
            ProviderUnavailable: it did not, is busy, or is not asked for a while.
            AuthenticationFailed: what the provider raised; or it broke, or what it said is no answer.
        """
        claimed = credential.name if isinstance(credential, Username | UsernamePasscode) else None
        return self._ask(_Call(lambda: self._provider.verify(credential, node), _is_judgement, claimed))

    def still(self, principal: Principal) -> Principal | None:
        """What the provider says, if it does by the deadline.

        Raises:
            ProviderUnavailable, AuthenticationFailed: as for `verify`.
        """
        return self._ask(_Call(lambda: self._provider.still(principal), _is_person_or_none, principal.name))

    def close(self) -> None:
        """Ask nothing more, and wait until the deadline for what is under way; idempotent.

        What hangs beyond it hangs in a daemonic thread, which holds up no exit of the process.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            workers = tuple(self._workers)
        end = time.monotonic() + self._deadline_seconds
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))

    def _ask(self, call: "_Call[Answer]") -> Answer:
        deadline = time.monotonic() + self._deadline_seconds
        # 1 A place, and leave to ask.
        self._begin(call)
        # 2 An answer by the deadline. The worker is not waited for any longer, and keeps its place.
        wait([call.outcome], max(0.0, deadline - time.monotonic()))
        if call.outcome.cancel():
            with self._changed:
                self._breaker.unavailable(call.attempt)
                self._changed.notify_all()
            self._refuse("did not answer in time", call.claimed)
        # 3 What came of it.
        outcome = call.outcome.result()
        if isinstance(outcome, AuthenticationFailed):
            raise outcome
        return outcome

    def _begin(self, call: "_Call[Answer]") -> None:
        with self._changed:
            # A place comes first: whoever waited for one may find the circuit open, and a probe never waits.
            free = self._changed.wait_for(
                lambda: self._closed or self._breaker.refuses or len(self._workers) < self._concurrent,
                self._deadline_seconds * QUEUE_SHARE,
            )
            if self._closed:
                self._refuse("is closed", call.claimed)
            if not free:
                self._refuse("is busy", call.claimed)
            attempt = self._breaker.begin()
            if attempt is None:
                self._refuse("has not been answering, and is not asked for a while", call.claimed)
            call.attempt = attempt
            # Daemonic, so that a hung call holds up no exit. One for each call: it costs a tenth of a millisecond, and
            # none is there when nobody asks.
            work = partial(copy_context().run, self._work, call)  # whoever follows the steps follows them there
            worker = threading.Thread(target=work, name=f"identity {self.name}", daemon=True)
            self._workers.add(worker)
            try:
                worker.start()
            except RuntimeError:
                self._workers.discard(worker)
                self._breaker.undecided(attempt)
                self._refuse("cannot be asked: no thread", call.claimed)

    def _work(self, call: "_Call[Answer]") -> None:
        judged = self._judged(call)
        tell, outcome = judged
        with self._changed:
            # In one step, so that nobody takes the place before the breaker knows what came of it. Where the caller
            # went at the deadline, the breaker was told then.
            if heard := call.outcome.set_running_or_notify_cancel():
                tell(call.attempt)
            self._workers.discard(threading.current_thread())
            self._changed.notify_all()
        if heard:
            call.outcome.set_result(outcome)

    def _judged(self, call: "_Call[Answer]") -> "tuple[Callable[[Attempt], None], Answer | AuthenticationFailed]":
        """What the breaker and the caller are told."""
        try:
            answer = call.work()
        # 1 A provider that says it cannot be asked, and 2 one that refuses, which is an answer.
        except ProviderUnavailable as refusal:
            return self._breaker.unavailable, refusal
        except AuthenticationFailed as refusal:
            return self._breaker.answered, refusal
        # 3 Whatever else it raises, a Rust panic included, is no verification. A credential may have been made to break
        # it, so this says nothing about whether the provider can be asked.
        except BaseException as error:  # noqa: BLE001  (told to the caller, by its kind alone)
            reason = f"{self.name} failed ({type(error).__name__})"
            return self._breaker.undecided, AuthenticationFailed(reason, claimed=call.claimed)
        # 4 An answer is one of those that there are.
        if not call.is_answer(answer):
            reason = f"{self.name} gave no answer that there is"
            return self._breaker.undecided, AuthenticationFailed(reason, claimed=call.claimed)
        return self._breaker.answered, answer

    def _refuse(self, what: str, claimed: str | None) -> NoReturn:
        raise ProviderUnavailable(f"{self.name} {what}", claimed=claimed)


def _is_judgement(answer: object) -> TypeGuard[Vouched | Verdict]:
    return isinstance(answer, Verdict) or (isinstance(answer, Vouched) and isinstance(answer.principal, Principal))


def _is_person_or_none(answer: object) -> TypeGuard[Principal | None]:
    return answer is None or isinstance(answer, Principal)
