"""Operations on the index of a running archive: begin to make it anew, and ask how that is going."""

from archive.audit.events import Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json, failure_of
from storage.recovery import Progress


@operation("index.rebuild")
def begin(call: Call) -> Json:
    """Begin; queries, retrievals and stores are answered that the archive is not ready until it is done."""
    call.arguments.finish()
    archive, actor = call.archive, call.operator.actor

    def work(progress: Progress) -> None:
        events = archive.repository.rebuild(progress)
        facts = {"change": "index-rebuilt", "events": events}
        archive.tell("authority", facts, actor, rebuilt_in_words(events), Alert.SOFTWARE_CONFIGURATION)

    archive.rebuild.begin(work)
    return None


@operation("index.progress")
def progress(call: Call) -> Json:
    """How it is going; ``failure`` is why the last one did not come to its end."""
    call.arguments.finish()
    state = call.archive.rebuild.state
    failure = failure_of(state.failure) if state.failure is not None else None
    return {
        "running": state.running,
        "done": state.done,
        "total": state.total,
        "failure": None if failure is None else [failure.number, failure.message, failure.exit_code],
    }


def rebuilt_in_words(events: int) -> str:
    """What operator and audit are told."""
    return f"index rebuilt from {events} events"
