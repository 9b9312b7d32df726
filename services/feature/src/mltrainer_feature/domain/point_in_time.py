"""Which row of a history was the newest one known at a moment.

A row has an event time (what it is about) and a created time (since when it is known). At a moment, those
rows are visible whose event time and created time have both come. The newest visible row is the one with the
latest event time, then the latest created time, then the last place in its source.

Times are whole nanoseconds since 1970 UTC; `None` is a time that nobody knows.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl

EVENT = "__event"
CREATED = "__created"
TIME = "__time"
_NOWHERE = -1

History: TypeAlias = pl.DataFrame
"""Join keys, `__event` and, where creation is recorded, `__created`."""
Moments: TypeAlias = pl.DataFrame
"""The same join keys, of the same types, and `__time`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a row counts."""

    max_age_ns: int | None = None
    is_created_time_honoured: bool = True


def newest_known(moments: Moments, history: History, rule: Rule) -> pl.Series:
    """Returns, for each moment, the place of its row in the history; null where there is none.

    A moment whose newest visible row is older than the maximal age has none: every other row is older still.
    """
    keys, steps = _timeline(history, rule)
    asked = (
        moments.select(TIME).with_columns(code=_codes_of(moments, keys)).with_row_index("place").sort(TIME)
    )
    found = asked.join_asof(
        steps.sort("known"), left_on=TIME, right_on="known", by="code", check_sortedness=False
    )
    if rule.max_age_ns is not None:
        is_young = pl.col("event") >= pl.col(TIME) - rule.max_age_ns
        found = found.with_columns(row=pl.when(is_young).then("row"))
    return _in_place(found["place"], found["row"])


def newest_of_each_key(history: History, rule: Rule) -> pl.Series:
    """Returns the places of the rows that are the newest of their keys once everything is known, in order."""
    _, ranked = _ranked(history, rule)
    return ranked.sort("rank").unique("code", keep="last")["row"].sort()


def join_keys(frame: pl.DataFrame) -> list[str]:
    """Returns the names of the join keys."""
    return [name for name in frame.columns if name not in {EVENT, CREATED, TIME}]


def _timeline(history: History, rule: Rule) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists since when which row is the newest of its key, by key and time.

    A row that becomes known after a newer one of its key never is the newest and is left out: thus one search
    by time answers for two conditions.
    """
    keys, ranked = _ranked(history, rule)
    ordered = ranked.sort("code", "known", "rank")
    # Ranks grow with newness and codes come in order, so one running maximum serves all keys.
    newness = ordered["code"].to_numpy() * (ordered.height + 1) + ordered["rank"].to_numpy()
    steps = ordered.filter(pl.Series(newness == np.maximum.accumulate(newness), dtype=pl.Boolean))
    same_key = pl.col("code") == pl.col("code").shift(-1)
    same_time = pl.col("known") == pl.col("known").shift(-1)
    return keys, steps.filter(~(same_key & same_time).fill_null(value=False))


def _ranked(history: History, rule: Rule) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Codes the keys and ranks the rows from old to new, without those that are never visible."""
    keys = join_keys(history)
    has_created = CREATED in history.columns
    honours_created = has_created and rule.is_created_time_honoured
    rows = (
        history.select(
            *keys,
            event=EVENT,
            created=CREATED if has_created else EVENT,
            known=pl.max_horizontal(EVENT, CREATED) if honours_created else EVENT,
        )
        .with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
        .drop_nulls([*keys, "event", *(["created"] if honours_created else [])])
    )
    distinct = rows.select(keys).unique().with_columns(code=pl.int_range(pl.len(), dtype=pl.Int64))
    ranked = rows.drop(keys).with_columns(code=_codes_of(rows, distinct)).sort("event", "created", "row")
    return distinct, ranked.with_columns(rank=pl.int_range(pl.len(), dtype=pl.Int64)).drop("created")


def _in_place(places: pl.Series, rows: pl.Series) -> pl.Series:
    """Undoes a sort: a fraction of the cost of sorting by place."""
    ordered = np.empty(len(rows), dtype=np.int64)
    ordered[places.to_numpy()] = rows.fill_null(_NOWHERE).to_numpy()
    found = pl.Series("row", ordered)
    return found.set(found == _NOWHERE, None)


def _codes_of(rows: pl.DataFrame, distinct: pl.DataFrame) -> pl.Series:
    """Looks the codes of keys up; null for an unknown key and for one with a null."""
    keys = [name for name in distinct.columns if name != "code"]
    if not keys:
        return pl.zeros(rows.height, dtype=pl.Int64, eager=True)
    return rows.select(keys).join(distinct, on=keys, how="left", maintain_order="left")["code"]
