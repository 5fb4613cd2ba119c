"""How to reach the brokers: settings as aiokafka and Faust want them, and waiting for brokers with a clear message."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, KafkaTimeoutError

from anomaly.config.settings import KafkaSettings, Security

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_PAUSE = 10.0  # seconds between tries to reach the brokers
METADATA = 10_000  # ms after which a client asks anew which partitions there are: new ones are read before they are missed


def context(security: Security) -> ssl.SSLContext | None:
    """TLS with the given authority and, where there is one, our certificate; None for a plain connection."""
    if "SSL" not in security.protocol.split("_"):
        return None
    made = ssl.create_default_context(cafile=security.ca)
    if security.certificate:
        made.load_cert_chain(security.certificate, security.key)
    return made


def secret(path: str | None) -> str | None:
    """What a file holds, without the newline at its end; None without a file."""
    return Path(path).read_text().strip() if path else None


def options(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for every client of aiokafka."""
    security = kafka.security
    made: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap),
        "security_protocol": security.protocol,
        "metadata_max_age_ms": METADATA,
    }
    if security.protocol.startswith("SASL"):
        made["sasl_mechanism"] = security.mechanism
        made["sasl_plain_username"] = secret(security.username_file)
        made["sasl_plain_password"] = secret(security.password_file)
    if tls := context(security):
        made["ssl_context"] = tls
    return made


def passing(error: BaseException) -> bool:
    """Whether another try may help."""
    if isinstance(error, KafkaError):
        return isinstance(error, KafkaTimeoutError) or bool(error.retriable)
    return isinstance(error, OSError | asyncio.TimeoutError)


async def patiently(act: Callable[[], Awaitable[T]], what: str, reached: Callable[[bool], None] = lambda _: None) -> T:
    """The result of `act`, tried again with growing pauses while the brokers do not answer."""
    pause = 1.0
    while True:
        try:
            with overheard() as said:
                result = await act()
        except (TimeoutError, KafkaError, OSError) as error:
            if not passing(error):
                raise
            log.warning("%s: no answer from the brokers (%s); next try in %.0f s", what, brief(said, error), pause)
            reached(False)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            reached(True)
            return result


def brief(said: list[str], error: BaseException) -> str:
    """Why it failed, in a line: what the client complained of tells more than what it raised."""
    return " ".join((said[-1] if said else str(error) or type(error).__name__).split())


class _Overhear(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


_listening: list[_Overhear] = []


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What aiokafka complains of meanwhile, collected instead of logged: we say it ourselves, in a line."""
    logger, handler = logging.getLogger("aiokafka"), _Overhear([])
    logger.addHandler(handler)
    _listening.append(handler)
    logger.propagate = False
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)
        _listening.remove(handler)
        logger.propagate = not _listening


class Admin:
    """An admin client for questions that come again and again: there from the first on, and made anew after an error."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self._client: AIOKafkaAdminClient | None = None
        self._turn = asyncio.Lock()

    async def ask(self, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        """The answer; one question at a time."""
        async with self._turn:
            try:
                if self._client is None:
                    self._client = AIOKafkaAdminClient(**options(self.kafka))
                    await self._client.start()
                return await question(self._client)
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Until the next question."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


@asynccontextmanager
async def admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    client = AIOKafkaAdminClient(**options(kafka))
    try:
        await client.start()
        yield client
    finally:
        await client.close()
