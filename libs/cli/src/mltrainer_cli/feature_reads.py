"""Reads views and rows of the feature service for the commands that show them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mltrainer_cli.calls import all_pages, to_json

if TYPE_CHECKING:
    from mltrainer.feature.v1.feature_service_pb2 import ListFeatureRowsRequest
    from mltrainer.feature.v1.resources_pb2 import FeatureView
    from mltrainer_sdk import Client, FeatureVectors


def freshness(view: "FeatureView") -> dict[str, Any]:
    """Compares the age of a view with its objective."""
    has_rows = view.HasField("age")
    age_s, max_age_s = view.age.ToTimedelta().total_seconds(), view.max_age.ToTimedelta().total_seconds()
    return {
        "view": view.name.removeprefix("featureViews/"),
        "state": "ok" if has_rows and age_s <= max_age_s else "failed",
        "age_s": age_s if has_rows else None,
        "max_age_s": max_age_s,
        "latest_event_time": to_json(view).get("latest_event_time"),
    }


def values(vectors: "FeatureVectors") -> list[dict[str, Any]]:
    """Lists vectors value by value."""
    return [
        {
            "symbol": symbol,
            "feature": name,
            "value": _number(vectors.values[row, column]),
            "status": vectors.statuses[row][column].name,
            "event_time": vectors.event_times[row][column],
        }
        for row, symbol in enumerate(vectors.symbols)
        for column, name in enumerate(vectors.feature_names)
    ]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def references(views: "Sequence[FeatureView]") -> list[str]:
    """Names every feature of some views."""
    return [
        f"{view.name.removeprefix('featureViews/')}:{feature.name}"
        for view in views
        for feature in view.features
    ]


async def views(client: "Client") -> "list[FeatureView]":
    """Returns every view."""
    from mltrainer.feature.v1.feature_service_pb2 import ListFeatureViewsRequest

    async def fetch(size: int, token: str) -> "tuple[list[FeatureView], str]":
        request = ListFeatureViewsRequest(page_size=size, page_token=token)
        page = await client.feature.ListFeatureViews(request)
        return list(page.feature_views), page.next_page_token

    return await all_pages(fetch)


async def history(
    client: "Client", request: "ListFeatureRowsRequest", limit: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """Returns the names of a view's features and rows of a symbol, at most `limit`."""
    names: list[str] = []

    async def fetch(size: int, token: str) -> tuple[list[dict[str, Any]], str]:
        request.page_size, request.page_token = size, token
        page = await client.feature.ListFeatureRows(request)
        names[:] = page.feature_names
        return [_row(one, page.feature_names) for one in page.rows], page.next_page_token

    rows = await all_pages(fetch, limit)
    return names, rows


def _row(row: Any, names: Sequence[str]) -> dict[str, Any]:
    fields = to_json(row)
    values = dict(zip(names, map(_number, row.values), strict=True))
    return {"event_time": fields.get("event_time"), "created_time": fields.get("created_time"), **values}
