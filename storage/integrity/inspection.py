"""One pass over the bytes of a data set: what the index, the signature and the canonical digest need of it.

State stays below 4 MiB whatever the object: wanted values and small elements, one hash state per open question, the
tags at the top level.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.errors import DataSetLimitExceeded
from storage.instance import Inspection
from storage.integrity.canonical import CanonicalDigest
from storage.integrity.element_events import Event, StreamLimits
from storage.integrity.element_stream import ElementStream
from storage.integrity.explicit_little import ExplicitLittle
from storage.integrity.header import Header
from storage.integrity.inflate import Inflater
from storage.integrity.layout import Layout, SplicePoint
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS, SignableMac
from storage.transfer_syntax import TransferSyntax

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True, slots=True)
class Seal:
    """`Inspection.seal`: what a signer needs. The hash is copied before it is carried on."""

    mac: "_Hash"
    mac_ids: frozenset[int]
    mac_parameters: SplicePoint
    digital_signatures: SplicePoint


class _Digests:
    """What reads the data set as explicit VR little endian."""

    def __init__(self, limit: int) -> None:
        self.canonical = CanonicalDigest()
        self.mac = SignableMac()
        self._limit = limit

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        self.canonical.events(window, offset, events)
        self.mac.events(window, offset, events)
        if len(self.mac.signed) + len(self.mac.uncovered) > self._limit:
            raise DataSetLimitExceeded(f"more than {self._limit} elements at the top level")

    def piece(self, data: memoryview) -> None:
        self.canonical.piece(data)
        self.mac.piece(data)


class _All:
    """The digests, the layout and the header, told of the same events."""

    def __init__(self, digests: _Digests | ExplicitLittle, layout: Layout, header: Header) -> None:
        self._digests = digests
        self._layout = layout
        self._header = header

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        self._layout.events(window, offset, events)
        self._header.events(window, offset, events)
        self._digests.events(window, offset, events)

    def piece(self, data: memoryview) -> None:
        self._layout.piece(data)
        self._header.piece(data)
        self._digests.piece(data)


class DataSetInspector:
    """Reads a data set as it arrives, in pieces of any size; `finish` says what it was. Any error ends it."""

    def __init__(self, syntax: TransferSyntax, wanted: frozenset[int], limits: StreamLimits | None = None) -> None:
        """Begin a data set.

        Args:
            syntax: how its bytes are to be read.
            wanted: tags of the top-level elements whose values are kept apart; sequences never are.
            limits: bounds; the defaults of `StreamLimits` if None.
        """
        limits = limits or StreamLimits()
        big = not syntax.little_endian
        self._digests = _Digests(limits.top_level_elements)
        self._layout = Layout(wanted, big, limits)
        self._header = Header(wanted, big)
        plain = syntax.explicit and not big
        told = self._digests if plain else ExplicitLittle(self._digests, big)
        self._stream = ElementStream(syntax, _All(told, self._layout, self._header), limits)
        self._inflater = Inflater(limits) if syntax.deflated else None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Read on; the view is not kept.

        Raises:
            MalformedDataSet: this is not a data set in its transfer syntax.
            DataSetLimitExceeded: it crosses one of the limits.
        """
        if self._inflater is None:
            self._stream.feed(data)
            return
        for inflated in self._inflater.feed(data):
            self._stream.feed(inflated)

    def finish(self) -> Inspection:
        """The data set has ended.

        Raises:
            MalformedDataSet: it ended too early.
        """
        if self._inflater is not None:
            self._inflater.finish()
        self._stream.finish()
        layout, mac = self._layout, self._digests.mac
        layout.finish(self._stream.offset)
        mac.finish()
        return Inspection(
            values=layout.values,
            canonical_digest=self._digests.canonical.digest(),
            signed_tags=tuple(mac.signed),
            uncovered=tuple(mac.uncovered),
            signature_values=tuple(layout.signature_values),
            signed=layout.signed,
            length=self._stream.offset,
            others=self._header.elements,
            seal=Seal(
                mac=mac.hash,
                mac_ids=frozenset(layout.mac_ids),
                mac_parameters=layout.points[MAC_PARAMETERS],
                digital_signatures=layout.points[DIGITAL_SIGNATURES],
            ),
        )
