"""Objects as files, one each (implements `storage.ports.BlobStore`)."""

from pathlib import Path


class FilesystemBlobs:
    """Objects under one folder."""

    def __init__(self, folder: Path, *, reserve_bytes: int) -> None:
        """Open the folder, making it if there is none; ``reserve_bytes`` of its file system stay free."""
        raise NotImplementedError
