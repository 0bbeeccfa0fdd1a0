"""The client's side of Kerberos for the lab: a passcode becomes a KRB_AP_REQ, and the service's answer is checked.

Spoken to MIT libkrb5 directly: its profile can be named per context, where the command line tools and GSS-API would
take realm, cache and clock from the environment of the whole process.
"""

import ctypes
import time
from ctypes import POINTER, byref, c_char_p, c_int32, c_uint, c_void_p
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from auth.identity.kerberos_tokens import gss_framed

LIBRARY = "libkrb5.so.3"
"""Of the Debian package libkrb5-3."""

_GSS_CHECKSUM_TYPE = 0x8003
_MUTUAL_FLAG = 0x02
_REPLAY_FLAG = 0x04
_USE_SUBKEY = 0x00000001
_MUTUAL_REQUIRED = 0x20000000
_CREDENTIALS_BYTES = 256
"""More than a krb5_creds has, whose first members alone matter here."""


class KerberosClientError(Exception):
    """Kerberos refuses; the text is libkrb5's."""


class _Data(ctypes.Structure):
    """krb5_data."""

    _fields_ = [("magic", c_int32), ("length", c_uint), ("data", c_void_p)]


class _Credentials(ctypes.Structure):
    """krb5_creds."""

    _fields_ = [
        ("magic", c_int32),
        ("client", c_void_p),
        ("server", c_void_p),
        ("rest", ctypes.c_byte * _CREDENTIALS_BYTES),
    ]


@dataclass
class LabTicket:
    """A person's service ticket. Each request made of it is a presentation of its own."""

    _session: "_Session" = field(repr=False)
    _credentials: c_void_p = field(repr=False)
    mutual: bool

    def present(self, *, clock_offset_seconds: int = 0) -> "Presentation":
        """A new request, as made by a machine whose clock is this far ahead."""
        return self._session.present(self._credentials, self.mutual, clock_offset_seconds)


@dataclass
class Presentation:
    """One KRB_AP_REQ, and what is needed to check the answer to it."""

    ap_req: bytes = field(repr=False)
    _session: "_Session" = field(repr=False)
    _exchange: c_void_p = field(repr=False)

    @property
    def gss_token(self) -> bytes:
        """The request as a GSS-API initial token."""
        return gss_framed(self.ap_req)

    def check_answer(self, ap_rep: bytes) -> None:
        """Check that a KRB_AP_REP was made by the service that the ticket is for, in answer to this request.

        Raises:
            KerberosClientError: it was not.
        """
        self._session.check_answer(self._exchange, ap_rep)


def request_ticket(
    config: Path,
    principal: str,
    passcode: str,
    service: str,
    *,
    mutual: bool = True,
    lifetime_seconds: int | None = None,
) -> LabTicket:
    """Sign in as a principal and get a ticket for a service principal, both with their realms.

    Raises:
        KerberosClientError: the realm refuses or cannot be reached.
        FileNotFoundError: libkrb5 is not installed.
    """
    session = _Session(config)
    return LabTicket(session, session.credentials(principal, passcode, service, lifetime_seconds), mutual)


class _Session:
    """One libkrb5 context. What it allocates lives as long as the process; a lab is short."""

    def __init__(self, config: Path) -> None:
        self._context = c_void_p()
        profile = c_void_p()
        if _library().profile_init_path(str(config).encode(), byref(profile)):
            raise KerberosClientError(f"{config} cannot be read")
        if _library().krb5_init_context_profile(profile, 0, byref(self._context)):
            raise KerberosClientError("libkrb5 cannot be set up")

    def credentials(self, principal: str, passcode: str, service: str, lifetime_seconds: int | None) -> c_void_p:
        client, server = self._principal(principal), self._principal(service)
        options = c_void_p()
        self._do("krb5_get_init_creds_opt_alloc", byref(options))
        if lifetime_seconds is not None:
            _library().krb5_get_init_creds_opt_set_tkt_life(options, lifetime_seconds)
        initial = _Credentials()
        self._do(
            "krb5_get_init_creds_password",
            *(byref(initial), client, passcode.encode(), None, None, 0, None, options),
        )
        cache_ = c_void_p()
        self._do("krb5_cc_new_unique", b"MEMORY", None, byref(cache_))
        self._do("krb5_cc_initialize", cache_, client)
        self._do("krb5_cc_store_cred", cache_, byref(initial))
        wanted = _Credentials(client=client, server=server)
        credentials = c_void_p()
        self._do("krb5_get_credentials", 0, cache_, byref(wanted), byref(credentials))
        return credentials

    def present(self, credentials: c_void_p, mutual: bool, clock_offset_seconds: int) -> Presentation:
        self._do("krb5_set_real_time", int(time.time()) + clock_offset_seconds, 0)
        exchange = c_void_p()
        self._do("krb5_auth_con_init", byref(exchange))
        self._do("krb5_auth_con_set_req_cksumtype", exchange, _GSS_CHECKSUM_TYPE)
        # RFC 4121 4.1.1: length of the bindings, no bindings, flags.
        flags = _REPLAY_FLAG | (_MUTUAL_FLAG if mutual else 0)
        checksum = (16).to_bytes(4, "little") + bytes(16) + flags.to_bytes(4, "little")
        request = _Data()
        self._do(
            "krb5_mk_req_extended",
            byref(exchange),
            _USE_SUBKEY | (_MUTUAL_REQUIRED if mutual else 0),
            byref(_data(checksum)),
            credentials,
            byref(request),
        )
        return Presentation(ctypes.string_at(request.data, request.length), self, exchange)

    def check_answer(self, exchange: c_void_p, ap_rep: bytes) -> None:
        content = c_void_p()
        self._do("krb5_rd_rep", exchange, byref(_data(ap_rep)), byref(content))

    def _principal(self, name: str) -> c_void_p:
        principal = c_void_p()
        self._do("krb5_parse_name", name.encode(), byref(principal))
        return principal

    def _do(self, function: str, *arguments: Any) -> None:
        code = getattr(_library(), function)(self._context, *arguments)
        if code:
            raise KerberosClientError(_library().krb5_get_error_message(self._context, code).decode())


def _data(content: bytes) -> _Data:
    # The array is kept by the pointer made of it, and that by the structure.
    array = ctypes.create_string_buffer(content, len(content))
    data = _Data(0, len(content), ctypes.cast(array, c_void_p))
    data.array = array
    return data


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise FileNotFoundError(f"{LIBRARY} is not installed: it comes with the Debian package libkrb5-3") from None
    library.krb5_get_error_message.argtypes = [c_void_p, c_int32]
    library.krb5_get_error_message.restype = c_char_p
    library.profile_init_path.argtypes = [c_char_p, POINTER(c_void_p)]
    library.krb5_set_real_time.argtypes = [c_void_p, c_int32, c_int32]
    library.krb5_get_init_creds_opt_set_tkt_life.argtypes = [c_void_p, c_int32]
    library.krb5_get_init_creds_opt_set_tkt_life.restype = None
    return library
