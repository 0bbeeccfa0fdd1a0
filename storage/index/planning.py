"""From the identifier of any information model to what the index is asked."""

from collections.abc import Iterable
from typing import TypeAlias

from storage.index import matching, single_level
from storage.index.matching import NO_OPTIONS, FindQuery, QueryModel, QueryOptions, RetrieveQuery
from storage.index.sequences import QueryKey
from storage.non_patient import NonPatientModel

InformationModel: TypeAlias = QueryModel | NonPatientModel


def plan_find(model: InformationModel, keys: Iterable[QueryKey], options: QueryOptions = NO_OPTIONS) -> FindQuery:
    """A C-FIND. Raises `IdentifierInvalid`."""
    if isinstance(model, NonPatientModel):
        return single_level.plan_find(model, keys, options)
    return matching.plan_find(model, keys, options)


def plan_retrieve(model: InformationModel, keys: Iterable[QueryKey], *, relational: bool = False) -> RetrieveQuery:
    """A C-GET or C-MOVE. Raises `IdentifierInvalid`."""
    if isinstance(model, NonPatientModel):
        return single_level.plan_retrieve(model, keys)
    return matching.plan_retrieve(model, keys, relational=relational)
