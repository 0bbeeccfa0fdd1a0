"""What an operator can have done to an archive, by name. One table, used alike by a running server and by a verb that
holds the home's lock itself.

A change goes in this order, so that it is neither done unseen nor told twice: everything that could refuse it is looked
at, the ledger and with it the audit trail are told, and then it takes effect. Operations are run one at a time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from archive.audit.events import Alert
from archive.bootstrap import Archive
from archive.control.operator import Operator
from archive.control.protocol import Json, Request
from archive.errors import UsageInvalid

Result = TypeVar("Result")
MAX_ITEMS: Final = 1_000
"""In one list of a request."""


class Arguments:
    """A request's arguments, each read once by name and type; what nobody read is an error, as is what is missing."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self._values.pop(name, None)
        if not isinstance(value, str):
            raise UsageInvalid(f"{name} must be a text")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text that may be absent or null."""
        if self._absent(name):
            return None
        return self.text(name)

    def optional_number(self, name: str) -> int | None:
        """A whole number that may be absent or null."""
        value = self._values.pop(name, None)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise UsageInvalid(f"{name} must be a whole number")
        return value

    def flag(self, name: str) -> bool:
        """True or false; absent is false."""
        value = self._values.pop(name, False)
        if not isinstance(value, bool):
            raise UsageInvalid(f"{name} must be true or false")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts; absent is empty."""
        values = self._list(name)
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len(values):
            raise UsageInvalid(f"{name} must be a list of texts")
        return texts

    def optional_numbers(self, name: str) -> list[int] | None:
        """A list of whole numbers that may be absent or null."""
        if self._absent(name):
            return None
        values = self._list(name)
        numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        if len(numbers) != len(values):
            raise UsageInvalid(f"{name} must be a list of whole numbers")
        return numbers

    def mapping(self, name: str) -> dict[str, str]:
        """Texts by key; absent is empty."""
        value = self._values.pop(name, {})
        if not isinstance(value, dict) or len(value) > MAX_ITEMS or any(not isinstance(v, str) for v in value.values()):
            raise UsageInvalid(f"{name} must be texts by name")
        return value

    def finish(self) -> None:
        """Refuse what nobody read."""
        if self._values:
            raise UsageInvalid(f"unknown argument {next(iter(self._values))!r:.40}")

    def _list(self, name: str) -> list[object]:
        value = self._values.pop(name, [])
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise UsageInvalid(f"{name} must be a list of at most {MAX_ITEMS}")
        return value

    def _absent(self, name: str) -> bool:
        """Whether an argument is missing or null; it counts as read then."""
        return self._values.get(name) is None and self._values.pop(name, None) is None


@dataclass(frozen=True, slots=True)
class Call:
    """One operation under way: on what, asked by whom, with which arguments."""

    archive: Archive
    operator: Operator
    arguments: Arguments

    def change(
        self, facts: Mapping[str, object], description: str, alert: Alert, take_effect: Callable[[], Result]
    ) -> Result:
        """Tell ledger and audit trail of a change of authority, then let it take effect.

        Should it fail at that late moment, both are told so.

        Raises:
            AuditUnavailable, StoreReadOnly: it could not be told, and did not happen.
        """
        self.tell("authority", facts, description, alert)
        try:
            return take_effect()
        except BaseException:
            self.tell("authority", {**facts, "failed": True}, f"failed: {description}", alert)
            raise

    def tell(self, event: str, facts: Mapping[str, object], description: str, alert: Alert) -> None:
        """Append an event to the ledger, and through it to the audit trail, with the operator as its actor."""
        self.archive.tell(event, facts, self.operator.actor, description, alert)


Operation = Callable[[Call], Json]
_OPERATIONS: Final[dict[str, Operation]] = {}


def operation(name: str) -> Callable[[Operation], Operation]:
    """Enter a function into the table under its name."""

    def enter(function: Operation) -> Operation:
        if name in _OPERATIONS:
            raise ValueError(f"two operations are called {name}")
        _OPERATIONS[name] = function
        return function

    return enter


def perform(archive: Archive, request: Request, operator: Operator) -> Json:
    """Do what a request asks for.

    Raises:
        UsageInvalid: no such operation, or not its arguments.
        ArchiveError, StorageError, AuthError: whatever the operation says.
    """
    found = _OPERATIONS.get(request.operation)
    if found is None:
        raise UsageInvalid(
            f"the archive knows no operation {request.operation!r:.40}: use the strongroom of the running release"
        )
    return found(Call(archive, operator, Arguments(request.arguments)))
