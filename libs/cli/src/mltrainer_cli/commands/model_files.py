"""`mltrainer models`: the files of versions, who vouches for them, and how they travel."""

import asyncio
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mltrainer_cli.calls import call, to_json
from mltrainer_cli.commands.model_promotions import ModelArgument, VersionArgument
from mltrainer_cli.console import print_fields, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrainer.registry.v1.resources_pb2 import ModelVersion
    from mltrainer_models import ManifestEntry
    from mltrainer_sdk import Client

    from mltrainer_cli.model_trust import Vouching

FileArgument = Annotated[Path, typer.Argument(help="The archive.", metavar="FILE", dir_okay=False)]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module to `models`."""
    app.command("verify")(verify)
    app.command("trust")(trust)
    app.command("export")(export)
    app.command("import")(import_archive)
    app.command("import-mlflow")(import_mlflow)
    app.command("collect-garbage")(collect_garbage)


def verify(
    data: DataOption,
    model: ModelArgument,
    version: VersionArgument = "champion",
    output: OutputOption = Output.TABLE,
    *,
    library: Annotated[bool, typer.Option(help="Ask model-signing itself as well.")] = False,
) -> None:
    """Download a version, check every byte and who has signed it."""
    from mltrainer_cli.model_trust import Trust

    with tempfile.TemporaryDirectory() as folder:
        found = call(data, lambda client: _fetch(client, model, version, Path(folder)))
        vouching = _judge(data, found, Path(folder))
        if library and vouching.trust is Trust.SIGNED:
            _ask_library(data, Path(folder), vouching.key_id)
    facts = {"version": found.name, "manifest": found.manifest.digest, "files": len(found.manifest.files)}
    print_fields({**facts, "trust": vouching.trust, "key": vouching.key_id}, output)
    print_line(vouching.sentence, output)
    if vouching.trust is not Trust.SIGNED:
        raise CliError(f"Nobody trusted here vouches for {found.name}.", ExitCode.CLAIM_FAILED)


def trust(
    data: DataOption,
    key: Annotated[Path, typer.Argument(help="A public key, PEM.", exists=True, dir_okay=False)],
) -> None:
    """Trust another installation's public key: its models may be served."""
    from mltrainer_models.key_folder import KeyFolder
    from mltrainer_models.signatures import SignatureError, key_id, normal_public_key

    try:
        pem = normal_public_key(key.read_bytes())
    except SignatureError as error:
        raise CliError(f"{key} cannot be trusted: {error}.", ExitCode.REJECTED) from error
    KeyFolder(data.signing_folder).trust(f"{key_id(pem)[:16]}.pem", pem)
    print_line(f"Key {key_id(pem)} is trusted from now on.")


def export(
    data: DataOption,
    model: ModelArgument,
    file: FileArgument,
    output: OutputOption = Output.TABLE,
    *,
    version: Annotated[str, typer.Option(help="Number or alias.")] = "champion",
) -> None:
    """Write a version with its files, signature, lineage and results to one file."""
    from mltrainer_cli.model_archive import ModelArchive, write_archive

    with tempfile.TemporaryDirectory() as folder:
        found = call(data, lambda client: _fetch(client, model, version, Path(folder)))
        archive = ModelArchive(_own_source(data), _describe(found), _entries(found))
        write_archive(file, archive, lambda entry: _chunks(Path(folder) / entry.file), _signer(data))
    facts = {"version": found.name, "manifest": archive.manifest_digest, "file": str(file)}
    print_fields({**facts, "size_bytes": file.stat().st_size}, output)


def import_archive(
    data: DataOption,
    file: FileArgument,
    output: OutputOption = Output.TABLE,
    *,
    model: Annotated[str, typer.Option(help="Take it in as a version of this model.")] = "",
    require_signature: Annotated[
        bool, typer.Option(help="Refuse what nobody trusted here has signed.")
    ] = False,
) -> None:
    """Take in a version that another installation has exported; again is no second version."""
    from mltrainer_cli.model_archive import OpenArchive
    from mltrainer_cli.model_imports import ArchiveImport
    from mltrainer_cli.model_trust import Trust, judge, signature_entry

    with OpenArchive(file) as opened:
        archive = opened.check()
        signature = signature_entry(archive.entries)
        content = b"".join(opened.chunks(signature)) if signature else None
        vouching = judge(content, archive.entries, _trusted(data))
        document, document_signature = opened.description()
        described = judge(document_signature, [document], _trusted(data))
        for what, found_trust in (("files", vouching), ("description", described)):
            if found_trust.trust is Trust.BROKEN or (
                require_signature and found_trust.trust is not Trust.SIGNED
            ):
                raise CliError(f"The {what}: {found_trust.sentence}", ExitCode.REJECTED)
        taking_in = ArchiveImport(opened, archive, _own_source(data), model)
        found = call(data, taking_in.run)
    origin = f"{found.origin.source} {found.origin.version}" if found.HasField("origin") else "here"
    facts = {"version": found.name, "origin": origin, "trust": vouching.trust}
    print_fields({**facts, "trust_of_description": described.trust}, output)
    print_line(vouching.sentence, output)


