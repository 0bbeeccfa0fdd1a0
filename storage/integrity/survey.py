"""What there is at one level of a data set, and which of it may be signed (PS3.3 C.12.1.1.3.1.1)."""

from typing import Final

from storage.instance import Uncovered
from storage.integrity.element_events import (
    ELEMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_END,
    SEQUENCE_START,
    Event,
)
from storage.integrity.mac import (
    DIGITAL_SIGNATURES,
    HOLDS_UNKNOWN,
    MAC_PARAMETERS,
    NOT_SIGNABLE,
    UNKNOWN_VR,
    VR_UNKNOWN,
    signable,
)
from storage.integrity.mac_walk import Path
from storage.integrity.profiles import VERIFICATION_FLAG

_SIGNATURES: Final = (MAC_PARAMETERS, DIGITAL_SIGNATURES)


class Survey:
    """Consumes explicit VR little endian events and looks at the item at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: list[tuple[int, int]] = []
        """Where reading is: tag of each open sequence and number of its open or last item, -1 before the first."""
        self._open = 0
        """How many of them have an item open."""
        self._skipped = 0
        """Depth of an open signature sequence below the level, of which nothing counts; 0 if none."""
        self.signable: list[int] = []
        self.unsignable: list[Uncovered] = []
        """Signature sequences are not among them."""
        self.verified = False
        """Verification Flag (0040,A493) is VERIFIED."""

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Look at one window."""
        depth = len(self._path)
        for kind, tag, vr, _, value, end in events:
            if kind <= LARGE or kind in (SEQUENCE_START, PIXELS_START):
                if self._open >= depth and not self._skipped and tuple(self._at[:depth]) == self._path:
                    if len(self._at) == depth:
                        self._here(tag, vr, kind)
                        if tag == VERIFICATION_FLAG and kind == ELEMENT:
                            self.verified = window[value:end].strip(b" ") == b"VERIFIED"
                    elif tag in _SIGNATURES and kind == SEQUENCE_START:
                        self._skipped = len(self._at) + 1
                    elif vr in UNKNOWN_VR and kind != PIXELS_START:
                        self._within_unknown(self._at[depth][0])
                if kind in (SEQUENCE_START, PIXELS_START):
                    self._at.append((tag, -1))
            elif kind == ITEM_START:
                tag, number = self._at[-1]
                self._at[-1] = (tag, number + 1)
                self._open += 1
            elif kind == ITEM_END:
                self._open -= 1
            elif kind in (SEQUENCE_END, PIXELS_END):
                if self._skipped == len(self._at):
                    self._skipped = 0
                self._at.pop()

    def piece(self, data: memoryview) -> None:
        """Values do not matter."""

    def _here(self, tag: int, vr: bytes, kind: int) -> None:
        """An element of the level."""
        if tag in _SIGNATURES:
            self._skipped = len(self._at) + 1 if kind == SEQUENCE_START else 0
        elif not signable(tag):
            self.unsignable.append(Uncovered(tag, NOT_SIGNABLE))
        elif vr in UNKNOWN_VR and kind != PIXELS_START:
            self.unsignable.append(Uncovered(tag, VR_UNKNOWN))
        else:
            self.signable.append(tag)

    def _within_unknown(self, top: int) -> None:
        if self.signable and self.signable[-1] == top:
            self.signable.pop()
            self.unsignable.append(Uncovered(top, HOLDS_UNKNOWN))
