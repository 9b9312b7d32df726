"""Writes container images for tests out of a few files of this machine, in the layout of the OCI."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

_PREFIX = "application/vnd.oci.image"


def write_image(
    archive: Path,
    name: str,
    files: Mapping[str, Path],
    *,
    links: Mapping[str, str] | None = None,
    entry: str = "",
) -> Path:
    """Writes an archive that a container runtime imports; files can be executed by everybody."""
    layer = _layer(files, links or {})
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin:/usr/bin"], **({"Entrypoint": [entry]} if entry else {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    config = json.dumps(configuration).encode()
    manifest = {
        "schemaVersion": 2,
        "config": _descriptor(f"{_PREFIX}.config.v1+json", config),
        "layers": [_descriptor(f"{_PREFIX}.layer.v1.tar", layer)],
    }
    encoded = json.dumps(manifest).encode()
    described = _descriptor(f"{_PREFIX}.manifest.v1+json", encoded)
    described["annotations"] = {"io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [described]}
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in (layer, config, encoded):
            _add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
    return archive


def _layer(files: Mapping[str, Path], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in ("tmp", "bin", "usr", "lib", "lib64", "etc", "proc", "dev", "sys"):
            member = tarfile.TarInfo(directory)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(member)
        for path, source in files.items():
            _add(tar, path.lstrip("/"), source.read_bytes())
        for path, target in links.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    tar.addfile(member, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }
