"""A process that takes objects in: one thread for each lane, which does for an archive what `intake` does.

It ends when the archive that it works for does, at once and whatever it is doing: what it has staged by then is known
to nobody, and the next start sweeps it.
"""

import logging
import mmap
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Final

from storage.errors import StorageError
from storage.health import Health
from storage.ingest.intake import IntakeHere, IntakeTools
from storage.ingest.messages import (
    LANE_BYTES,
    SLOT_BYTES,
    SLOTS,
    Fields,
    Inbox,
    Kind,
    LaneBroken,
    declared_of,
    encoded,
    failure_fields,
    received_fields,
    sealed_fields,
)
from storage.instance import ReceivedInstance

_LANE_FILES: Final = 2
"""What is sent for a lane: its stream and its memory."""
SWITCH_SECONDS: Final = 0.0005
_log = logging.getLogger(__name__)


def run_worker(control: socket.socket, make_tools: Callable[[], IntakeTools]) -> None:
    """Take lanes from ``control`` until it ends, and the process with it. Never returns."""
    sys.setswitchinterval(SWITCH_SECONDS)
    code = 1
    try:
        tools = make_tools()
        control.sendall(b"\1")
        while True:
            told, files, _, _ = socket.recv_fds(control, 1, _LANE_FILES)
            if not told:
                code = 0
                break
            stream, memory = files
            lane = _Lane(socket.socket(fileno=stream), memory, tools)
            threading.Thread(target=lane.run, name="lane", daemon=True).start()
    except BaseException:  # noqa: BLE001  (a forked process has no caller to tell)
        _log.exception("a process that takes objects in failed")
    finally:
        os._exit(code)


class _Lane:
    """One object after another, as they are announced."""

    def __init__(self, stream: socket.socket, memory: int, tools: IntakeTools) -> None:
        self._stream = stream
        self._inbox = Inbox(stream)
        self._memory = memoryview(mmap.mmap(memory, LANE_BYTES))
        os.close(memory)
        self._tools = tools
        self._intake: IntakeHere | None = None
        self._received: ReceivedInstance | None = None
        self._slot = 0

    def run(self) -> None:
        """Serve the lane until the other side closes it."""
        try:
            while True:
                kind, fields = self._inbox.next()
                answer = self._answer(kind, fields)
                if answer:
                    self._stream.sendall(answer)
                if kind is Kind.FINISH and self._intake is not None:
                    # The archive decides on the object meanwhile.
                    self._intake.sign_ahead()
        except (LaneBroken, OSError):
            pass
        finally:
            self._end()
            self._stream.close()

    def _answer(self, kind: Kind, fields: Fields) -> bytes:
        try:
            return self._done(kind, fields)
        except StorageError as error:
            failure = failure_fields(error)
        except (LaneBroken, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  (the lane goes on with the next object)
            _log.exception("an object could not be taken in")
            failure = failure_fields(StorageError(f"internal failure ({type(error).__name__})"))
        self._end()
        return encoded(Kind.FAILED, failure)

    def _done(self, kind: Kind, fields: Fields) -> bytes:
        if kind is Kind.BEGIN:
            self._end()
            self._slot = 0
            declared, object_id = declared_of(fields)
            self._intake = IntakeHere(self._tools, declared, object_id, Health())
            return b""
        if kind is Kind.DISCARD:
            self._end()
            return b""
        intake = self._intake
        if intake is None:
            # It has failed already, and what was on its way by then is of no use.
            return b""
        if kind is Kind.DATA:
            self._take(intake, fields["bytes"])
            return encoded(Kind.TAKEN)
        if kind is Kind.FINISH:
            self._take(intake, fields["bytes"])
            self._received = intake.finish()
            return encoded(Kind.RECEIVED, received_fields(self._received))
        if kind is Kind.SEAL and self._received is not None:
            sealed = intake.seal(self._received, fields["provenance"])
            # From here on it is the archive's.
            self._intake = self._received = None
            return encoded(Kind.SEALED, sealed_fields(sealed.content))
        raise LaneBroken(f"{kind.name} where it has no place")

    def _take(self, intake: IntakeHere, count: int) -> None:
        """The bytes of the next slot."""
        start = self._slot * SLOT_BYTES
        self._slot = (self._slot + 1) % SLOTS
        intake.write(self._memory[start : start + count])

    def _end(self) -> None:
        intake, self._intake, self._received = self._intake, None, None
        if intake is not None:
            intake.discard()
