"""Receivers: a file for each kind. Each turns an alert into its own request, and says what became of it."""

from collections.abc import Callable

from anomaly.config.settings import ReceiverSettings
from anomaly.dispatch.receivers.alertmanager import AlertmanagerReceiver
from anomaly.dispatch.receivers.answer import Receiver
from anomaly.dispatch.receivers.local import FileReceiver, StdoutReceiver
from anomaly.dispatch.receivers.pagerduty import PagerDutyReceiver
from anomaly.dispatch.receivers.webhook import WebhookReceiver


def made(settings: ReceiverSettings, now: Callable[[], float]) -> Receiver:
    """The receiver that the settings describe."""
    if settings.pagerduty:
        return PagerDutyReceiver(settings.pagerduty)
    if settings.alertmanager:
        return AlertmanagerReceiver(settings.alertmanager, now)
    if settings.webhook:
        return WebhookReceiver(settings.webhook)
    if settings.file:
        return FileReceiver(settings.file)
    if settings.stdout:
        return StdoutReceiver(settings.stdout)
    raise ValueError(f"receiver {settings.name} has no kind")
