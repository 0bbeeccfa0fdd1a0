"""Alerts as a mail (RFC 5321, RFC 5322), handed over under STARTTLS (RFC 3207) or not at all."""

import contextlib
import re
import smtplib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any, Final

from archive.audit.detection.notify import Notice
from archive.audit.detection.webhook import check_times, trusting
from archive.audit.log import now
from archive.errors import SettingsInvalid
from auth.credential import Secret

_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_HOST: Final = re.compile(r"[A-Za-z0-9.:-]{1,253}")
MAX_RECIPIENTS: Final = 20


@dataclass(frozen=True, slots=True)
class MailConfig:
    """A section ``[[mail]]``. Raises `SettingsInvalid` for a value that makes no sense."""

    host: str
    sender: str
    recipients: tuple[str, ...]
    port: int = 587
    ca: Path | None = None
    """Whoever may vouch for the host; None: whom this system trusts."""
    user: str = ""
    """Empty: the server takes mail of us without a login."""
    passcode: Secret | None = None
    gather_seconds: float = 60.0
    deadline_seconds: float = 10.0

    def __post_init__(self) -> None:
        if _HOST.fullmatch(self.host) is None:
            raise SettingsInvalid("mail.host must be a host name or an address")
        if not 0 < self.port < 65_536:
            raise SettingsInvalid("mail.port must be from 1 to 65535")
        if _ADDRESS.fullmatch(self.sender) is None:
            raise SettingsInvalid("mail.sender must be a mail address")
        good = all(_ADDRESS.fullmatch(address) for address in self.recipients)
        if not (good and 0 < len(self.recipients) <= MAX_RECIPIENTS):
            raise SettingsInvalid(f"mail.recipients must be 1 to {MAX_RECIPIENTS} mail addresses")
        if bool(self.user) != (self.passcode is not None):
            raise SettingsInvalid("mail.user and mail.passcode_file belong together: write both or none")
        check_times("mail", self.gather_seconds, self.deadline_seconds)


class Mail:
    """Implements `archive.audit.detection.notify.Target`."""

    def __init__(self, config: MailConfig, ae_title: str) -> None:
        """Prepare; nothing is connected. Raises `SettingsInvalid`."""
        self._config = config
        self._ae_title = ae_title
        self._context = trusting("mail", config.ca)
        self.where = f"mail by {config.host}:{config.port}"
        self.gather_seconds, self.deadline_seconds = config.gather_seconds, config.deadline_seconds

    def deliver(self, notices: Sequence[Notice], left_out: int) -> None:
        """Hand over one mail with all of them. Raises `OSError`; a server without STARTTLS gets nothing."""
        config = self._config
        with _Smtp(config.host, config.port, config.deadline_seconds) as server:
            server.starttls(context=self._context)
            if config.passcode is not None:
                server.login(config.user, config.passcode.reveal().decode("utf-8"))
            server.send_message(self._message(notices, left_out), config.sender, config.recipients)

    def _message(self, notices: Sequence[Notice], left_out: int) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = f"{self._ae_title}: {len(notices)} security alerts"
        message["From"] = self._config.sender
        message["To"] = ", ".join(self._config.recipients)
        message["Date"] = format_datetime(now())
        message["Message-ID"] = make_msgid(domain=self._config.sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer is wanted
        lines = [f"{notice.time:%Y-%m-%d %H:%M:%S %Z}  {notice.alert.description}" for notice in notices]
        if left_out:
            lines.append(f"{left_out} older ones were left out; the audit trail has them.")
        message.set_content("\n".join(lines) + "\n")
        return message


class _Smtp(smtplib.SMTP):
    """One conversation that ends by a deadline, however slowly the server talks."""

    def __init__(self, host: str, port: int, deadline_seconds: float) -> None:
        self._deadline = threading.Timer(deadline_seconds, self._cut)
        self._deadline.daemon = True
        self._deadline.start()
        try:
            super().__init__(host, port, timeout=deadline_seconds)
        except BaseException:
            self._deadline.cancel()
            raise

    def close(self) -> None:
        """End it."""
        self._deadline.cancel()
        super().close()

    def _cut(self) -> None:
        connection: Any = getattr(self, "sock", None)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
