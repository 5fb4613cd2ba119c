"""What a command was given: settings and specs, and how it ends (exit codes)."""

import argparse
import os

from msgspec.structs import replace

from anomaly.config.load import load, load_specs
from anomaly.config.models import ModelSpec
from anomaly.config.settings import ReceiverSettings, Settings, Stdout

FAILED, WRONG, NO_DATA, INTERRUPTED = 1, 2, 3, 130
NOBODY = ReceiverSettings(name="stdout", stdout=Stdout())  # who gets the alerts where nobody is named


def configured(args: argparse.Namespace) -> tuple[Settings, tuple[ModelSpec, ...]]:
    """Settings and specs that a command was given. Alerts that nobody is to get are printed."""
    settings = load(args.config, os.environ, args.set)
    settings = settings if settings.receivers else replace(settings, receivers=[NOBODY])
    return settings, load_specs(settings.models)


def in_shadow(settings: Settings) -> Settings:
    """On Kafka a team is in shadow until somebody promotes it, or the configuration says otherwise."""
    return replace(settings, shadow={"default": True, **settings.shadow})
