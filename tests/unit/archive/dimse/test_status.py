"""The status table: every error has an answer, and no answer says more than its fixed text."""

import pytest

from archive import errors as archive_errors
from archive.dimse.status import ANSWERED, MAX_COMMENT, Service, is_warning, refusal
from archive.errors import AuditUnavailable, CommandRefused, DestinationUnknown, PeerGone, ProtocolViolation
from auth import errors as auth_errors
from auth.errors import AccessDenied, HiddenKeyRefused
from storage import errors as storage_errors

SECRET = "/home/NAME^JOHN"


def made(error):
    if issubclass(error, AccessDenied):
        return error("Query", SECRET)
    if issubclass(error, CommandRefused):
        return error(0xA900, "fixed")
    return error(SECRET)


EVERY = [
    error
    for module in (storage_errors, auth_errors, archive_errors)
    for error in vars(module).values()
    if isinstance(error, type) and issubclass(error, Exception)
]


@pytest.mark.parametrize("service", Service)
@pytest.mark.parametrize("error", [each for each in EVERY if each is not DestinationUnknown], ids=lambda e: e.__name__)
def test_every_error_has_a_failure_status_of_the_service_and_a_comment_that_leaks_nothing(error, service):
    answer = refusal(made(error), service)
    assert SECRET not in answer.comment and 0 < len(answer.comment) <= MAX_COMMENT and answer.comment.isascii()
    general = {0x0110, 0x0111, 0x0117, 0x0122, 0x0124, 0x0211, 0x0212}
    ranges = {
        Service.STORE: {0xA700, 0xA900},
        Service.FIND: {0xA700, 0xA900},
        Service.GET: {0xA702, 0xA900},
        Service.MOVE: {0xA702, 0xA801, 0xA900},
        Service.ACTION: {0x0115, 0x0213, 0xA900},
        Service.ECHO: {0xA900},
    }[service]
    assert answer.status in general | ranges or answer.status >> 12 == 0xC


@pytest.mark.parametrize("error", [PeerGone("x"), ProtocolViolation("x"), RuntimeError("x")])
def test_what_ends_the_association_is_not_answered(error):
    assert not isinstance(error, ANSWERED)


@pytest.mark.parametrize(
    ("error", "service", "status"),
    [
        (storage_errors.IdentifierInvalid(""), Service.FIND, 0xA900),
        (storage_errors.StoreNotReady(""), Service.FIND, 0xA700),
        (storage_errors.StoreNotReady(""), Service.GET, 0xA702),
        (storage_errors.IndexFault(""), Service.FIND, 0xC001),
        (storage_errors.InvalidIdentifier(""), Service.STORE, 0x0117),
        (AuditUnavailable(""), Service.STORE, 0xA700),
        (HiddenKeyRefused("Query", ""), Service.FIND, 0xC011),
        (AccessDenied("Query", ""), Service.FIND, 0x0124),
        (AccessDenied("Move", ""), Service.MOVE, 0x0124),
        (DestinationUnknown(""), Service.MOVE, 0xA801),
        (storage_errors.StoreNotReady(""), Service.MOVE, 0xA702),
        (RuntimeError(""), Service.STORE, 0x0110),
    ],
)
def test_the_statuses_that_clients_rely_on(error, service, status):
    assert refusal(error, service).status == status


def test_warnings_of_a_store_are_no_failures():
    assert is_warning(0xB000) and is_warning(0xB007) and not is_warning(0xA700) and not is_warning(0x0000)
