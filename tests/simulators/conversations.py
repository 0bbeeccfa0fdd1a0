"""What a hostile or broken requestor may say: conversations that begin well, go deep, and go wrong somewhere.

Everything comes from one `random.Random`, so that a seed says a conversation again. Most mutations are inside what the
upper layer carries, so that a conversation reaches the services before it ends.
"""

import struct
import zlib
from itertools import chain
from random import Random

from tests.simulators.acceptor import ABORT, RELEASE_RP, RELEASE_RQ, cancel_command
from tests.simulators.memory_archive import encoded, image
from tests.simulators.scu import CT, IMPLICIT, STUDY_FIND, STUDY_GET, VERIFICATION, Requestor, User, command, identifier

EXPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
CONTEXTS = {
    1: (VERIFICATION, IMPLICIT),
    3: (STUDY_FIND, IMPLICIT),
    5: (STUDY_FIND, EXPLICIT),
    7: (STUDY_GET, IMPLICIT),
    9: (CT, EXPLICIT),
    11: (CT, IMPLICIT),
    13: (CT, BIG),
    15: (CT, DEFLATED),
    17: (CT, JPEG),
    19: (STUDY_MOVE, IMPLICIT),
}
_STORES = (9, 11, 13, 15, 17)
_LONGEST = 2_000
"""Of what is said in one data set; long ones only say more of the same."""
_INTERESTING = (
    b"\0",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff",
    b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff",
    b"\xfa\xff\xfa\xff",
    b"\x80",
    b"\\",
    b"*",
    b"../../",
)
_INSTANCE = b"1.2.3.1000.1000"
"""Of the objects that are sent; another of the same length is put in its place."""
_LEVELS = ("PATIENT", "SERIES", "IMAGE", "", "study")
_TAGS = (0x00080020, 0x00080030, 0x00080050, 0x00100010, 0x00100020, 0x0020000D, 0x00080060, 0x0020000E, 0x00080018)
"""Keys of a study, and three of what is below it."""
_VALUES = ("", "*", "1.2.1", "1.2.1\\1.2.2", "20000101-20300101", "-20300101", "DOE^J*", "P?", "CT", "x" * 70, "\xe4")


