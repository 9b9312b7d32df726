"""Reads providers, and refuses every one that could do what was not reviewed."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from mltrainer_chaos.domain.catalogue import CATALOGUE, LONGEST_PROBE_S, ActivityKind, Signature
from mltrainer_chaos.domain.experiment import FunctionCall, HttpCall, Provider

_DEFAULT_TIMEOUT_S = 1.0
Report = Callable[[str, str], None]
"""Takes a path below the provider and what is wrong there."""


def parse_provider(
    raw: Any, kind: ActivityKind, metrics_addresses: frozenset[str], report: Report
) -> Provider | None:
    """Returns what a provider calls; None where something was reported."""
    if not isinstance(raw, Mapping):
        report("", "must be an object")
        return None
    match raw.get("type"):
        case "python":
            return _python(raw, kind, report)
        case "http":
            return _http(raw, kind, metrics_addresses, report)
        case "process":
            _refuse_process(raw, report)
        case other:
            report(".type", f"is {other!r}; known are 'python', 'http' and 'process'")
    return None


def _python(raw: Mapping[str, Any], kind: ActivityKind, report: Report) -> FunctionCall | None:
    name = (str(raw.get("module")), str(raw.get("func")))
    signature = CATALOGUE.get(name)
    if signature is None or signature.kind is not kind:
        allowed = ", ".join(".".join(key) for key, item in CATALOGUE.items() if item.kind is kind)
        report(".func", f"{'.'.join(name)} is not on the list of {kind}s: {allowed}")
        return None
    arguments = _bind(signature, raw.get("arguments", {}), report)
    return None if arguments is None else FunctionCall(signature.function, arguments)


def _bind(signature: Signature, given: Any, report: Report) -> Mapping[str, Any] | None:
    if not isinstance(given, Mapping):
        report(".arguments", "must be an object")
        return None
    problems = {name: "is unknown" for name in given if name not in signature.parameters}
    bound: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name not in given and parameter.default is not None:
            bound[name] = parameter.default
        elif name not in given:
            problems[name] = "is missing"
        elif problem := parameter.problem(given[name]):
            problems[name] = problem
        else:
            bound[name] = given[name]
    for name, problem in problems.items():
        report(f".arguments.{name}", problem)
    return None if problems else bound


def _refuse_process(raw: Mapping[str, Any], report: Report) -> None:
    if isinstance(raw.get("arguments"), str):
        report(".arguments", "is one text, which the Chaos Toolkit hands to a shell: never executed here")
    report(".path", f"{raw.get('path')!r} would start a program: none is allowed, use a function of the list")


def _http(
    raw: Mapping[str, Any], kind: ActivityKind, metrics_addresses: frozenset[str], report: Report
) -> HttpCall | None:
    problems: dict[str, str] = {}
    method, headers, arguments = raw.get("method", "GET"), raw.get("headers", {}), raw.get("arguments", {})
    url, timeout_s = raw.get("url"), raw.get("timeout", _DEFAULT_TIMEOUT_S)
    if kind is not ActivityKind.PROBE:
        problems[".type"] = "is 'http', which only probes may use"
    if method not in {"GET", "HEAD"}:
        problems[".method"] = f"is {method!r}; a probe may only GET or HEAD"
    if not _is_table_of_texts(headers):
        problems[".headers"] = "must be an object of texts without line breaks"
    if not isinstance(arguments, Mapping):
        problems[".arguments"] = "must be an object"
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        problems[".timeout"] = "must be a number of seconds"
    elif not 0 < timeout_s <= LONGEST_PROBE_S:
        problems[".timeout"] = f"must be above 0 and at most {LONGEST_PROBE_S:g} seconds"
    if problem := _url_problem(url, metrics_addresses):
        problems[".url"] = problem
    for path, problem in problems.items():
        report(path, problem)
    if problems:
        return None
    query = f"{'&' if '?' in str(url) else '?'}{urlencode(arguments)}" if arguments else ""
    return HttpCall(f"{url}{query}", method, dict(headers), float(timeout_s))


def _is_table_of_texts(headers: Any) -> bool:
    return isinstance(headers, Mapping) and all(
        isinstance(text, str) and not {"\r", "\n"} & set(text) for item in headers.items() for text in item
    )


def _url_problem(url: Any, metrics_addresses: frozenset[str]) -> str | None:
    if not isinstance(url, str) or any(character <= " " for character in url):
        return "must be a URL"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return f"{url!r} is no URL"
    if parts.scheme != "http" or host is None or parts.username is not None:
        return f"{url!r} must begin with http:// and name a host without a user"
    if _is_loopback(host) or f"{host}:{port}" in metrics_addresses:
        return None
    return f"{host!r} is neither a loopback address nor the metrics address of a service"


def _is_loopback(host: str) -> bool:
    # A name would be resolved again when it is called; only this one cannot lead elsewhere.
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
