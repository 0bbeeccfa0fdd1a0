"""Alerts as JSON, by HTTPS POST (RFC 9110) to the one host that was named: no redirect, no proxy, one deadline."""

import json
import re
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archive.audit.detection.notify import Notice
from archive.errors import SettingsInvalid
from auth.credential import Secret

_URL: Final = re.compile(
    r"https://(?P<authority>(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<target>/[\x21\x22\x24-\x7e]*)?"
)
"""No user name, no fragment, and nothing that could end a line."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (?P<status>[0-9]{3})[ \r]")
_STATUS_LINE: Final = 512
"""Bytes of an answer that are read; what follows the status does not matter."""


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """A section ``[[webhook]]``. Raises `SettingsInvalid` for a value that makes no sense."""

    url: str
    ca: Path | None = None
    """Whoever may vouch for the host; None: whom this system trusts."""
    authorization: Secret | None = None
    """The value of the Authorization field, in a file."""
    gather_seconds: float = 5.0
    deadline_seconds: float = 10.0

    def __post_init__(self) -> None:
        _parts(self.url)
        if self.authorization and re.fullmatch(rb"[\x20-\x7e]+", self.authorization.reveal()) is None:
            raise SettingsInvalid("webhook.authorization_file must hold one line of printable ASCII")
        check_times("webhook", self.gather_seconds, self.deadline_seconds)


def check_times(section: str, gather_seconds: float, deadline_seconds: float) -> None:
    """Raises `SettingsInvalid`: one of them is out of range."""
    if not 0 <= gather_seconds <= 3600:
        raise SettingsInvalid(f"{section}.gather_seconds must be from 0 to 3600")
    if not 0.1 <= deadline_seconds <= 60:
        raise SettingsInvalid(f"{section}.deadline_seconds must be from 0.1 to 60")


def trusting(section: str, ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later to a server whose name is in a certificate issued under ``ca``. Raises `SettingsInvalid`."""
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ValueError):
        raise SettingsInvalid(f"{section}.ca: {ca} cannot be read as certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Webhook:
    """Implements `archive.audit.detection.notify.Target`."""

    def __init__(self, config: WebhookConfig, ae_title: str) -> None:
        """Prepare; nothing is connected. Raises `SettingsInvalid`."""
        parts = _parts(config.url)
        self._host, self._port = parts["host"].strip("[]"), int(parts["port"] or 443)
        self._context = trusting("webhook", config.ca)
        self._ae_title = ae_title
        self.where = f"https://{self._host}:{self._port}"
        self.gather_seconds, self.deadline_seconds = config.gather_seconds, config.deadline_seconds
        self._head = [
            f"POST {parts['target'] or '/'} HTTP/1.1",
            f"Host: {parts['authority']}",
            "Content-Type: application/json",
            "Connection: close",
        ]
        if config.authorization is not None:
            self._head.append(f"Authorization: {config.authorization.reveal().decode('ascii')}")

    def deliver(self, notices: Sequence[Notice], left_out: int) -> None:
        """POST them; an answer of 200 to 299 is success. Raises `OSError`."""
        told = {"source": self._ae_title, "alerts": [notice.facts() for notice in notices], "left_out": left_out}
        body = json.dumps(told).encode("utf-8")
        head = "\r\n".join([*self._head, f"Content-Length: {len(body)}", "", ""])
        ends = time.monotonic() + self.deadline_seconds
        with (
            socket.create_connection((self._host, self._port), self.deadline_seconds) as plain,
            self._context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False) as connection,
        ):
            connection.settimeout(_left(ends))
            connection.do_handshake()
            connection.settimeout(_left(ends))
            connection.sendall(head.encode("ascii") + body)
            answer = b""
            while len(answer) < _STATUS_LINE and b"\n" not in answer:
                connection.settimeout(_left(ends))
                if not (piece := connection.recv(_STATUS_LINE)):
                    break
                answer += piece
        status = _STATUS.match(answer)
        if status is None:
            raise ConnectionError("the answer is not HTTP")
        if not status["status"].startswith(b"2"):
            raise ConnectionError(f"the answer is {status['status'].decode('ascii')}; redirects are not followed")


def _parts(url: str) -> re.Match[str]:
    parts = _URL.fullmatch(url)
    if parts is None or not 0 < int(parts["port"] or 443) < 65_536:
        raise SettingsInvalid("webhook.url must be an https URL without user name and fragment")
    return parts


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer within deadline_seconds")
    return left
