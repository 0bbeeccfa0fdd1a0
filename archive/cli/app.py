"""The tree of verbs, put together."""

import typer

from archive.cli import (
    audit,
    break_glass,
    cert,
    conformance,
    doctor,
    evidence,
    forward,
    identity,
    init,
    keys,
    lab,
    metrics,
    node,
    policy,
    rebuild,
    repository,
    serve,
    signature,
    study,
    user,
    verify,
)
from archive.cli.frame import verbs


def build() -> typer.Typer:
    """Every verb of this release."""
    app = verbs("A secure DICOM archive: who asks is known, what they may do is policy, what is kept can be proved.")
    app.command("init")(init.init)
    app.command("serve")(serve.serve)
    app.add_typer(node.app, name="node")
    app.add_typer(user.app, name="user")
    app.add_typer(cert.app, name="cert")
    app.add_typer(identity.app, name="identity")
    app.add_typer(study.app, name="study")
    app.add_typer(policy.app, name="policy")
    app.add_typer(break_glass.app, name="break-glass")
    app.command("verify")(verify.verify)
    app.command("rebuild")(rebuild.rebuild)
    audit.app.add_typer(forward.app, name="forward")
    app.add_typer(audit.app, name="audit")
    app.add_typer(repository.app, name="repository")
    app.add_typer(signature.app, name="signature")
    app.command("evidence")(evidence.evidence)
    app.add_typer(keys.app, name="keys")
    app.command("conformance")(conformance.conformance)
    app.command("doctor")(doctor.doctor)
    app.command("metrics")(metrics.metrics)
    app.add_typer(lab.app, name="lab")
    return app
