"""SOP Class Extended Negotiation of the query SOP classes (PS3.4 C.5.1.1): what is agreed on, and what that means.

The Service-class-application-information is one byte per option: 1 relational queries, 2 combined date and time
matching, 3 fuzzy matching of person names, 4 timezone adjustment, 5 enhanced multi-frame conversion. Whoever offers one
byte is answered one byte; an option that is not answered is not agreed on.
"""

from typing import Final

from storage.index.matching import QueryOptions

_OFFERED: Final = bytes((1, 1, 1, 0, 0))
"""Relational, combined, fuzzy. Times are answered as they are stored, and images are found as they are stored."""


def query_answer(offer: bytes) -> bytes:
    """What is answered to the requestor's application information: as many bytes, never more than are known."""
    return bytes(int(asked == 1 and known == 1) for asked, known in zip(offer, _OFFERED, strict=False))


def query_options(agreed: bytes) -> QueryOptions:
    """How queries of a presentation context are matched."""
    relational, combined, fuzzy = (agreed[at : at + 1] == b"\x01" for at in range(3))
    return QueryOptions(relational=relational, combined_moments=combined, fuzzy_names=fuzzy)
