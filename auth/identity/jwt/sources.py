"""Where an issuer's keys come from, and how long they are believed: a file, or the issuer itself."""

import os
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from auth.errors import ProviderUnavailable
from auth.identity.jwt.https import MAX_DOCUMENT_BYTES, fetch
from auth.identity.jwt.keys import KeySet, VerificationKey, read_key_set
from auth.identity.jwt.strict import Malformed, json_object

Clock = Callable[[], datetime]


class KeySource(Protocol):
    """Keys of one issuer."""

    def key(self, key_id: str) -> VerificationKey:
        """The issuer's key of exactly this id, as it is published now.

        Raises:
            AuthenticationFailed: the issuer has none, or it is unfit.
            ProviderUnavailable: what the issuer has cannot be found out.
        """


class FileKeys:
    """Keys from a file that the operator keeps; read again whenever it changed. Thread-safe."""

    def __init__(self, path: Path, algorithms: frozenset[str]) -> None:
        """Raises `ProviderUnavailable`: the file cannot be read, or is refused."""
        self._path = path
        self._algorithms = algorithms
        self._lock = threading.Lock()
        self._held: tuple[tuple[int, int, int], KeySet] | None = None
        self._keys()

    def key(self, key_id: str) -> VerificationKey:
        """See `KeySource.key`."""
        return self._keys().named(key_id)

    def _keys(self) -> KeySet:
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    version = (status.st_mtime_ns, status.st_size, status.st_ino)
                    if self._held is not None and self._held[0] == version:
                        return self._held[1]
                    data = file.read(MAX_DOCUMENT_BYTES + 1)
            except OSError:
                raise ProviderUnavailable("the key file cannot be read") from None
            if len(data) > MAX_DOCUMENT_BYTES:
                raise ProviderUnavailable(f"the key file is larger than {MAX_DOCUMENT_BYTES} bytes")
            keys = read_key_set(data, self._algorithms)
            self._held = (version, keys)
            return keys


class _Question:
    """One asking of the issuer, for which everybody who needs the answer waits."""

    def __init__(self, ends: float) -> None:
        self._answer: Future[KeySet] = Future()
        self.ends: Final = ends

    def answer(self, keys: KeySet) -> None:
        self._answer.set_result(keys)

    def fail(self, reason: str) -> None:
        self._answer.set_exception(ProviderUnavailable(reason))

    def result(self) -> KeySet:
        """Raises `ProviderUnavailable`: no answer, or none before the deadline."""
        try:
            return self._answer.result(max(0.0, self.ends - time.monotonic()))
        except ProviderUnavailable as error:
            raise ProviderUnavailable(error.reason) from None
        except TimeoutError:
            raise ProviderUnavailable("the issuer does not answer in time") from None


class IssuerKeys:
    """Keys that the issuer publishes (OpenID Connect Discovery 4, RFC 8414 3), kept for a while. Thread-safe.

    The issuer is asked by a thread of ours, at most one at a time and at most once per interval: whoever presents
    tokens can neither make us flood it, nor, if it hangs, hang more than that one thread.
    """

    def __init__(
        self,
        discovery: str,
        issuer: str,
        context: ssl.SSLContext,
        algorithms: frozenset[str],
        *,
        cache_seconds: float,
        interval_seconds: float,
        deadline_seconds: float,
        clock: Clock,
    ) -> None:
        self._discovery = discovery
        self._issuer = issuer
        self._context = context
        self._algorithms = algorithms
        self._cache = timedelta(seconds=cache_seconds)
        self._interval = timedelta(seconds=interval_seconds)
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[datetime, KeySet] | None = None
        self._asked: datetime | None = None
        self._question: _Question | None = None

    def key(self, key_id: str) -> VerificationKey:
        """See `KeySource.key`. An unknown id, and keys past their time, make us ask the issuer."""
        now = self._clock()
        with self._lock:
            keys = self._held[1] if self._held is not None and _within(self._held[0], now, self._cache) else None
            if keys is not None and key_id in keys:
                return keys.named(key_id)
            question = self._question or self._ask(now)
        if keys is None:
            if question is None:
                raise ProviderUnavailable("the issuer gave no keys when it was asked a moment ago")
            return question.result().named(key_id)
        # With current keys at hand the issuer's silence is no reason to distrust them: the id is not among them.
        try:
            return (question.result() if question is not None else keys).named(key_id)
        except ProviderUnavailable:
            return keys.named(key_id)

    def _ask(self, now: datetime) -> _Question | None:
        """Begin to ask, unless that was done a moment ago; called with the lock held."""
        if self._asked is not None and _within(self._asked, now, self._interval):
            return None
        self._asked = now
        self._question = question = _Question(time.monotonic() + self._deadline_seconds)
        threading.Thread(target=self._fetch, args=(question, now), name="jwt-keys", daemon=True).start()
        return question

    def _fetch(self, question: _Question, now: datetime) -> None:
        try:
            keys = self._published(question.ends)
        except ProviderUnavailable as error:
            self._settle(None)
            question.fail(error.reason)
        except Exception as error:  # noqa: BLE001  (whatever it was, there are no keys)
            self._settle(None)
            question.fail(f"the issuer's keys cannot be fetched ({type(error).__name__})")
        else:
            self._settle((now, keys))
            question.answer(keys)

    def _settle(self, held: tuple[datetime, KeySet] | None) -> None:
        with self._lock:
            self._question = None
            self._held = held or self._held

    def _published(self, ends: float) -> KeySet:
        # 1 The issuer's description of itself is that issuer's (OpenID Connect Discovery 4.3, RFC 8414 3.3).
        try:
            description = json_object(fetch(self._discovery, self._context, ends))
        except Malformed as error:
            raise ProviderUnavailable(f"the issuer's description is refused: {error}") from None
        if description.get("issuer") != self._issuer:
            raise ProviderUnavailable("the issuer's description is of another issuer")
        # 2 Its keys, from where it says, under the same CA and what is left of the same deadline.
        location = description.get("jwks_uri")
        if not isinstance(location, str):
            raise ProviderUnavailable("the issuer does not say where its keys are")
        return read_key_set(fetch(location, self._context, ends), self._algorithms)


def _within(then: datetime, now: datetime, span: timedelta) -> bool:
    """Less than ``span`` ago. What is to come is not: a clock that was set back prolongs nothing."""
    return timedelta(0) <= now - then < span
