"""The end of an object: once the ledger says that it is erased, the wrapped key of its bytes is destroyed.

A crash in between is made good at the next start; until then the index remembers which addresses are meant.
"""

from storage.crypto.envelope import MAX_HEADER_BYTES
from storage.index.engine import IndexEngine
from storage.index.removal import carried_out, to_erase
from storage.ports import BlobStore


def carry_out(blobs: BlobStore, engine: IndexEngine) -> int:
    """Destroy whatever is committed to be; how many objects that were. Idempotent.

    Raises:
        StoreReadOnly: the disk failed. What is left is done at the next start.
    """
    with engine.reading() as connection:
        addresses = to_erase(connection)
    for address in addresses:
        blobs.erase(address, MAX_HEADER_BYTES)
    if addresses:
        with engine.writing() as connection:
            carried_out(connection, addresses)
    return len(addresses)
