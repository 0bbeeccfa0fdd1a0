"""Puts floods and rules between services and trail, as ``detection.toml`` says. Part of the composition root."""

from archive.audit.coalescing import Coalescer
from archive.audit.detection.mail import Mail
from archive.audit.detection.notify import Outbox, Target
from archive.audit.detection.settings import load_detection
from archive.audit.detection.watch import Watch
from archive.audit.detection.webhook import Webhook
from archive.audit.vigil import Vigil
from archive.bootstrap import Archive
from archive.establish import shipped


def vigil_over(archive: Archive) -> Vigil:
    """What watches over an opened archive. A home without ``detection.toml`` has the rules of the release.

    Raises:
        SettingsInvalid: the file says something that is not understood.
        ProviderMisconfigured: a file with a secret cannot be read, or can be by others.
    """
    home = archive.home
    file = home.detection if home.detection.is_file() else shipped() / home.detection.name
    settings = load_detection(file, home)
    watch = Watch(settings.rules, settings.alerts, home.alerts_told)
    title = archive.settings.archive.ae_title
    targets: list[Target] = [Webhook(config, title) for config in settings.webhooks]
    targets += [Mail(config, title) for config in settings.mails]
    warned = tuple(Outbox(target) for target in targets)
    return Vigil(archive.audit, Coalescer(archive.audit, settings.flood), watch, warned)
