"""A kept object on its way out to somebody who may not see all of it: verified, masked, signed anew.

1. the original is verified as ever (`storage.outgoing`);
2. a first pass masks it and finds out what may be signed; nothing leaves before that is done;
3. our signature is made over the masked object (PS3.15 A.2): the original's signatures are not in it;
4. a second pass masks it again and puts the signature in.
"""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol

from storage.confidentiality.mask import Mask
from storage.confidentiality.masking import masked
from storage.instance import StoredInstance
from storage.integrity.inspection import DataSetInspector
from storage.integrity.signature import Signer
from storage.integrity.splice import deflated, inflated, spliced, spliced_length
from storage.transfer_syntax import EXPLICIT_LITTLE, TransferSyntax, transfer_syntax

IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
"""A masked object up to this long is made once; a larger one twice, since memory per association is bounded."""


class Original(Protocol):
    """What is asked of `storage.outgoing.OutgoingBytes`."""

    def chunks(self) -> Iterator[bytes]:
        """The verified data set in its stored syntax; may be called more than once."""

    def close(self) -> None:
        """Release it."""


class MaskedObject:
    """One masked object, in the transfer syntax of the original. `close` it. Used by one thread."""

    def __init__(
        self, original: Original, stored: StoredInstance, mask: Mask, signer: Signer, moment: datetime
    ) -> None:
        """Mask and sign; ``original`` is closed with this, and if this fails.

        Raises:
            CannotBeMasked: it holds what no mask reaches.
            IntegrityFault: it changed since it was verified.
        """
        self.sop_class_uid = stored.key.sop_class_uid
        self.sop_instance_uid = mask.renamed(stored.key.sop_instance_uid)
        self.transfer_syntax = stored.transfer_syntax
        self._original = original
        self._mask = mask
        self._syntax = transfer_syntax(stored.transfer_syntax)
        self._plain = _inflated_syntax(self._syntax)
        self._kept: list[bytes] | None = [] if stored.size <= IN_MEMORY_BYTES and not self._syntax.deflated else None
        try:
            inspector = DataSetInspector(self._plain, frozenset())
            self._size = 0
            for piece in self._masked():
                inspector.feed(piece)
                self._size += len(piece)
                if self._kept is not None:
                    self._kept.append(piece)
            inspection = inspector.finish()
            self.signed_tags = inspection.signed_tags
            self._splices = signer.sign(inspection, self._plain, moment).splices
        except BaseException:
            original.close()
            raise

    @property
    def length(self) -> int:
        """Bytes that `chunks` yields. Costs a pass over a deflated data set."""
        if self._syntax.deflated:
            return sum(map(len, self.chunks()))
        return spliced_length(self._size, self._splices)

    def chunks(self) -> Iterator[bytes]:
        """The masked data set with our signature. Raises `IntegrityFault`."""
        pieces = self._masked() if self._kept is None else iter(self._kept)
        signed = spliced(pieces, self._splices)
        if self._syntax.deflated:
            yield from deflated(signed)
        else:
            yield from map(bytes, signed)

    def close(self) -> None:
        """Release the original; idempotent."""
        self._original.close()

    def __enter__(self) -> "MaskedObject":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _masked(self) -> Iterator[bytes]:
        chunks = self._original.chunks()
        return masked(inflated(chunks) if self._syntax.deflated else chunks, self._plain, self._mask)


def _inflated_syntax(syntax: TransferSyntax) -> TransferSyntax:
    return transfer_syntax(EXPLICIT_LITTLE) if syntax.deflated else syntax
