"""Lists the bars that are kept out, and judges them again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mltrainer_feature.application.ports import Clock, OnlineRows, UnitOfWorkFactory
from mltrainer_feature.application.queries import Page, PageRequest
from mltrainer_feature.application.record_bars import CLOCK_TOLERANCE, store_bars
from mltrainer_feature.domain.bars import KeptRefusal, Refusal, split_new_bars, to_bars
from mltrainer_feature.domain.errors import InvalidRequestError, ResourceNotFoundError, Violation
from mltrainer_feature.domain.exchanges import ALL_OPEN, Exchanges

MAX_REPLAYED = 1_000
_PREFIX = "refusedBars/"


@dataclass(frozen=True, slots=True)
class ListRefusedBarsHandler:
    """Answers which bars are kept out, newest first."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, page: PageRequest, symbol: str = "", reason: str = "") -> Page[KeptRefusal]:
        limit = page.limit()
        async with self.unit_of_work.snapshot() as stored:
            found = await stored.bars.refused(page.place(), limit + 1, symbol, reason)
        token = str(found[limit - 1].number) if len(found) > limit else ""
        return Page(found[:limit], token)


@dataclass(frozen=True, slots=True)
class ReplayedBars:
    """What became of refused bars."""

    accepted_count: int
    refused: tuple[KeptRefusal, ...]


@dataclass(frozen=True, slots=True)
class ReplayRefusedBarsHandler:
    """Stores refused bars that can be used now, as they came; the answer says why the others stay."""

    unit_of_work: UnitOfWorkFactory
    online: OnlineRows
    market_clock: Clock
    exchanges: Exchanges = ALL_OPEN

    async def __call__(self, names: Sequence[str]) -> ReplayedBars:
        numbers = _numbers(names)
        now = self.market_clock.now()
        async with self.unit_of_work() as uow:
            kept = await uow.bars.refused_by_number(numbers)
            if missing := set(numbers) - {one.number for one in kept}:
                raise ResourceNotFoundError("refused bar", f"{_PREFIX}{min(missing)}")
            bars = to_bars([one.refusal for one in kept])
            sound, refusals = split_new_bars(bars, now + CLOCK_TOLERANCE)
            usable, untimely = self.exchanges.split(sound)
            stored = await store_bars(uow, usable)
            judged = {_key(one): one for one in (*refusals, *untimely, *stored.recorded.refusals)}
            stay = [
                replace(one, refusal=judged[_key(one.refusal)]) for one in kept if _key(one.refusal) in judged
            ]
            await uow.bars.forget_refused(sorted(set(numbers) - {one.number for one in stay}))
            await uow.commit()
        await self.online.refresh()
        return ReplayedBars(len(kept) - len(stay), tuple(stay))


def _key(refusal: Refusal) -> tuple[object, ...]:
    return refusal.symbol, refusal.event_time, refusal.knowledge_time, refusal.close


def _numbers(names: Sequence[str]) -> list[int]:
    if not 1 <= len(names) <= MAX_REPLAYED:
        raise InvalidRequestError([Violation("names", f"name 1 to {MAX_REPLAYED} refused bars")])
    wrong = [
        Violation(f"names[{place}]", "is no `refusedBars/{number}`")
        for place, name in enumerate(names)
        if not name.startswith(_PREFIX) or not name.removeprefix(_PREFIX).isdecimal() or len(name) > 30
    ]
    if wrong:
        raise InvalidRequestError(wrong)
    return sorted({int(name.removeprefix(_PREFIX)) for name in names})
