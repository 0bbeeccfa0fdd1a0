"""What an operator does about the trail's proof: checkpoints, verification against them, and lawful removal."""

import json
import re
import shutil

import pytest

from archive.audit.trail import SEGMENT_BYTES
from tests.simulators.running_archive import RunningArchive
from tests.simulators.timestamp_authority import Authority, AuthorityServer, replying


@pytest.fixture
def archive(tmp_path):
    """A home whose checkpoints go to a file elsewhere, too."""
    archive = RunningArchive(tmp_path).init()
    settings = archive.home / "strongroom.toml"
    elsewhere = json.dumps(str(tmp_path / "elsewhere.jsonl"))
    settings.write_text(re.sub(r'checkpoint_file = ""', f"checkpoint_file = {elsewhere}", settings.read_text()))
    return archive


def test_an_older_home_is_found_by_a_checkpoint_and_by_nothing_else(archive, tmp_path):
    shutil.copytree(archive.home, tmp_path / "backup")
    with archive.serving():
        archive.node("CT1", "modality")
        kept = tmp_path / "kept.jsonl"
        assert "are vouched for in" in archive.must("audit", "checkpoint", "--out", str(kept))
        line = archive.must("audit", "checkpoint").strip()
        assert kept.read_text() == line + "\n", "nothing has happened since"
        beside = archive.must("audit", "verify", "--against", str(kept))
        assert f"complete up to record {json.loads(line)['sequence']} " in beside
    assert "complete up to record" in archive.must("verify", "--full", "--against", str(kept))
    assert archive.must("verify").endswith("audit records: internally consistent\n")

    shutil.rmtree(archive.home)
    (tmp_path / "backup").rename(archive.home)
    archive.must("audit", "verify")
    archive.must("verify", "--full")
    for verb in (("audit", "verify"), ("verify",)):
        for file in (kept, tmp_path / "elsewhere.jsonl"):
            done = archive.strongroom(*verb, "--against", str(file))
            assert done.returncode == 1 and "an older home was put back" in done.stdout


def test_each_stop_leaves_a_checkpoint_elsewhere(archive, tmp_path):
    with archive.serving():
        pass
    report = json.loads(archive.must("audit", "verify", "--json", "--against", str(tmp_path / "elsewhere.jsonl")))
    assert report["confirmed"] == report["checkpoint"] == report["records"] - 1
    assert report["verdict"].startswith("complete up to record")


def test_checkpoints_are_stamped_by_an_authority_and_what_it_said_is_checked(archive, tmp_path):
    authority = Authority.made(tmp_path / "tsa")
    other = Authority.made(tmp_path / "other", "other")
    settings = archive.home / "strongroom.toml"
    with AuthorityServer(replying(authority.answer)) as server:
        text = settings.read_text().replace('timestamp_url = ""', f'timestamp_url = "{server.url}"')
        settings.write_text(text.replace('timestamp_ca = ""', f'timestamp_ca = "{authority.ca}"'))
        with archive.serving():
            pass
    stamps = str(tmp_path / "elsewhere.jsonl.timestamps")
    said = archive.must("audit", "verify", "--against", stamps)
    assert re.search(r"complete up to record (\d+) (?s:.*)\nrecords up to \1 stamped at 20.* by CN=tsa,O=Clock\n", said)
    archive.must("verify", "--against", stamps)
    done = archive.strongroom("audit", "verify", "--against", stamps, "--timestamp-ca", str(other.ca))
    assert done.returncode == 1 and "the time stamp of checkpoint 1 from elsewhere" in done.stdout
    done = archive.strongroom("audit", "verify", "--against", stamps, "--timestamp-ca", str(settings))
    assert done.returncode == 2 and "holds no certificate" in done.stderr


def test_old_records_go_lawfully_and_are_said_to_have_gone(archive):
    first = archive.home / "trail" / "0000000000000001.trail"
    with archive.serving():
        assert "nothing was removed" in archive.must("audit", "retain", "--before", "2999-01-01", "--why", "law")
        done = archive.strongroom("audit", "retain", "--before", "soon", "--why", "law")
        assert done.returncode == 2 and "E107" in done.stderr
    grow(archive)
    with archive.serving():
        answer = archive.must("audit", "retain", "--before", "2999-01-01", "--why", "six years are over", "--json")
        removed = json.loads(answer)
        assert not first.exists()
        told = [one for one in archive.trail() if "six years are over" in json.dumps(one["facts"])]
        assert len(told) == 1 and told[0]["facts"]["alert"] == "110129"
    said = archive.must("audit", "verify")
    assert f"records 1 to {removed['last']}, older than 2999" in said and "six years are over" in said
    archive.must("verify", "--full")


def grow(archive):
    """Fill the first segment, as months of work do."""
    from archive.bootstrap import open_archive
    from archive.home import Home

    opened = open_archive(Home.at(archive.home))
    try:
        filler = {"time": "2026-01-01T00:00:00.000+00:00", "kind": "query-performed", "facts": {"x": "x" * 2_000_000}}
        for _ in range(SEGMENT_BYTES // 2_000_000 + 2):
            opened.trail.append([filler])
    finally:
        opened.close()
