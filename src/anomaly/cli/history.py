"""Commands about history: replay, explain. Hosts are imported where they are used."""

import argparse
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from anomaly import logs
from anomaly.cli.arguments import Offset
from anomaly.cli.given import configured
from anomaly.command.file import commands_in
from anomaly.config.load import load, load_specs
from anomaly.config.mistake import ConfigError, Mistake
from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings, SourceSettings

if TYPE_CHECKING:
    from anomaly.host.past import Past


def replay(args: argparse.Namespace) -> int:
    """Run history through the detector, and show what it would have alerted, or with --against how that differs from what
    another configuration would have alerted (--set is of --config alone). The same history gives the same output."""
    own, other = configured(args), configured_against(args)
    own = out_of_shadow(own[0]), own[1]
    past = past_of(args, own[0])
    logs.to_stderr("warning")
    from anomaly.host.replay import Config, Output, replay

    output = Output(args.json, args.report, args.labels, args.save_state, commands_in(args.commands))
    config = Config(*own, name_of(args))
    against = Config(*other, args.against) if other else None
    return replay(past, config, output, against)


def explain(args: argparse.Namespace) -> int:
    """Run history through to a moment, and say of a series what was expected then, what made its score, and what reduced
    it."""
    settings, specs = configured(args)
    past = past_of(args, settings)
    logs.to_stderr("warning")
    from anomaly.host.explain import Question, explain
    from anomaly.host.replay import Config

    return explain(past, Config(settings, specs), Question(args.series, args.at), args.json)


def out_of_shadow(settings: Settings) -> Settings:
    """A replay shows what would page."""
    return replace(settings, shadow={})


def name_of(args: argparse.Namespace) -> str:
    """What a person calls the configuration of a command."""
    return " with ".join([args.config or "the built-in configuration", *([", ".join(args.set)] if args.set else [])])


def configured_against(args: argparse.Namespace) -> tuple[Settings, tuple[ModelSpec, ...]] | None:
    """The configuration that another one is held against, if one is."""
    if args.against is None:
        return None
    settings = load(args.against, os.environ)
    return out_of_shadow(settings), load_specs(settings.models)


def past_of(args: argparse.Namespace, settings: Settings) -> "Past":
    """The history that a command was given."""
    begin, end = args.begin, args.end
    numbers = [None if not isinstance(at, Offset) else at.number for at in (begin, end)]
    begin, end = (None if isinstance(at, Offset) else at for at in (begin, end))
    if args.files and (args.topic or numbers != [None, None]):
        raise ConfigError(
            [Mistake("--topic" if args.topic else "offset", "", "is of Kafka, and files are named; leave out one")]
        )
    from anomaly.host.past import Files, Stretch

    stretch = Stretch(begin, end, args.warm_up)
    if args.files:
        return Files(args.files, args.encoding, stretch)
    sources = topics_of(args, settings)
    from anomaly.host.past_topics import Topics

    assert settings.kafka is not None
    return Topics(settings.kafka, sources, stretch, first=numbers[0], past_last=numbers[1])


def topics_of(args: argparse.Namespace, settings: Settings) -> list[SourceSettings]:
    """The topics that a command was given: sources of the configuration, or others whose encoding is said."""
    if settings.kafka is None:
        raise ConfigError([Mistake("", "", "nothing to read: name FILES, or a configuration with kafka and sources")])
    known = {source.topic: source for source in settings.sources}
    unknown = [name for name in args.topic if name not in known]
    if unknown and args.encoding is None:
        raise ConfigError([Mistake("--topic", "", f"{unknown[0]} is none of the sources; say its --encoding")])
    if not (args.topic or known):
        raise ConfigError([Mistake("", "sources", "is empty: name a --topic, or FILES")])
    return [known.get(name) or SourceSettings(topic=name, encoding=args.encoding) for name in args.topic or known]
