"""The VR of elements that came without one: private ones by their creator, standard ones that somebody called UN.

A signature over such elements can be checked only if their VR is known (PS3.3 C.12.1.1.3.1.2), and a dictionary may be
wrong. So it serves to check other people's signatures, never to make ours, and a check that fails on such an element
proves nothing: it is indeterminate.
"""

from dataclasses import dataclass, field
from typing import Final

from pydicom.datadict import private_dictionary_VR

from storage.integrity.element_events import (
    ELEMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    LARGE_FRAGMENT,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_END,
    SEQUENCE_START,
    Consumer,
    Event,
)
from storage.integrity.explicit_little import header
from storage.integrity.mac import UNKNOWN_VR
from storage.integrity.mac_walk import Path
from storage.integrity.value_representation import FORM, IMPLICIT_VR, MAX_SHORT, SHORT, US_OR_SS, rare_vr

_UNKNOWN: Final = b"UN"


def private_vr(creator: str, tag: int) -> bytes:
    """What the dictionary says of a private element of a creator; ``UN`` if nothing that is one VR of plain values."""
    try:
        vr = private_dictionary_VR(tag, creator).encode()
    except KeyError:
        return _UNKNOWN
    return vr if vr in FORM and vr != b"SQ" else _UNKNOWN


@dataclass(slots=True)
class _Level:
    path: Path
    creators: dict[int, str] = field(default_factory=dict)
    """(group, block) as group * 256 + block -> private creator (PS3.5 7.8.1)."""


class KnownRepresentations:
    """Stands between a reader of explicit VR little endian and a consumer, and gives UN elements a VR that is known."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._levels = [_Level(())]
        self._sequences: list[list[int]] = []
        """Tag of each open sequence and how many items of it have begun."""
        self.guessed: list[tuple[Path, int]] = []
        """Elements whose VR is a dictionary's: where, and which."""

    def covers_guesses(self, path: Path, tags: frozenset[int]) -> bool:
        """Whether some of them lie in the elements ``tags`` of the item at ``path``."""
        depth = len(path)
        return any(
            where[:depth] == path and (where[depth][0] if len(where) > depth else tag) in tags
            for where, tag in self.guessed
        )

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Retell one window; its bytes are copied only where something is renamed."""
        changed: dict[int, bytes] = {}
        for number, (kind, tag, vr, _, value, end) in enumerate(events):
            if kind in (SEQUENCE_START, PIXELS_START):
                self._sequences.append([tag, 0])
            elif kind in (SEQUENCE_END, PIXELS_END):
                self._sequences.pop()
            elif kind == ITEM_START:
                sequence = self._sequences[-1]
                self._levels.append(_Level((*self._levels[-1].path, (sequence[0], sequence[1]))))
                sequence[1] += 1
            elif kind == ITEM_END:
                self._levels.pop()
            elif kind == ELEMENT and tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
                creator = window[value:end].decode("latin-1").strip(" \0")
                self._levels[-1].creators[tag >> 16 << 8 | tag & 0xFF] = creator
            elif kind <= LARGE and vr in UNKNOWN_VR:
                known = self._known(tag, end - value if kind == ELEMENT else end)
                if known != _UNKNOWN:
                    changed[number] = known
                    self.guessed.append((self._levels[-1].path, tag))
        if changed:
            window, events = _renamed(window, events, changed)
        self._consumer.events(window, offset, events)

    def piece(self, data: memoryview) -> None:
        """Pass on."""
        self._consumer.piece(data)

    def _known(self, tag: int, length: int) -> bytes:
        if tag >> 16 & 1:
            block = tag >> 16 << 8 | (tag & 0xFFFF) >> 8
            found = private_vr(self._levels[-1].creators.get(block, ""), tag)
        else:
            found = IMPLICIT_VR.get(tag) or rare_vr(tag)
        if found in (US_OR_SS, b"SQ") or (FORM[found] == SHORT and length > MAX_SHORT):
            return _UNKNOWN
        return found


def _renamed(window: bytes, events: list[Event], vrs: dict[int, bytes]) -> tuple[bytes, list[Event]]:
    """The window with some headers written anew, and the events in it."""
    parts: list[bytes] = []
    told: list[Event] = []
    moved = copied = 0
    for number, (kind, tag, sent, start, value, end) in enumerate(events):
        vr, before = sent, moved
        if number in vrs:
            vr = vrs[number]
            head = header(tag, vr, end if kind == LARGE else end - value)
            parts += (window[copied:start], head)
            copied = value
            moved += len(head) - (value - start)
        after = end if kind in (LARGE, LARGE_FRAGMENT) else end + moved
        told.append((kind, tag, vr, start + before, value + moved, after))
    parts.append(window[copied:])
    return b"".join(parts), told
