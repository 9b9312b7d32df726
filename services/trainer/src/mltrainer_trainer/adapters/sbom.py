"""Lists the installed distributions as a CycloneDX document, the same bytes wherever they are the same."""

import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from uuid import UUID

_CACHED = "{}.cdx.json"


def environment_sbom(environment_digest: str, cache: Path) -> bytes:
    """Returns the document of this environment; it is written once per environment and then read."""
    file = cache / _CACHED.format(environment_digest)
    if file.exists():
        return file.read_bytes()
    content = make_sbom(environment_digest)
    cache.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(content)
    draft.replace(file)
    return content


def make_sbom(environment_digest: str) -> bytes:
    """Returns CycloneDX 1.6 JSON; its serial number is made from the digest, and it carries no time."""
    # A quarter of a second to import: only where the document is not there yet.
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    bom = Bom(serial_number=UUID(environment_digest[:32]))
    for name, version in sorted(set(_installed())):
        url = PackageURL("pypi", name=name, version=version)
        component = Component(
            type=ComponentType.LIBRARY, name=name, version=version, purl=url, bom_ref=url.to_string()
        )
        bom.components.add(component)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document.pop("dependencies", None)
    document.get("metadata", {}).pop("timestamp", None)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _installed() -> Iterator[tuple[str, str]]:
    for distribution in distributions():
        yield re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(), distribution.version
