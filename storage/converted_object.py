"""An object as it leaves in another transfer syntax than it is kept in (DESIGN 5, PS3.15 A.2).

1. little endian, big endian, implicit and deflated convert among themselves; anything else has no other form;
2. signatures stay where they are valid all the same: a MAC knows no byte order, length or deflation;
3. in implicit VR those that cover an element whose VR is lost are left out (`storage.integrity.survival`); if ours is
   one of them, it is made again over what leaves.

Everything that could stop it is found before the first byte leaves: the first pass goes to memory, or nowhere.
"""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol

from storage.errors import IntegrityFault, MalformedDataSet
from storage.identifiers import Uid
from storage.instance import Splice
from storage.integrity.inspection import DataSetInspector
from storage.integrity.reencoding import NOTHING_LEFT_OUT, LeftOut, NoOtherForm, read, reencoded
from storage.integrity.signature import Signer
from storage.integrity.splice import deflated, inflated, spliced
from storage.integrity.survival import Survival
from storage.transfer_syntax import transfer_syntax, ways_out

IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
"""A converted object up to this long is made once; a larger one twice, since memory per association is bounded."""


class Original(Protocol):
    """What is asked of `storage.outgoing.OutgoingBytes`, or of a masked object."""

    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax: str

    @property
    def signed_tags(self) -> tuple[int, ...]:
        """What our signature of it covers."""

    def chunks(self) -> Iterator[bytes]:
        """The verified data set, signature and all; may be called more than once."""

    def close(self) -> None:
        """Release it."""


class ConvertedObject:
    """One object in another transfer syntax. `close` it. Used by one thread."""

    def __init__(self, original: Original, syntax: str, signer: Signer, moment: datetime) -> None:
        """Convert; ``original`` is closed with this, and if this fails.

        Raises:
            NoOtherForm: it has no form in that syntax.
            IntegrityFault: it changed since it was verified.
        """
        self.sop_class_uid = original.sop_class_uid
        self.sop_instance_uid = original.sop_instance_uid
        self.transfer_syntax = syntax
        self._original = original
        self._source, self._target = transfer_syntax(original.transfer_syntax), transfer_syntax(syntax)
        self._left_out: LeftOut = NOTHING_LEFT_OUT
        self._splices: tuple[Splice, ...] = ()
        self._kept: list[bytes] | None = None
        try:
            self._prepare(signer, moment)
        except MalformedDataSet as error:
            original.close()
            raise IntegrityFault("a kept object cannot be read any more") from error
        except BaseException:
            original.close()
            raise

    def chunks(self) -> Iterator[bytes]:
        """The data set in its new syntax. Raises `IntegrityFault`."""
        pieces = iter(self._kept) if self._kept is not None else self._encoded()
        signed = spliced(pieces, self._splices)
        if self._target.deflated:
            yield from deflated(signed)
        else:
            yield from map(bytes, signed)

    def close(self) -> None:
        """Release the original; idempotent."""
        self._original.close()

    def __enter__(self) -> "ConvertedObject":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, signer: Signer, moment: datetime) -> None:
        inspector = self._survey()
        kept: list[bytes] | None = []
        size = 0
        for piece in self._encoded():
            size += len(piece)
            if inspector is not None:
                inspector.feed(piece)
            if size > IN_MEMORY_BYTES:
                kept = None
            if kept is not None:
                kept.append(piece)
        self._kept = kept
        if inspector is not None:
            self._splices = signer.sign(inspector.finish(), self._target, moment).splices

    def _survey(self) -> DataSetInspector | None:
        """Find out which signatures are not valid any more; what inspects the object anew if ours is one of them."""
        if self._target.uid not in ways_out(self._source.uid):
            raise NoOtherForm("compressed objects leave in their own transfer syntax")
        if self._target.explicit or not self._source.explicit:
            return None
        survival = Survival()
        for _ in read(self._native(), self._source, survival):
            pass
        if not survival.changed:
            return None
        self._left_out = survival.left_out()
        return (
            None
            if survival.changed.isdisjoint(self._original.signed_tags)
            else DataSetInspector(self._target, frozenset())
        )

    def _native(self) -> Iterator[bytes]:
        chunks = self._original.chunks()
        return inflated(chunks) if self._source.deflated else chunks

    def _encoded(self) -> Iterator[bytes]:
        return reencoded(self._native(), self._source, self._target, self._left_out)
