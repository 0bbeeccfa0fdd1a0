"""Power loss: a kill alone tests no fsync, so the system calls themselves are read.

Under strace, everything that an acknowledged store depends on is synced after it was last written and before the
response goes out: the object and its folder, the ledger and the audit trail. The index is not: start-up tells it again
whatever it lost (`test_commit_steps`).
"""

import re
import shutil

import pytest

from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, EXPLICIT

CALL = re.compile(r"^(?:\[pid\s+)?(\d+)\]?\s+(?:\d+\.\d+ )?(\w+)\((.*)$")
PATH = re.compile(r"<([^>]*)>")


def unfinished_joined(lines):
    """strace splits a call that others interrupt; the position of its end is what counts."""
    waiting = {}
    for line in lines:
        process = re.match(r"^(?:\[pid\s+)?(\d+)", line)
        if process is None:
            continue
        if line.rstrip().endswith("<unfinished ...>"):
            waiting[process.group(1)] = line.rstrip()[: -len("<unfinished ...>")]
        elif "resumed>" in line:
            yield waiting.pop(process.group(1), "") + line.split("resumed>", 1)[1]
        else:
            yield line


@pytest.mark.timeout(300)
def test_everything_a_success_depends_on_is_synced_before_the_response(tmp_path):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace to see system calls: Debian package strace, which scripts/test installs")
    archive = RunningArchive(tmp_path).init()
    archive.node("CT1", "modality")
    paths = archive.paths()
    log = tmp_path / "calls"
    calls = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,write,writev,pwrite64,sendto,sendmsg"
    archive.start((strace, "-f", "-y", "-s", "0", "-o", str(log), "-e", f"trace={calls}"))
    (path,) = [path for path in packaged() if path.name == "CT_small.dcm"]
    file = valid(read(path))
    with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
        answered_from = len(log.read_text().splitlines())
        assert modality.store(CT, file.instance, file.data).status == 0
    archive.stop()

    lines = list(unfinished_joined(log.read_text().splitlines()[answered_from:]))
    dirty, renamed_into, synced = {}, set(), set()
    answered = False
    for line in lines:
        name = re.match(r"^(?:\[pid\s+)?\d+\]?\s+(\w+)\(", line)
        if name is None:
            continue
        touched = PATH.findall(line)
        call = name.group(1)
        if call.startswith(("write", "pwrite")) and touched and touched[0].startswith(str(archive.home)):
            dirty[touched[0]] = True
        elif call in {"fsync", "fdatasync"} and touched:
            dirty.pop(touched[0], None)
            renamed_into.discard(touched[0])
            synced.add(touched[0])
        elif call.startswith(("rename", "link")):
            target = re.findall(r'"([^"]*)"', line)
            renamed_into.update(touched[1:] or ([target[-1].rsplit("/", 1)[0]] if target else []))
        elif touched and touched[0].startswith(("socket:", "TCP")) and synced & under(synced, paths["ledger"]):
            answered = True
            break
    assert not renamed_into, f"names made and not synced when the response went out: {renamed_into}"
    assert answered, "no response was seen after the ledger was synced"
    unsynced = {name for name in dirty if not name.startswith(str(paths["index"]))}
    assert not unsynced, f"written and not synced when the response went out: {unsynced}"
    for what in ("blobs", "ledger", "trail"):
        assert under(synced, paths[what]), f"{what}: nothing was synced"


def under(names, folder):
    return {name for name in names if name.startswith(str(folder))}
