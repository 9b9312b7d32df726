"""Brings the store to the definitions of this release before anything is served."""

from dataclasses import dataclass
from datetime import timedelta

from mltrainer_feature.application.ports import OnlineRows, UnitOfWorkFactory
from mltrainer_feature.application.record_bars import write_rows
from mltrainer_feature.domain.definitions import follow_release
from mltrainer_feature.domain.views import ViewRevised, open_store


@dataclass(frozen=True, slots=True)
class OpenStoreHandler:
    """Publishes views that are new or redefined, and computes all rows again where they no longer fit."""

    unit_of_work: UnitOfWorkFactory
    online: OnlineRows
    decision_delay: timedelta

    async def __call__(self) -> None:
        async with self.unit_of_work() as uow:
            known = await uow.store.load()
            state = open_store(known, self.decision_delay)
            if state != known:
                await uow.store.save(state)
                if known is not None:
                    await uow.rows.clear()
                    everything = await uow.bars.whole_range()
                    if everything is not None:
                        await write_rows(uow, everything, self.decision_delay, state.views[0].log_revision)
                published = {view.name: view.revision for view in known.views} if known is not None else {}
                for view in state.views:
                    if published.get(view.name) != view.revision:
                        uow.outbox.add(ViewRevised(view))
                if known is not None:
                    definitions = await uow.definitions.load()
                    await uow.definitions.save(follow_release(definitions, known.views, state.views))
                await uow.commit()
        await self.online.refresh()
