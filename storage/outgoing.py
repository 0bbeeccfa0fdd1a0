"""A kept object on its way out: every byte verified before the first one leaves, our signature in its place."""

from collections.abc import Iterator

from storage.identifiers import Uid


class OutgoingBytes:
    """One verified object. `close` it, or use it as a context manager."""

    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax: str
    length: int | None
    """Bytes that `chunks` yields; None for a deflated data set, whose length nobody knows before it is deflated again."""

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The data set in the stored transfer syntax, in pieces of about 64 KiB. May be called more than once."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the object; idempotent."""
        raise NotImplementedError
