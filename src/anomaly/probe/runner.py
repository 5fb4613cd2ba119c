"""Make checks: once, or each when it is due. They are spread over their interval by name, and none overtakes itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b

from anomaly.config.probes import Check
from anomaly.probe import dns, http, tcp, tls
from anomaly.probe.result import Failed, Result

Told = Callable[[Check, Result], Awaitable[None]]


async def made(check: Check) -> Result:
    """What comes of a check, within its time-out."""
    now, before = round(time.time() * 1000), time.monotonic()
    why, facts = "", dict[str, float]()
    try:
        facts = await asyncio.wait_for(asked(check), check.timeout)
    except TimeoutError:
        why = f"no answer within {check.timeout:g} s"
    except Failed as failed:
        why, facts = str(failed), failed.facts
    except Exception as error:  # whatever a library raises, the user got no answer
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Result(check.name, now, time.monotonic() - before, why, facts)


async def asked(check: Check) -> dict[str, float]:
    """By its kind."""
    if check.http is not None:
        return await http.ask(check.http)
    if check.tcp is not None:
        return await tcp.ask(check.tcp)
    if check.dns is not None:
        return await dns.ask(check.dns)
    assert check.tls is not None  # config.probes sees to it
    return await tls.ask(check.tls)


async def run(checks: Sequence[Check], tell: Told) -> None:
    """Until cancelled."""
    async with asyncio.TaskGroup() as group:
        for check in checks:
            group.create_task(again_and_again(check, tell))


async def again_and_again(check: Check, tell: Told) -> None:
    """One check, at each of its times."""
    while True:
        await asyncio.sleep(wait(check, time.time()))
        await tell(check, await made(check))


def wait(check: Check, now: float) -> float:
    """Seconds to its next time: multiples of `every`, and a part of it that its name decides, the same after a restart."""
    share = int.from_bytes(blake2b(check.name.encode(), digest_size=4).digest(), "big") / (1 << 32)
    return check.every - (now - share * check.every) % check.every
