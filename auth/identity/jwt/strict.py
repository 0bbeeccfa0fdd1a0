"""Base64url and JSON with one reading only: what two parsers could read in two ways is refused. Pure."""

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")
MAX_CONTAINERS: Final = 500
"""Objects and arrays in one document, which bounds how deep they can lie in each other: key sets have some 300."""

JsonObject = Mapping[str, Any]


class Malformed(ValueError):
    """Not what it should be. The message is ours throughout and quotes nothing."""


def base64url(text: bytes) -> bytes:
    """What is encoded (RFC 7515 2: no padding, no line breaks, no white space; RFC 4648 3.5: unused bits are zero).

    Raises:
        Malformed: another spelling of the same bytes, or no spelling of any.
    """
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        raise Malformed("it is not base64url")
    data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text:
        raise Malformed("it is base64url with stray bits")
    return data


def json_object(data: bytes) -> JsonObject:
    """A JSON object (RFC 8259) in UTF-8, every name in it given once (RFC 7515 4), every number finite.

    Raises:
        Malformed: it is not one.
    """
    if data.count(b"{") + data.count(b"[") > MAX_CONTAINERS:
        raise Malformed("it has too many parts")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite
        )
        # Half a surrogate pair is a character that no encoding can write: what is a name here is none elsewhere.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except Malformed:
        raise
    except UnicodeError:
        raise Malformed("it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("it is not a JSON object")
    return value


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise Malformed("a name is in it twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed("a number in it is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise Malformed("a number in it is none")
