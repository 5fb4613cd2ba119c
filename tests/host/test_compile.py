"""What `anomaly compile` promises: no worker has to wait for a compiler later."""

import sys

from numba.core.dispatcher import Dispatcher

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.records import Records
from anomaly.engine import Engine
from anomaly.host import compile as compiling


def signatures() -> dict[str, int]:
    """How many forms of each kernel are ready."""
    loaded = [(name, vars(module)) for name, module in sorted(sys.modules.items()) if name.startswith("anomaly.")]
    kernels = {f"{m}.{k}": v for m, held in loaded for k, v in held.items() if isinstance(v, Dispatcher)}
    return {name: len(kernel.signatures) for name, kernel in kernels.items()}


def test_after_it_nothing_is_compiled_any_more():
    """Other data, another engine, other sizes of blocks: the kernels that are there serve."""
    assert compiling.compile_kernels() > 0
    before = signatures()
    assert sum(before.values()) > 5

    engine = Engine(Settings(), load_specs(), partitions=4)
    for size in (1, 7, 30):
        sent = list(compiling.requests())[-size:]
        for wrapped in (compiling.as_sent, compiling.as_fetched):
            for records in wrapped(f"other-{size}-{wrapped.__name__}", sent):
                blocks, dead = engine.decode(SourceSettings(topic=records.source, encoding="otlp_proto"), records)
                assert not dead
                for partition, block in blocks:
                    engine.detect(partition, block)
    line = compiling.PROMETHEUS.replace("shop", "other").encode()
    engine.process(SourceSettings(topic="p", encoding="prometheus_json"), Records.of([line] * 3, "p"))
    assert signatures() == before


def test_it_goes_through_an_anomaly_and_a_second_instance():
    """What only happens when something is wrong must not be compiled when something is wrong."""
    engine = Engine(Settings(), load_specs())
    found = []
    for i, value in enumerate(compiling.requests()):
        blocks, _ = engine.decode(SourceSettings(topic="t", encoding="otlp_proto"), Records.of([value], "t", 0, i))
        found += [event for partition, block in blocks for event in engine.detect(partition, block)]
    assert "errors" in {getattr(event, "spec", "") for event in found}
    assert engine.detector(0).series == 2 * 4
