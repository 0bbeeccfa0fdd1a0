"""One pass over the bytes of a data set: what the index, the signature and the canonical digest need of it."""

from storage.instance import Inspection
from storage.integrity.element_stream import StreamLimits
from storage.transfer_syntax import TransferSyntax


class DataSetInspector:
    """Reads a data set as it arrives, in pieces of any size; `finish` says what it was."""

    def __init__(
        self, syntax: TransferSyntax, wanted: frozenset[int], limits: StreamLimits | None = None
    ) -> None:
        raise NotImplementedError

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Read on; the view is not kept. Raises `MalformedDataSet`, `DataSetLimitExceeded`."""
        raise NotImplementedError

    def finish(self) -> Inspection:
        """The data set has ended. Raises `MalformedDataSet` if it ended too early."""
        raise NotImplementedError