def mutated(rng: Random, data: bytes) -> bytes:
    """The bytes with one to four things wrong with them."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at % len(out)] = rng.randrange(256)
            case 2:
                out[at:at] = rng.choice(_INTERESTING)
            case 3:
                interesting = rng.choice(_INTERESTING)
                out[at : at + len(interesting)] = interesting
            case 4:
                del out[at : at + rng.choice((1, 2, 4, 8, 40))]
            case _:
                end = at + rng.choice((1, 2, 8, 60))
                out[at:at] = out[rng.randrange(len(out) + 1) : end]
    return bytes(out)


class Speaker:
    """Makes conversations, and data sets alone."""

    def __init__(self, seed: int, seeds: tuple[bytes, ...] = ()) -> None:
        """``seeds``: recorded conversations, PDU after PDU, that are mutated as well."""
        self.rng = Random(seed)
        self._instance = _INSTANCE
        users = (None, User(b"alice", b"secret"), User(b"bob", b"", 1))
        self._requests = {roles: [_request(user, roles) for user in users] for roles in ((), (CT,))}
        self._fetches = False
        self._data_sets = {syntax: _data_sets(syntax) for syntax in (EXPLICIT, IMPLICIT, BIG)}
        self._data_sets[DEFLATED] = [_deflated(data) for data in self._data_sets[EXPLICIT]]
        self._data_sets[JPEG] = [data + _FRAGMENTS for data in self._data_sets[EXPLICIT]]
        self._recorded = [_pdus(seed) for seed in seeds]

    def conversation(self) -> list[list[bytes]]:
        """Turns of PDUs, some of them none; the peer waits for an answer between two of them, or for nothing."""
        rng = self.rng
        if self._recorded and rng.random() < 0.1:
            return [[mutated(rng, pdu) if rng.random() < 0.2 else pdu] for pdu in rng.choice(self._recorded)]
        # A requestor that takes objects as their SCP sends none.
        self._fetches = rng.random() < 0.3
        request = rng.choice(self._requests[(CT,) if self._fetches else ()])
        turns = [[mutated(rng, request) if rng.random() < 0.05 else request]]
        for _ in range(rng.randrange(1, 30)):
            turns += self._message()
            if rng.random() < 0.01:
                turns[-1].append(self._odd_one())
        if rng.random() < 0.1:
            turn = rng.choice(turns)
            at = rng.randrange(len(turn))
            turn[at] = mutated(rng, turn[at])
        turns.append([rng.choice((RELEASE_RQ, RELEASE_RQ, ABORT, b"", RELEASE_RP))])
        if rng.random() < 0.05:
            # Everything at once: a peer that waits for nothing.
            return [list(chain.from_iterable(turns))]
        return turns

    def data_set(self) -> tuple[str, bytes]:
        """A transfer syntax, and bytes that may be a data set in it."""
        syntax = self.rng.choice((EXPLICIT, EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG))
        data = self.rng.choice(self._data_sets[syntax])
        if self.rng.random() < 0.9:
            data = mutated(self.rng, data)
        if syntax == DEFLATED and self.rng.random() < 0.7:
            data = _deflated(mutated(self.rng, self.rng.choice(self._data_sets[EXPLICIT])))
        return syntax, data

    def identifier(self, syntax: str) -> bytes:
        """Bytes that may be an identifier."""
        rng = self.rng
        level, tags = rng.choice((("STUDY", _TAGS[:-3]),) * 6 + tuple((odd, _TAGS) for odd in _LEVELS))
        keys = {0x00080052: level} | {tag: rng.choice(_VALUES) for tag in rng.sample(tags, rng.randrange(len(tags)))}
        head = "<HHL" if syntax == IMPLICIT else "<HH2sH"
        parts = []
        for tag, text in sorted(keys.items()):
            value = text.encode("latin-1") + b" " * (len(text) % 2)
            more = (len(value),) if syntax == IMPLICIT else (_vr(tag), len(value))
            parts.append(struct.pack(head, tag >> 16, tag & 0xFFFF, *more) + value)
        data = b"".join(parts)
        return mutated(rng, data) if rng.random() < 0.3 else data

    def command(self, field: int, context: int, *, data: bool, number: int | None = None) -> bytes:
        """Bytes that may be a command set; ``number`` is its message id, or the one that it answers."""
        rng = self.rng
        abstract = CONTEXTS[context][0]
        more = []
        if field in (0x01, 0x8001):
            uid = self._instance if rng.random() < 0.95 else rng.choice((b"1.2.840.99", b"../../x", b"", b"1.02"))
            more.append((0x1000, uid + b"\0" * (len(uid) % 2)))
        if number is None:
            number = rng.choice((1, 2, 3, 7, 65_535))
        if field == 0x21:
            more.append((0x600, rng.choice((b"WS1", b"NOWHERE ", b"", b"A\\B"))))
        identity = (0x120, struct.pack("<H", number)) if field & 0x8000 else (0x110, struct.pack("<H", number))
        status = [(0x900, rng.choice((b"\0\0", b"\0\0", b"\x24\x01", b"\0\xff")))] if field & 0x8000 else []
        elements = [
            (0x2, abstract.encode() + b"\0" * (len(abstract) % 2)),
            (0x100, struct.pack("<H", field)),
            identity,
            (0x800, b"\0\0" if data else b"\1\1"),
            *status,
            *more,
        ]
        made = command(*sorted(elements))
        return mutated(rng, made) if rng.random() < 0.01 else made

    def _message(self) -> list[list[bytes]]:
        """A request, and what the requestor says before it has the final response."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.25:
            return [self._framed(1, self.command(0x30, 1, data=False), None)]
        if kind < 0.5:
            context = rng.choice((3, 5))
            asked = self._framed(context, self.command(0x20, context, data=True), self.identifier(CONTEXTS[context][1]))
            return [
                asked + ([_pdu(_pdv(context, 3, cancel_command(rng.choice((1, 7)))))] if rng.random() < 0.1 else [])
            ]
        if kind < 0.95 and self._fetches:
            asked, answers = self.identifier(IMPLICIT), rng.choice((0, 0, 0, 1, 2))
            if rng.random() < 0.7:
                study = rng.choice(("1.2.1", "1.2.2", "1.2.3"))
                asked, answers = identifier("STUDY", {0x0020000D: study}), 2
            responses = [
                self._framed(9, self.command(0x8001, 9, data=False, number=each + 1), None) for each in range(answers)
            ]
            return [self._framed(7, self.command(0x10, 7, data=True), asked), *responses]
        if kind < 0.95:
            context = rng.choice(_STORES)
            data = rng.choice(self._data_sets[CONTEXTS[context][1]]).replace(_INSTANCE, self._instance)
            if rng.random() < 0.7:
                data = mutated(rng, data)
            made = self._framed(context, self.command(0x01, context, data=True), data)
            self._instance = b"1.2.3.%04d.%04d" % (rng.randrange(1_000, 10_000), rng.randrange(1_000, 10_000))
            return [made]
        if kind < 0.97:
            return [self._framed(19, self.command(0x21, 19, data=True), self.identifier(IMPLICIT))]
        context = rng.choice(list(CONTEXTS))
        field = rng.choice((0x21, 0x100, 0x110, 0x130, 0x140, 0x150, 0x8030, 0xFFF, 0x0, rng.randrange(65_536)))
        data = rng.random() < 0.5
        return [self._framed(context, self.command(field, context, data=data), b"data" if data else None)]

    def _framed(self, context: int, command_set: bytes, data: bytes | None) -> list[bytes]:
        """One message in PDUs and values of any sizes, mostly as they should be."""
        rng = self.rng
        values = self._fragments(context, 1, command_set)
        if data is not None:
            values += self._fragments(context, 0, data)
        pdus, at = [], 0
        while at < len(values):
            take = rng.choice((1, 1, 1, 2, 3))
            pdus.append(_pdu(b"".join(values[at : at + take])))
            at += take
        if rng.random() < 0.005:
            at = rng.randrange(len(pdus))
            pdus[at] = mutated(rng, pdus[at])
        return pdus

    def _fragments(self, context: int, flag: int, data: bytes) -> list[bytes]:
        rng = self.rng
        size = rng.choice((len(data) or 1, len(data) or 1, len(data) // 2 + 1, len(data) // 5 + 1))
        pieces = [data[at : at + size] for at in range(0, max(len(data), 1), size)]
        values = [_pdv(context, flag, piece) for piece in pieces[:-1]]
        last = flag | 2 if rng.random() < 0.999 else flag
        return [*values, _pdv(context if rng.random() < 0.999 else rng.randrange(256), last, pieces[-1])]

    def _odd_one(self) -> bytes:
        rng = self.rng
        kind = rng.randrange(256) if rng.random() < 0.2 else rng.randrange(8)
        length = rng.choice((0, 4, 4, 10, 0xFFFFFFFF, 200_000))
        return struct.pack(">BxL", kind, length) + rng.randbytes(min(length, 10))


def _request(user: User | None, roles: tuple[str, ...]) -> bytes:
    contexts = [(abstract, [syntax]) for abstract, syntax in CONTEXTS.values()]
    return Requestor(0, None, "WS1", contexts=contexts, user=user, scp_roles=roles).request()


def _pdv(context: int, flags: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context, flags) + data


def _pdu(body: bytes) -> bytes:
    return struct.pack(">BxL", 4, len(body)) + body


def _pdus(stream: bytes) -> list[bytes]:
    """A recorded stream, PDU by PDU."""
    pdus, at = [], 0
    while at + 6 <= len(stream):
        end = at + 6 + struct.unpack_from(">L", stream, at + 2)[0]
        pdus.append(stream[at:end])
        at = end
    return pdus


def _data_sets(syntax: str) -> list[bytes]:
    """Small objects: plain, with sequences, with pixels."""
    from pydicom import Dataset

    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = CT, "1.2.3"
    outer = Dataset()
    outer.ReferencedSeriesSequence = [inner, inner]
    outer.SeriesInstanceUID = "1.2.3"
    uid = _INSTANCE.decode()
    small = image(4, SOPInstanceUID=uid)
    nested = image(5, SOPInstanceUID=uid, ReferencedStudySequence=[outer, inner], SpecificCharacterSet="ISO_IR 192")
    pixels = image(6, SOPInstanceUID=uid, Rows=4, Columns=4, BitsAllocated=16, PixelRepresentation=1)
    pixels.add_new(0x7FE00010, "OW", bytes(range(32)))
    return [encoded(each, syntax)[:_LONGEST] for each in (small, nested, pixels)]


_FRAGMENTS = (
    b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    + struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    + struct.pack("<HHL", 0xFFFE, 0xE000, 4)
    + b"\xff\xd8\xff\xd9"
    + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
)


def _deflated(data: bytes) -> bytes:
    compress = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compress.compress(data) + compress.flush()


def _vr(tag: int) -> bytes:
    return {0x20: b"DA", 0x30: b"TM", 0x50: b"SH", 0x52: b"CS", 0x60: b"CS", 0x10: b"PN", 0x18: b"UI"}.get(
        tag & 0xFF, b"LO" if tag == 0x00100020 else b"UI"
    )
