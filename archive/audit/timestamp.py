"""Time stamps on checkpoints (RFC 3161): how they are kept, and what a file of them proves.

A token stamps the SHA-256 of a checkpoint's line, without a newline. A stamped line holds both:
``{"checkpoint":"<line>","token":"<base64 of the token, DER>"}``.
"""

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from archive.errors import TrailDamaged
from storage.integrity.timestamp import MAX_TOKEN_BYTES, Stamp, StampInvalid, StampVerifier


def stamped_line(line: str, stamp: Stamp) -> str:
    """A checkpoint's line with its stamp, without a newline."""
    token = base64.b64encode(stamp.token).decode("ascii")
    return json.dumps({"checkpoint": line, "token": token}, separators=(",", ":"))


def split_line(line: str) -> tuple[str, bytes | None]:
    """A checkpoint's line, and the token if it has one. What is no stamped line comes back as it is."""
    if len(line) > 4 * MAX_TOKEN_BYTES:
        return line, None
    with suppress(ValueError, RecursionError):
        match json.loads(line):
            case {"checkpoint": str(checkpoint), "token": str(token), **rest} if not rest:
                return checkpoint, base64.b64decode(token, validate=True)
    return line, None


@dataclass(frozen=True, slots=True)
class StampReport:
    """What a check of stamps found."""

    faults: tuple[str, ...] = ()
    newest: Stamp | None = None
    """Of those that hold."""
    line: str = ""
    """The checkpoint that it stamps."""
    unchecked: int = 0
    """Stamps, where no authority is trusted."""


def check_stamps(lines: Sequence[tuple[str, bytes | None]], verifier: StampVerifier | None) -> StampReport:
    """Check the stamps of checkpoints, as `split_line` gives them; ``verifier`` None: nobody is trusted."""
    faults: list[str] = []
    newest: Stamp | None = None
    stamped = ""
    unchecked = 0
    for number, (line, token) in enumerate(lines, 1):
        if token is None:
            continue
        if verifier is None:
            unchecked += 1
            continue
        try:
            stamp = verifier.kept(token, line.encode())
        except StampInvalid as error:
            faults.append(f"E{TrailDamaged.number} the time stamp of checkpoint {number} from elsewhere: {error}")
            continue
        if newest is None or stamp.time >= newest.time:
            newest, stamped = stamp, line
    return StampReport(tuple(faults), newest, stamped, unchecked)
