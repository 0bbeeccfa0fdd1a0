"""Processes that examine Kerberos tokens (`kerberos_worker`): asked under a deadline, and replaced before they grow.

Whatever a worker does other than answer the question in time is a refusal: that it ends, hangs, breaks off, answers
something else. It is killed then, and never asked again.
"""

import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from auth.errors import ProviderMisconfigured, ProviderUnavailable
from auth.identity.kerberos_worker import (
    ANSWER_HEAD,
    LENGTH,
    MAX_MESSAGE_BYTES,
    NONCE_BYTES,
    Accepted,
    Outcome,
    Readiness,
    Refused,
    Unavailable,
    receive,
)

_NOT_READY = {
    Readiness.NO_LIBRARY: "pykerberos is not installed: install `strongroom[kerberos]`",
    Readiness.NO_KEY: "the Kerberos keytab has no key of the service",
}


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker is run, and for how long it is kept."""

    program: Path
    service: str
    """``name@host``."""
    environment: Mapping[str, str] = field(repr=False)
    deadline_seconds: float
    """For one token, with the wait for a turn and the start of a worker."""
    tokens: int
    """After so many a worker is replaced, whatever it said of them."""
    refusals: int
    """After so many as well: pykerberos keeps 0.44 KiB of each."""


class Worker:
    """One process. Used by one thread at a time."""

    def __init__(self, settings: WorkerSettings, until: float) -> None:
        """Start it, and hear whether it can examine anything. ``until``: on the monotonic clock.

        Raises:
            ProviderMisconfigured: pykerberos or the service's key is missing.
            ProviderUnavailable: it does not come up.
        """
        self._tokens_left = settings.tokens
        self._refusals_left = settings.refusals
        self._channel, theirs = socket.socketpair()
        try:
            # -I: no module is taken from the working folder or the user's own, where one may be named `kerberos`.
            self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and file, no shell)
                [sys.executable, "-I", str(settings.program), settings.service, str(settings.deadline_seconds)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=settings.environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._channel.close()
            raise ProviderUnavailable("the Kerberos worker cannot be started") from error
        finally:
            theirs.close()
        try:
            readiness = Readiness(int.from_bytes(self._message(until)))
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise ProviderUnavailable("the Kerberos worker does not come up") from error
        if readiness is not Readiness.READY:
            self.end()
            raise ProviderMisconfigured(_NOT_READY[readiness])

    @property
    def usable(self) -> bool:
        """It runs, and has not had its share."""
        return self._tokens_left > 0 and self._refusals_left > 0 and self._process.poll() is None

    def ask(self, gss_token: bytes, until: float) -> Accepted:
        """Whose token it is. ``until``: on the monotonic clock.

        Raises:
            Refused: the token is not good.
            ProviderUnavailable: it was not judged.
        """
        self._tokens_left -= 1
        # An answer to anything but this very question must not vouch for this person.
        nonce = secrets.token_bytes(NONCE_BYTES)
        try:
            self._channel.settimeout(_remaining(until))
            self._channel.sendall(LENGTH.pack(NONCE_BYTES + len(gss_token)) + nonce + gss_token)
            return _judged(self._message(until), nonce)
        except Refused:
            self._refusals_left -= 1
            raise
        except Unavailable as error:
            self._refusals_left -= 1
            raise ProviderUnavailable("the Kerberos keytab or replay cache cannot be used") from error
        except TimeoutError as error:
            self.end()
            raise ProviderUnavailable("the Kerberos worker did not answer in time") from error
        except (OSError, EOFError) as error:
            self.end()
            raise ProviderUnavailable("the Kerberos worker broke off") from error
        except ValueError as error:
            self.end()
            raise ProviderUnavailable("the Kerberos worker answered nonsense") from error

    def end(self) -> None:
        """Kill it: it holds nothing that is not on disk already. Harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _message(self, until: float) -> bytes:
        (length,) = LENGTH.unpack(receive(self._channel, LENGTH.size, lambda: _remaining(until)))
        if length > MAX_MESSAGE_BYTES:
            raise ValueError("longer than any message")
        return receive(self._channel, length, lambda: _remaining(until))


class WorkerPool:
    """At most so many workers, started when they are needed. Shared by all associations; thread-safe."""

    def __init__(self, settings: WorkerSettings, size: int) -> None:
        """Start the first one, which shows that tokens can be examined at all.

        Raises:
            ProviderMisconfigured: pykerberos or the service's key is missing.
            ProviderUnavailable: it does not come up.
        """
        self._settings = settings
        self._turns = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._open = True
        self._idle = [Worker(settings, time.monotonic() + settings.deadline_seconds)]

    def ask(self, gss_token: bytes) -> Accepted:
        """Whose token it is.

        Raises:
            Refused: the token is not good.
            ProviderUnavailable: it was not judged.
        """
        until = time.monotonic() + self._settings.deadline_seconds
        if not self._turns.acquire(timeout=self._settings.deadline_seconds):
            raise ProviderUnavailable("too many Kerberos tokens are being examined")
        try:
            worker = self._taken() or self._started(until)
            try:
                return worker.ask(gss_token, until)
            finally:
                self._give_back(worker)
        finally:
            self._turns.release()

    def close(self) -> None:
        """End the workers; those that are examining a token end after it."""
        with self._lock:
            self._open = False
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def _taken(self) -> Worker | None:
        with self._lock:
            if not self._open:
                raise ProviderUnavailable("the Kerberos workers are stopped")
            worker = self._idle.pop() if self._idle else None
        if worker is None or worker.usable:
            return worker
        worker.end()
        return None

    def _started(self, until: float) -> Worker:
        try:
            return Worker(self._settings, until)
        except ProviderMisconfigured as error:
            raise ProviderUnavailable("the Kerberos library or key is gone") from error

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if self._open and worker.usable:
                self._idle.append(worker)
                return
        worker.end()


def _judged(answer: bytes, nonce: bytes) -> Accepted:
    """What a worker's answer says.

    Raises:
        Refused, Unavailable: it says so.
        ValueError: it is no answer to this question.
    """
    try:
        echo, outcome, error_number, length = ANSWER_HEAD.unpack_from(answer)
    except struct.error:
        raise ValueError("shorter than any answer") from None
    rest = answer[ANSWER_HEAD.size :]
    if echo != nonce:
        raise ValueError("an answer to another question")
    match Outcome(outcome):
        case Outcome.ACCEPTED if 0 < length <= len(rest):
            return Accepted(rest[:length].decode(), rest[length:])
        case Outcome.REFUSED if not rest:
            raise Refused(error_number)
        case Outcome.UNAVAILABLE if not rest:
            raise Unavailable
        case _:
            raise ValueError("an answer that contradicts itself")


def _remaining(until: float) -> float:
    """Seconds until then.

    Raises:
        TimeoutError: none.
    """
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
