"""What we lean on inside Faust 0.15.3 is there, and called as we think; a new version shows here first."""

import inspect
from pathlib import Path

import faust
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from mode import Service
from mode.threads import ServiceThread, WorkerThread

from anomaly.config.settings import KafkaSettings
from anomaly.host.faust_source import Consumer, Thread, Transport, application


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_version_is_the_one_that_was_read() -> None:
    """pyproject.toml pins it; whoever moves it reads the rest of this file."""
    assert faust.__version__ == "0.15.3"


def test_methods_that_we_replace_have_their_signatures() -> None:
    """An override that is never called would lose commits silently."""
    assert parameters(driver.Consumer._new_consumer_thread) == ["self"]
    assert parameters(driver.Consumer._to_message) == ["self", "tp", "record"]
    assert parameters(base.Consumer.getmany) == ["self", "timeout"]
    assert parameters(base.Consumer.sleep)[:2] == ["self", "n"]
    assert parameters(base.Consumer._new_offset) == ["self", "tp"]
    assert parameters(base.Consumer._filter_tps_with_pending_acks) == ["self", "topics"]
    assert parameters(base.Consumer._add_gap) == ["self", "tp", "offset_from", "offset_to"]
    assert parameters(base.Consumer.on_partitions_revoked) == ["self", "revoked"]
    assert parameters(base.Consumer.perform_seek) == ["self"]
    assert parameters(driver.AIOKafkaConsumerThread._create_worker_consumer) == ["self", "transport"]
    assert parameters(base.ThreadDelegateConsumer.seek_wait) == ["self", "partitions"]


def test_methods_that_we_replace_are_called_where_we_think() -> None:
    """The drain loop calls `callback` and `_add_gap`; a commit asks `_filter_tps_with_pending_acks`, then `_new_offset`."""
    drain = base.Consumer._drain_messages.__code__
    assert {"callback", "getmany", "_add_gap", "suspend_flow"} <= set(drain.co_names)
    assert "await self.sleep(1)" in inspect.getsource(base.Consumer._wait_next_records)
    assert "_filter_tps_with_pending_acks" in inspect.getsource(base.Consumer.force_commit)
    assert "_new_offset" in base.Consumer._filter_committable_offsets.__code__.co_names
    assert "_create_worker_consumer" in driver.AIOKafkaConsumerThread._create_consumer.__code__.co_names


def test_a_thread_that_does_not_end_is_not_joined_for_ever() -> None:
    """mode makes the thread of the class's Worker, waits for its service so long, and then joins it by `stop`."""
    assert "self.Worker(self)" in inspect.getsource(ServiceThread.start)
    assert "self.shutdown_timeout" in inspect.getsource(Service.stop)
    assert "self._thread.stop()" in inspect.getsource(ServiceThread.stop)
    assert "is_stopped" in WorkerThread.__init__.__code__.co_names
    service = ServiceThread()
    worker = Thread.Worker(service)
    worker.stop()  # it never ran, so it will never say that it has stopped
    assert worker.daemon
    assert Thread.shutdown_timeout < ServiceThread.shutdown_timeout


def test_attributes_that_we_read_are_set() -> None:
    """The consumer's books, and the message that carries a block."""
    source = inspect.getsource(base.Consumer.__init__)
    for name in ("_acked", "_acked_index", "_read_offset", "_committed_offset", "callback"):
        assert f"self.{name} = " in source
    assert parameters(ConsumerMessage.__init__)[1:9] == [
        "topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value",
    ]  # fmt: skip


def test_recovery_awaits_our_restore_before_it_seeks() -> None:
    """`on_rebalance_complete` is awaited with every flow stopped; then `perform_seek`, then flow resumes."""
    from faust.tables.recovery import Recovery

    source = inspect.getsource(Recovery._resume_streams)
    order = [source.index(step) for step in ("on_rebalance_complete.send()", "perform_seek()", "resume_flow()")]
    assert order == sorted(order)


async def test_an_app_reads_through_our_transport(tmp_path: Path) -> None:
    """Consumer and thread are ours, with the fetch and isolation settings that Faust does not let us choose."""
    app = application(KafkaSettings(bootstrap=["127.0.0.1:1"]), "g", str(tmp_path))
    app.finalize()
    assert isinstance(app.transport, Transport)
    assert isinstance(app.consumer, Consumer)
    assert isinstance(app.consumer._thread, Thread)
    made = app.consumer._thread._create_worker_consumer(app.transport)
    assert (made._fetch_max_wait_ms, made._isolation_level) == (50, "read_committed")
