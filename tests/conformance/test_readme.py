"""The commands of the README are executed as they stand."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulators.dicom_files import packaged
from tests.simulators.running_archive import free_port

ROOT = Path(__file__).resolve().parents[2]


def test_the_commands_of_the_readme_work_as_they_stand(tmp_path):
    if shutil.which("storescu", path="/usr/bin") is None:
        pytest.skip("needs DCMTK as second opinion: Debian package dcmtk, which scripts/test installs")
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    commands = [line for block in blocks for line in block.splitlines() if line]
    assert [command.split()[0] for command in commands].count("storescu") == 1
    port = str(free_port())
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "strongroom").symlink_to(Path(sys.executable).parent / "strongroom")
    (tools / "storescu").symlink_to("/usr/bin/storescu")
    shutil.copy(next(path for path in packaged() if path.name == "CT_small.dcm"), tmp_path / "image.dcm")
    (tmp_path / "passcode.txt").write_text("a passcode\n")
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    server = None
    try:
        for command in commands:
            words = [port if word == "2762" else word for word in command.split()]
            if words[1] == "serve":
                server = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
                assert server.stdout.readline() == f"ready dicom-tls 127.0.0.1:{port} STRONGROOM\n"
                continue
            done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            server.stdout.close()