def import_mlflow(
    data: DataOption,
    source: Annotated[
        str,
        typer.Argument(
            help="URL of a tracking server, `sqlite:///…`, a database file, or a folder such as `mlruns`.",
            metavar="SOURCE",
        ),
    ],
    output: OutputOption = Output.TABLE,
    *,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            help="Folder with what MLflow keeps as `mlflow-artifacts:`.", file_okay=False, exists=True
        ),
    ] = None,
) -> None:
    """Take in the models, versions, aliases, tags and files of MLflow; again brings only what is new.

    The files are kept as they are: nothing loads them, and no service serves them.
    """
    from mltrainer_cli.mlflow_import import MlflowImport, open_source

    tell = partial(print_line, output=output)
    summary = call(data, MlflowImport(open_source(source), artifacts, tell).run)
    failures = summary.failures
    if output is Output.JSON:
        print_fields(summary.fields(), output)
    else:
        print_fields({**summary.fields(), "failures": len(failures)}, output)
        print_rows(failures, ("subject", "reason"), output)
    if failures and not summary.imported and not summary.present:
        raise CliError(f"Nothing of {source} could be taken in.", ExitCode.REJECTED)


def collect_garbage(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be deleted.")] = False,
    grace_hours: Annotated[
        float | None,
        typer.Option(min=0, help="Leave alone what is younger; the registry's setting if unset."),
    ] = None,
) -> None:
    """Delete stored files that no version and no recent upload refers to."""

    async def collect(client: "Client") -> dict[str, Any]:
        from mltrainer.registry.v1.registry_service_pb2 import CollectGarbageRequest

        request = CollectGarbageRequest(dry_run=dry_run)
        if grace_hours is not None:
            request.grace.FromTimedelta(timedelta(hours=grace_hours))
        return to_json(await client.registry.CollectGarbage(request, timeout=600))

    print_fields(call(data, collect), output)


async def _fetch(client: "Client", model: str, version: str, folder: Path) -> "ModelVersion":
    from mltrainer.registry.v1.registry_service_pb2 import GetModelVersionRequest

    from mltrainer_cli.model_archive import verified
    from mltrainer_cli.model_transfer import download

    name = await client.models.version_name(model, version)
    found = await client.registry.GetModelVersion(GetModelVersionRequest(name=name))
    for entry in _entries(found):
        await download(client, found.name, entry, folder / entry.file)
        # Bytes may have come in two halves, from two replicas: the whole is verified here.
        await asyncio.to_thread(_exhaust, verified(entry, _chunks(folder / entry.file)))
    return found


def _exhaust(chunks: Any) -> None:
    for _ in chunks:
        pass


def _entries(version: "ModelVersion") -> "tuple[ManifestEntry, ...]":
    from mltrainer_models import ManifestEntry

    files = sorted(version.manifest.files, key=lambda file: file.path)
    return tuple(ManifestEntry(file.path, file.sha256, file.size_bytes) for file in files)


def _chunks(path: Path) -> Any:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _judge(data: DataDirectory, version: "ModelVersion", folder: Path) -> "Vouching":
    from mltrainer_cli.model_trust import judge, signature_entry

    entries = _entries(version)
    signature = signature_entry(entries)
    content = (folder / signature.file).read_bytes() if signature else None
    return judge(content, entries, _trusted(data))


def _ask_library(data: DataDirectory, folder: Path, key: str) -> None:
    # A second to import, and forty megabytes.
    import model_signing
    from mltrainer_models import SIGNATURE_FILE
    from mltrainer_models.signatures import key_id, normal_public_key

    (pem,) = (pem for pem in _trusted(data) if key_id(normal_public_key(pem)) == key)
    with tempfile.NamedTemporaryFile(suffix=".pem") as public:
        public.write(pem)
        public.flush()
        verifying: Any = model_signing.verifying
        config = verifying.Config().use_elliptic_key_verifier(public_key=Path(public.name))
        try:
            config.verify(folder, folder / SIGNATURE_FILE)
        except ValueError as error:
            raise CliError(f"model-signing disagrees: {error}.", ExitCode.CLAIM_FAILED) from error


def _trusted(data: DataDirectory) -> tuple[bytes, ...]:
    from mltrainer_models.key_folder import KeyFolder

    return KeyFolder(data.signing_folder).trusted()


def _signer(data: DataDirectory) -> "Callable[[ManifestEntry], bytes] | None":
    from mltrainer_models.key_folder import KeyFolder, KeyFolderError
    from mltrainer_models.signatures import sign_manifest

    try:
        key = KeyFolder(data.signing_folder).private_key()
    except KeyFolderError:
        return None  # the archive is taken in unsigned, or refused, as its receiver decides
    return lambda entry: sign_manifest([entry], key, "version")


def _own_source(data: DataDirectory) -> str:
    from mltrainer_models.signatures import key_id

    own = data.signing_folder / "trusted" / "own.pem"
    return f"mltrainer:{key_id(own.read_bytes())[:16]}" if own.exists() else "mltrainer:unknown"


def _describe(version: "ModelVersion") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    fields: dict[str, Any] = MessageToDict(version, preserving_proto_field_name=True)
    # What changes here after the export is no part of what is exported.
    for name in ("state", "etag", "revision", "update_revision"):
        fields.pop(name, None)
    return fields
