"""SOP Class Extended Negotiation of the query and retrieve SOP classes: what is agreed on, and what that means.

The Service-class-application-information is one byte per option. Of queries (PS3.4 C.5.1.1): 1 relational queries,
2 combined date and time matching, 3 fuzzy matching of person names, 4 timezone adjustment, 5 enhanced multi-frame
conversion. Of retrievals (C.5.2.1, C.5.3.1): 1 relational retrieval, 2 enhanced multi-frame conversion. Whoever offers
one byte is answered one byte; an option that is not answered is not agreed on.
"""

from typing import Final

from storage.index.matching import QueryOptions

_OF_QUERIES: Final = bytes((1, 1, 1, 0, 0))
"""Relational, combined, fuzzy. Times are answered as they are stored, and images are found as they are stored."""
_OF_RETRIEVALS: Final = bytes((1, 0))
"""Relational. Images leave as they are stored."""


def query_answer(offer: bytes) -> bytes:
    """What is answered to the requestor's application information: as many bytes, never more than are known."""
    return _answer(offer, _OF_QUERIES)


def retrieve_answer(offer: bytes) -> bytes:
    """Likewise, of C-GET and C-MOVE."""
    return _answer(offer, _OF_RETRIEVALS)


def query_options(agreed: bytes) -> QueryOptions:
    """How queries of a presentation context are matched."""
    relational, combined, fuzzy = (agreed[at : at + 1] == b"\x01" for at in range(3))
    return QueryOptions(relational=relational, combined_moments=combined, fuzzy_names=fuzzy)


def is_relational(agreed: bytes) -> bool:
    """Whether retrievals of a presentation context may leave levels unnamed."""
    return agreed[:1] == b"\x01"


def _answer(offer: bytes, offered: bytes) -> bytes:
    return bytes(int(asked == 1 and known == 1) for asked, known in zip(offer, offered, strict=False))
