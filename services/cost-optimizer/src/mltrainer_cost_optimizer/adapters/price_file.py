"""Reads price files."""

import tomllib
from datetime import date
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any

from mltrainer_cost_optimizer.domain.errors import InvalidPriceFileError
from mltrainer_cost_optimizer.domain.prices import OTHER_GPU, Price, PriceList

_PACKAGED = "mltrainer_cost_optimizer.adapters"
_MICROS = 1_000_000


def read_price_file(path: Path | None) -> PriceList:
    """Reads a price file; the packaged one where no path is given.

    Raises:
        InvalidPriceFileError: It is not there or not well formed.
    """
    place = str(path or "the packaged price file")
    try:
        text = (path or files(_PACKAGED) / "prices" / "list_prices.toml").read_text(encoding="utf-8")
        return _price_list(tomllib.loads(text))
    except OSError as error:
        raise InvalidPriceFileError(place, f"cannot be read: {error.strerror or error}") from error
    except KeyError as error:
        raise InvalidPriceFileError(place, f"lacks {error.args[0]}") from error
    except (ValueError, TypeError, AttributeError, InvalidOperation) as error:
        raise InvalidPriceFileError(place, f"is not well formed: {error}") from error


def _price_list(document: dict[str, Any]) -> PriceList:
    day, gpus = document["date"], document["gpu_hour"]
    if not isinstance(day, date) or not document["source"]:
        raise ValueError("`date` must be a date and `source` say where the prices come from")
    if OTHER_GPU not in gpus:
        raise KeyError(f"gpu_hour.{OTHER_GPU}")
    return PriceList(
        label=f"{document['name']} {day.isoformat()}",
        cpu=_price(document["cpu_hour"]),
        memory=_price(document["memory_gib_hour"]),
        gpus={gpu_type: _price(price) for gpu_type, price in gpus.items()},
    )


def _price(price: dict[str, Any]) -> Price:
    return Price(_micros(price["on_demand"]), _micros(price["spot"]))


def _micros(text: Any) -> int:
    if not isinstance(text, str):
        raise TypeError(f"the price {text!r} must be a string, so that it stays exact")
    micros = Decimal(text) * _MICROS
    if micros != micros.to_integral_value() or micros < 0:
        raise ValueError(f"the price {text!r} is negative or has more than six decimals")
    return int(micros)
