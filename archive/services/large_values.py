"""Values that are too large for the index, read from the objects themselves for those answers that hold them.

Every byte of such an object is verified before a value of it leaves, as if it were retrieved.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Protocol

from storage.index.columns import BY_TAG, CHARACTER_SET
from storage.index.elements import BULK, VALUE, member
from storage.index.finding import Match
from storage.index.matching import FindQuery
from storage.index.text import DEFAULT_REPERTOIRE, repertoire
from storage.instance import StoredInstance
from storage.integrity.header import large_elements
from storage.transfer_syntax import transfer_syntax


class OutgoingObject(Protocol):
    """What is asked of `storage.outgoing.OutgoingBytes`."""

    def chunks(self) -> Iterator[bytes]:
        """The data set, in its transfer syntax."""

    def close(self) -> None:
        """Release the object."""


class ObjectStore(Protocol):
    """What is asked of `storage.repository.Repository`."""

    def open(self, stored: StoredInstance, syntax: str) -> OutgoingObject:
        """Verify every byte of an object, and give it out in a transfer syntax. Raises `StorageError`."""


class Speakers(Protocol):
    """What is asked of `storage.index.reader.IndexReader`."""

    def speaker(self, match: Match) -> StoredInstance | None:
        """The object that says what a match says."""


class LargeValues:
    """Fills in what the index only knows to be there."""

    def __init__(self, reader: Speakers, objects: ObjectStore) -> None:
        self._reader = reader
        self._objects = objects

    def read(self, query: FindQuery, pages: Iterator[list[Match]]) -> Iterator[list[Match]]:
        """The same pages, complete. Raises `StorageError` where an object is not what was stored."""
        places = [at for at, tag in enumerate(query.returned) if tag not in BY_TAG]
        if not places:
            yield from pages
            return
        for page in pages:
            for match in page:
                missing = [at for at in places if match.row[at] is not None and BULK in match.row[at]]
                if missing:
                    match.row = self._completed(query, match, missing)
            yield page

    def _completed(self, query: FindQuery, match: Match, missing: list[int]) -> list[Any]:
        row = list(match.row)
        stored = self._reader.speaker(match)
        found = self._elements(stored, {query.returned[at] for at in missing}) if stored is not None else {}
        for at in missing:
            tag = query.returned[at]
            element = found.get(tag)
            wanted = query.sequences.get(tag)
            if element is not None and wanted is not None:
                element = {**element, VALUE: wanted.of(element.get(VALUE, []))}
            row[at] = element
        return row

    def _elements(self, stored: StoredInstance, tags: set[int]) -> dict[int, dict[str, Any]]:
        with closing(self._objects.open(stored, stored.transfer_syntax)) as outgoing:
            found = large_elements(outgoing.chunks(), transfer_syntax(stored.transfer_syntax), {*tags, CHARACTER_SET})
        _, terms = found.get(CHARACTER_SET, (b"CS", b""))
        encodings = repertoire(terms) if isinstance(terms, bytes) and terms else DEFAULT_REPERTOIRE
        return {
            tag: member(vr, value, encodings) for tag, (vr, value) in found.items() if tag in tags and value is not None
        }
