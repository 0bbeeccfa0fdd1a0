"""The index's tables, generated from `storage.index.columns`; SQLAlchemy Core, in no dialect of its own.

A study row carries the patient's attributes too: they are what the study's first instance said, so a query never joins
a patient whose name somebody changed since. Set-valued attributes that predicates ask about have a table each.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql

from storage.errors import IndexFault
from storage.index.columns import ATTRIBUTES, ELEMENTS, Attribute, Comparison, Level, Origin, columns_of
from storage.index.text import NAME_GROUPS

SCHEMA_VERSION: Final = "5"

METADATA: Final = MetaData()

_TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Compared by code point on every engine, which is what ranges and beginnings of names rely on."""
_KEY = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER PRIMARY KEY is the row id on SQLite


def _columns(*levels: Level) -> list[Column[str] | Column[int]]:
    columns: list[Column[str] | Column[int]] = []
    for attribute in ATTRIBUTES:
        if attribute.level in levels and attribute.origin is Origin.DATA_SET:
            columns += _columns_of(attribute)
    return columns


def _columns_of(attribute: Attribute) -> list[Column[str] | Column[int]]:
    numbers = {attribute.column} if attribute.comparison in (Comparison.DATE, Comparison.TIME) else set()
    return [
        Column(name, BigInteger) if name in numbers else Column(name, _TEXT, nullable=not attribute.filing)
        for name in columns_of(attribute)
    ]


def _document() -> Column[str]:
    """Elements that have no column (`storage.index.elements`); last in its row, so that others are read past it."""
    return Column(ELEMENTS, _TEXT)


