"""Requests for versions that share a transaction: each gets its own answer."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from mltrainer_common.database import DatabaseDialect
from mltrainer_registry.application.create_version import CreateVersion
from mltrainer_registry.domain.errors import (
    ManifestNotUploadedError,
    StaleFencingTokenError,
    TrainingHasVersionError,
)
from mltrainer_registry.wire.events import to_create_version

CONTENT = b'{"kind":"ridge"}'


async def request(registry: Any, training: str, *, is_uploaded: bool = True, token: int = 1) -> CreateVersion:
    if is_uploaded:
        await registry.upload(registry.attempts.upload(training, token), CONTENT)
    return to_create_version("", registry.attempts.succeeded(training, token=token))


async def ask_together(registry: Any, commands: list[CreateVersion]) -> list[Any]:
    """Has all but the first share a transaction: they come while that is executed."""
    return await asyncio.gather(*map(registry.use.request_version, commands), return_exceptions=True)


async def test_together_or_alone_numbers_have_no_gaps(registry: Any) -> None:
    commands = [await request(registry, f"trainings/t{n}") for n in range(12)]

    versions = await ask_together(registry, commands)

    assert sorted(version.name.number for version in versions) == list(range(1, 13))
    changes = await registry.log.changes(0, 100)
    assert [change.revision for change in changes] == list(range(1, 13))
    assert {change.resource.training for change in changes} == {command.training for command in commands}


async def test_a_refused_request_leaves_its_neighbours_alone(registry: Any) -> None:
    commands = [await request(registry, f"trainings/t{n}") for n in range(8)]
    commands[3] = await request(registry, "trainings/never-uploaded", is_uploaded=False)
    commands[5] = replace(commands[5], fencing_token=0)

    answers = await ask_together(registry, commands)

    assert isinstance(answers[3], ManifestNotUploadedError)
    assert isinstance(answers[5], StaleFencingTokenError)
    assert answers[5].lowest_accepted == 1
    made = [answer for index, answer in enumerate(answers) if index not in {3, 5}]
    assert sorted(version.name.number for version in made) == list(range(1, 7))


async def test_a_request_that_the_database_refuses_fails_alone(registry: Any) -> None:
    commands = [await request(registry, f"trainings/t{n}") for n in range(6)]
    commands[4] = replace(commands[4], owner="nul\0")

    answers = await ask_together(registry, commands)

    failed = [index for index, answer in enumerate(answers) if isinstance(answer, Exception)]
    # SQLite stores the character.
    assert failed == ([4] if registry.database.dialect is DatabaseDialect.POSTGRESQL else [])
    made = [answer for answer in answers if not isinstance(answer, Exception)]
    assert sorted(version.name.number for version in made) == list(range(1, len(made) + 1))


async def test_the_same_training_twice_gets_one_version(registry: Any) -> None:
    commands = [await request(registry, f"trainings/t{n}") for n in range(3)]

    first, second, *_ = await ask_together(registry, [commands[1], commands[1], *commands])
    again = await registry.use.request_version(commands[1])

    assert first == second == again
    assert (await registry.use.reader.model("vol5")).version_count == 3


async def test_a_training_makes_no_second_version_of_other_files(registry: Any) -> None:
    command = await request(registry, "trainings/t1")
    version = await registry.use.request_version(command)

    with pytest.raises(TrainingHasVersionError) as refused:
        await registry.use.request_version(replace(command, model="other"))

    assert refused.value.version == str(version.name)
