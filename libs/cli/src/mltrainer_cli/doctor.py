"""Checks what a stack needs from this machine and says what to do about what is missing."""

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mltrainer_cli import java, kafka
from mltrainer_cli.console import print_rows
from mltrainer_cli.data_directory import LOWEST_FREE_BYTES, DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import Output
from mltrainer_cli.processes import ProcessIdentity, members
from mltrainer_cli.record import read_record
from mltrainer_cli.stack import KAFKA_VARIABLE, SERVICES, installed_services
from mltrainer_cli.stack_control import running


class Finding(StrEnum):
    """How bad it is: a failed check keeps the stack from starting."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding and, unless all is well, what to do."""

    name: str
    finding: Finding
    found: str
    advice: str | None = None


def run_doctor(data: DataDirectory, output: Output) -> None:
    """Prints every check.

    Raises:
        CliError: one of them failed.
    """
    checks = [check(data) for check in CHECKS]
    rows = [
        {"check": one.name, "finding": one.finding, "found": one.found, "what_to_do": one.advice}
        for one in checks
    ]
    print_rows(rows, ("check", "finding", "found", "what_to_do"), output)
    if failed := [one.name for one in checks if one.finding is Finding.FAILED]:
        raise CliError(f"{', '.join(failed)}: do what the table says.", ExitCode.CLAIM_FAILED)


def check_python(_data: DataDirectory) -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Check("python", Finding.OK, found)
    return Check("python", Finding.FAILED, found, "Install mltrainer under Python 3.11, 3.12 or 3.13.")


def check_platform(_data: DataDirectory) -> Check:
    found = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if sys.platform == "linux":
        return Check("platform", Finding.OK, found)
    advice = "If the supervisor is killed, end its processes with `mltrainer down`: only Linux does it alone."
    return Check("platform", Finding.WARNING, found, advice)


def check_java(_data: DataDirectory) -> Check:
    if yours := os.environ.get(KAFKA_VARIABLE):
        return Check("java", Finding.OK, f"not needed, the broker is {yours}")
    try:
        return Check("java", Finding.OK, str(java.find_java()))
    except CliError as error:
        return Check("java", Finding.FAILED, "none", error.message)


def check_jars(_data: DataDirectory) -> Check:
    directory = java.cache_directory() / f"kafka-{java.KAFKA_VERSION}"
    if not directory.is_dir():
        advice = "Nothing, if this machine reaches Maven Central: the next `mltrainer up` fetches 43 MB."
        return Check("kafka jars", Finding.WARNING, f"none in {directory}", advice)
    if damaged := java.damaged_jars(directory):
        return Check("kafka jars", Finding.FAILED, f"{len(damaged)} damaged", f"Remove {directory}.")
    return Check("kafka jars", Finding.OK, str(directory))


def check_disk(data: DataDirectory) -> Check:
    place = next(path for path in (data.path, *data.path.parents) if path.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.1f} GiB free at {place}"
    if free < LOWEST_FREE_BYTES:
        return Check("disk", Finding.FAILED, found, "Free some space or choose another --data-directory.")
    if free < 4 * LOWEST_FREE_BYTES:
        return Check("disk", Finding.WARNING, found, "Free some space: long studies write more than this.")
    return Check("disk", Finding.OK, found)


def check_data_directory(data: DataDirectory) -> Check:
    name = "data directory"
    if not data.path.exists():
        return Check(name, Finding.OK, f"{data.path} will be made")
    if not os.access(data.path, os.R_OK | os.W_OK | os.X_OK):
        advice = "Change its owner or choose another --data-directory."
        return Check(name, Finding.FAILED, f"{data.path} is not writable", advice)
    try:
        data.check_schema()
    except CliError as error:
        return Check(name, Finding.FAILED, str(data.path), error.message)
    if data.token_key_file.exists() and data.token_key_file.stat().st_mode & 0o077:
        advice = f"Run `chmod 600 {data.token_key_file}`."
        return Check(name, Finding.FAILED, "the token key can be read by others", advice)
    return Check(name, Finding.OK, str(data.path))


def check_broker_port(data: DataDirectory) -> Check:
    name = "broker port"
    if yours := os.environ.get(KAFKA_VARIABLE):
        if kafka.answers(yours):
            return Check(name, Finding.OK, f"{yours} answers")
        return Check(name, Finding.FAILED, f"{yours} is silent", f"Start it or unset {KAFKA_VARIABLE}.")
    if (record := running(data)) is not None:
        return Check(name, Finding.OK, f"{record.kafka_bootstrap_servers} is in use by this stack")
    ports = kafka.kept_ports(data.kafka)
    if ports is None:
        return Check(name, Finding.OK, "any free one will be taken")
    if kafka.is_free(ports.broker):
        return Check(name, Finding.OK, f"{ports.broker} is free")
    advice = "End the process that listens there, or give --kafka-port to `mltrainer up`."
    return Check(name, Finding.FAILED, f"{ports.broker} is taken", advice)


def check_services(_data: DataDirectory) -> Check:
    missing = [slug for slug in SERVICES if slug not in installed_services()]
    if not missing:
        return Check("services", Finding.OK, f"all {len(SERVICES)} are installed")
    advice = "Install the distributions mltrainer-SERVICE of those you want."
    return Check("services", Finding.WARNING, f"not installed: {', '.join(missing)}", advice)


def check_openmp(_data: DataDirectory) -> Check:
    try:
        ctypes.CDLL("libgomp.so.1" if sys.platform == "linux" else "libomp.dylib")
    except OSError:
        advice = "Install libgomp1 (libomp on macOS) if you want LightGBM; all other models work."
        return Check("openmp", Finding.WARNING, "not found", advice)
    return Check("openmp", Finding.OK, "found")


def check_leftovers(data: DataDirectory) -> Check:
    name = "leftovers"
    stack_id = data.stack_id
    if running(data) is not None or stack_id is None:
        return Check(name, Finding.OK, "none")
    if left := members(stack_id):
        found = f"{len(left)} processes without a supervisor"
        return Check(name, Finding.WARNING, found, "End them with `mltrainer down`.")
    return Check(name, Finding.OK, "none")


def check_endpoints(data: DataDirectory) -> Check:
    from mltrainer_common.discovery import read_endpoints

    name = "endpoints"
    try:
        entries = [
            entry
            for instances in read_endpoints(data.endpoints_file).values()
            for entry in instances.values()
        ]
    except (ValueError, TypeError, AttributeError):
        advice = f"Remove {data.endpoints_file}; running services write it again within seconds."
        return Check(name, Finding.FAILED, "the file cannot be read", advice)
    stale = [one for one in entries if one.serving and ProcessIdentity.of(one.pid) is None]
    if stale and read_record(data.record_file) is not None:
        advice = "Nothing: the next `mltrainer up` replaces them."
        return Check(name, Finding.WARNING, f"{len(stale)} of {len(entries)} are of ended processes", advice)
    return Check(name, Finding.OK, f"{len(entries)} recorded")


CHECKS: tuple[Callable[[DataDirectory], Check], ...] = (
    check_python,
    check_platform,
    check_java,
    check_jars,
    check_disk,
    check_data_directory,
    check_broker_port,
    check_services,
    check_openmp,
    check_leftovers,
    check_endpoints,
)