STUDY: Final = Table(
    "study",
    METADATA,
    Column("id", _KEY, primary_key=True),
    *_columns(Level.PATIENT, Level.STUDY),
    Column("institution", _TEXT),
    Column("department", _TEXT),
    Column("station", _TEXT),
    # The study date, 0 if there is none: newest first needs an order without absent values.
    Column("sort_date", Integer, nullable=False),
    # Copies of the columns and set tables that policy reads, the labels, and the seal over both; kept by the same
    # functions (`storage.index.facts`).
    Column("labels", _TEXT, nullable=False),
    Column("facts", _TEXT, nullable=False),
    Column("facts_seal", LargeBinary),
    Column("modalities_in_study_text", _TEXT),
    Column("sop_classes_in_study_text", _TEXT),
    Column("series_count", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    _document(),
    UniqueConstraint("study_uid"),
    Index("study_newest", "sort_date", "id"),
    # Whoever asks for a modality is answered these too (PS3.4 C.2.2.1.2); there are next to none.
    Index(
        "study_no_modality",
        "modalities_in_study_text",
        sqlite_where=text("modalities_in_study_text IS NULL"),
        postgresql_where=text("modalities_in_study_text IS NULL"),
    ),
    Index("study_patient_id", "patient_id"),
    Index("study_patient_name", "patient_name_norm"),
    Index("study_accession", "accession_number"),
    Index("study_referring_physician", "referring_physician"),
)

SERIES: Final = Table(
    "series",
    METADATA,
    Column("id", _KEY, primary_key=True),
    Column("study_fk", ForeignKey(STUDY.c.id), nullable=False),
    *_columns(Level.SERIES),
    Column("instance_count", Integer, nullable=False),
    # What this series was last reported to disagree on with its study, so that one series is one alert.
    Column("differs", _TEXT, nullable=False),
    _document(),
    # A series UID that a sender uses in two studies is two series: no object is filed under a study it does not name.
    UniqueConstraint("series_uid", "study_fk"),
    Index("series_study", "study_fk"),
)

INSTANCE: Final = Table(
    "instance",
    METADATA,
    Column("id", _KEY, primary_key=True),
    Column("series_fk", ForeignKey(SERIES.c.id), nullable=False),
    *_columns(Level.IMAGE),
    Column("transfer_syntax", _TEXT, nullable=False),
    Column("object_id", _TEXT, nullable=False),
    Column("address", LargeBinary, nullable=False),
    Column("canonical_digest", LargeBinary, nullable=False),
    # SHA-256 of each top-level signature value, the archive's own included, one after another.
    Column("signatures", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("ledger_sequence", BigInteger, nullable=False),
    _document(),
    UniqueConstraint("sop_instance_uid"),
    Index("instance_series", "series_fk"),
)


def _set_table(name: str, *more: Column[bool]) -> Table:
    return Table(
        name,
        METADATA,
        Column("study_fk", ForeignKey(STUDY.c.id), primary_key=True),
        Column("value", _TEXT, primary_key=True),
        *more,
        sqlite_with_rowid=False,
    )


STUDY_PHYSICIAN: Final = _set_table("study_physician")
Index("study_physician_value", STUDY_PHYSICIAN.c.value, STUDY_PHYSICIAN.c.study_fk)
STUDY_BODY_PART: Final = _set_table("study_body_part")
STUDY_MODALITY: Final = _set_table(
    "study_modality", Column("fixed", Boolean, nullable=False), Column("current", Boolean, nullable=False)
)
"""Every modality of the study; ``fixed`` are those of its first instance, which alone policy reads, and ``current``
those that something in it still has, which alone answer a query."""
Index("study_modality_value", STUDY_MODALITY.c.value, STUDY_MODALITY.c.current, STUDY_MODALITY.c.study_fk)
STUDY_SOP_CLASS: Final = _set_table("study_sop_class")
STUDY_NAME_PART: Final = _set_table("study_name_part")
"""Parts of the patient's name (`storage.index.text.name_parts`): what a wildcard at its beginning is found by."""
Index("study_name_part_value", STUDY_NAME_PART.c.value, STUDY_NAME_PART.c.study_fk)
NAME_COLUMNS: Final = tuple(f"patient_name_{group}" for group in NAME_GROUPS)
"""Of a study's row: what its name parts are made from."""

# What outlasts the rows of a study: it is known by its UID, whether anything of it is kept or not.
STUDY_HOLD: Final = Table("study_hold", METADATA, Column("study_uid", Text, primary_key=True))
"""Studies of which nothing may be taken away."""
ABSENT_LABEL: Final = Table(
    "absent_label",
    METADATA,
    Column("study_uid", Text, primary_key=True),
    Column("value", Text, primary_key=True),
)
"""Labels of studies of which nothing is kept at present: they count again with the next object."""
TOMBSTONE: Final = Table(
    "tombstone",
    METADATA,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("study_uid", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("address", LargeBinary, nullable=False),
    # Why, as a code (PS3.16 CID 7011, DCM), and by which document; "" where an operator said so.
    Column("reason", Text, nullable=False),
    Column("note", Text, nullable=False),
    # Whether an object may come under this UID again.
    Column("comes_back", Boolean, nullable=False),
    Column("time", Text, nullable=False),
    # Of the ledger records that took the object away, and destroyed its key.
    Column("removed", BigInteger, nullable=False),
    Column("erased", BigInteger),
    Index("tombstone_study", "study_uid"),
    Index("tombstone_time", "time"),
)
"""Objects that were taken away; one for each SOP Instance UID, the last."""
ERASURE: Final = Table("erasure", METADATA, Column("address", LargeBinary, primary_key=True))
"""Addresses whose erasure is committed, and perhaps not carried out yet."""

STATE: Final = Table(
    "index_state", METADATA, Column("key", _TEXT, primary_key=True), Column("value", _TEXT, nullable=False)
)
"""``schema``, ``position`` (the ledger sequence that the rows have reached), ``rebuilding``, and ``generation`` (how
many rebuilds there were)."""


def prepare(connection: Connection) -> None:
    """Make what is missing in an empty database; accept one of this version, and change nothing in any other.

    Raises:
        IndexFault: the database has another version.
    """
    version = None
    if inspect(connection).has_table(STATE.name):
        version = connection.execute(select(STATE.c.value).where(STATE.c.key == "schema")).scalar()
    if version not in (None, SCHEMA_VERSION):
        raise IndexFault(
            f"the index has schema {version}, and this release reads {SCHEMA_VERSION}:"
            " run `strongroom rebuild`, which makes it anew from the objects and the ledger"
        )
    METADATA.create_all(connection)
    if version is None:
        connection.execute(
            STATE.insert(), [{"key": "schema", "value": SCHEMA_VERSION}, {"key": "position", "value": "0"}]
        )
