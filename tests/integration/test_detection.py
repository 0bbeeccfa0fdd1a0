"""Detection in a serving archive: from what a person does over the wire to an alert in the trail and a webhook."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.simulators.acceptor import wait_until
from tests.simulators.certificates import authority_in
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import IMPLICIT, STUDY_FIND, identifier


def test_a_person_who_asks_far_too_much_is_in_the_trail_and_at_the_webhook(tmp_path):
    archive = RunningArchive(tmp_path).init()
    archive.node("WS1", "radiologist")
    alice = archive.person("alice", "radiologist")
    received = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            """Quiet."""

    authority = authority_in(tmp_path / "hook")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.files.server_identities[0])
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        rules = archive.home / "detection.toml"
        hook = f'[[webhook]]\nurl = "https://127.0.0.1:{server.server_port}/"\nca = "{authority.files.trust}"\n'
        rules.write_text(rules.read_text().replace("floor = 500", "floor = 3") + hook + "gather_seconds = 0.1\n")
        with archive.serving():
            with archive.requestor("WS1", user=alice, contexts=[(STUDY_FIND, [IMPLICIT])]) as workstation:
                for _ in range(4):
                    workstation.find(STUDY_FIND, identifier("STUDY", {0x0020000D: ""}))
            wait_until(lambda: received, "the webhook is told")
        server.shutdown()
    (alert,) = [record["facts"] for record in archive.trail() if record["kind"] == "security-alert"]
    assert alert["description"] == "mass query: alice: 4 queries in this hour; 0 are usual, 3 the limit"
    assert alert["actor"]["person"] == "alice"
    ((told,),) = [message["alerts"] for message in received]
    assert told["description"] == alert["description"]


def test_a_mistake_in_the_rules_stops_the_start_with_its_key_and_without_the_file_those_of_the_release_count(tmp_path):
    archive = RunningArchive(tmp_path).init()
    rules = archive.home / "detection.toml"
    rules.write_text(rules.read_text().replace("titles = 5", "titels = 5"))
    done = archive.strongroom("serve")
    assert done.returncode != 0
    assert "unknown key 'titels' in [[rule]] of kind title-probing" in done.stderr
    rules.unlink()
    with archive.serving():
        pass
    assert archive.log().count("error") == 0
