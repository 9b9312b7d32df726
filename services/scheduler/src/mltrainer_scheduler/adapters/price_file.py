"""Reads price files of the form that the cost-optimizer bills with (ADR 0038)."""

import tomllib
from pathlib import Path
from typing import Any

from mltrainer_common.errors import StartupError

from mltrainer_scheduler.domain.prices import Price, PriceList


def read_prices(path: Path | None) -> PriceList | None:
    """Reads a price file; None where none is named, so that previews say that they know no price.

    Raises:
        StartupError: It is not there or not well formed.
    """
    if path is None:
        return None
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        gpus = {gpu_type: _price(price) for gpu_type, price in document.get("gpu_hour", {}).items()}
        return PriceList(_price(document["cpu_hour"]), _price(document["memory_gib_hour"]), gpus)
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise StartupError(f"{path} is no price file: {error!r}") from error


def _price(price: dict[str, Any]) -> Price:
    found = Price(float(price["on_demand"]), float(price["spot"]))
    if not 0.0 <= found.spot < float("inf") or not 0.0 <= found.on_demand < float("inf"):
        raise ValueError(f"{price} is no price")
    return found
