"""``strongroom audit``: what happened, and whether the trail that says so is intact."""

from archive.cli.audit_proof import checkpoint, retain, verify
from archive.cli.audit_reading import export, search, show
from archive.cli.frame import verbs

app = verbs("The audit trail.")
app.command("show")(show)
app.command("search")(search)
app.command("export")(export)
app.command("verify")(verify)
app.command("checkpoint")(checkpoint)
app.command("retain")(retain)
