"""One object on its way in: encrypted and inspected as it arrives, never whole in memory, never in clear on disk."""

from storage.instance import ReceivedInstance


class Intake:
    """One object's bytes, until it is committed or discarded."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept. Raises `MalformedDataSet`, `DataSetLimitExceeded`, `OutOfSpace`."""
        raise NotImplementedError

    def finish(self) -> ReceivedInstance:
        """The data set is complete. Raises `MalformedDataSet`, `DataSetMismatch`; staging is then removed."""
        raise NotImplementedError

    def discard(self) -> None:
        """Remove what is staged; idempotent, and nothing at all once the object is committed."""
        raise NotImplementedError
