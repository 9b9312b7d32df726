"""Is the supervisor's own process: `python -m mltrainer_cli.supervise DATA_DIRECTORY OPTIONS`."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mltrainer_common.discovery import Endpoint, StaticPublisher

from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.processes import ProcessIdentity, end
from mltrainer_cli.record import State, SupervisorRecord, read_record, write_record
from mltrainer_cli.stack import KAFKA, Stack, StackOptions, define_stack
from mltrainer_cli.supervisor import Supervisor

_LEFTOVER_GRACE_S = 5.0


def main(arguments: list[str]) -> int:
    """Supervises until told to stop; a refusal is one line on standard error and an exit code."""
    from mltrainer_common.errors import StartupError
    from mltrainer_models.key_folder import KeyFolderError

    try:
        supervise(DataDirectory(Path(arguments[0])), StackOptions.from_json(arguments[1]))
    except CliError as error:
        return _refuse(error.message, error.code)
    except (StartupError, KeyFolderError) as error:
        return _refuse(str(error), ExitCode.PRECONDITION)
    except OSError as error:
        return _refuse(CliError.from_os_error(error, "run the stack").message, ExitCode.PRECONDITION)
    return ExitCode.OK


def supervise(data: DataDirectory, options: StackOptions) -> None:
    """Prepares a data directory and keeps its stack running until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CliError: another supervisor has the directory, or it cannot be prepared.
    """
    from mltrainer_common.logs import configured_logs
    from mltrainer_common.tokens import load_or_create_token_key
    from mltrainer_models.key_folder import KeyFolder
    from mltrainer_models.signatures import create_key, public_key

    data.prepare()
    with _only_one(data), configured_logs("supervisor", "0", "info"):
        _end_leftovers(data)
        _publish_preparing(data)
        load_or_create_token_key(data.token_key_file)
        KeyFolder(data.signing_folder).create_missing(create_key, public_key)
        stack = define_stack(data, options)
        _announce_brokers(data, stack.kafka_bootstrap_servers)
        asyncio.run(_run(data, stack))


async def _run(data: DataDirectory, stack: Stack) -> None:
    supervisor = Supervisor(
        stack.definitions,
        logs=data.logs,
        record_file=data.record_file,
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run()


def _announce_brokers(data: DataDirectory, servers: str) -> None:
    """Records the brokers beside the services, so that a client needs no more than the data directory."""
    for number, address in enumerate(servers.split(",")):
        endpoint = Endpoint(address.strip(), "", os.getpid())
        StaticPublisher(data.endpoints_file, KAFKA, str(number)).publish(endpoint)


@contextmanager
def _only_one(data: DataDirectory) -> Iterator[None]:
    with data.lock_file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CliError(
                f"Another supervisor already runs the stack of {data.path}: "
                "look at it with `mltrainer status`, or end it with `mltrainer down`."
            ) from None
        yield


def _end_leftovers(data: DataDirectory) -> None:
    """Ends what a supervisor that was killed has left, if anything: only processes it recorded itself."""
    record = read_record(data.record_file)
    processes = record.processes if record else ()
    identities = [one.identity for one in processes if one.identity is not None]
    if remaining := end(identities, grace_s=_LEFTOVER_GRACE_S):
        numbers = ", ".join(str(one.pid) for one in remaining)
        raise CliError(f"Processes of an earlier stack do not end: look at {numbers}.", ExitCode.FAILED)


def _publish_preparing(data: DataDirectory) -> None:
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    record = SupervisorRecord(identity.pid, identity.start_mark, State.PREPARING, "")
    write_record(data.record_file, record)


def _refuse(sentence: str, code: ExitCode) -> int:
    sys.stderr.write(f"mltrainer: {sentence}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
