"""The content store on a real S3 server: the same promises as on a directory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_common.object_folder import StoreUnavailableError
from mltrainer_testkit.content_stores import CHECKS
from mltrainer_testkit.go_programs import ProgramNotFoundError
from mltrainer_testkit.s3 import S3Bucket, find_or_build_versitygw, s3_bucket

# Building the server takes two minutes, once.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(700)]

MODULE = Path(__file__).parent / "versitygw_build"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Bucket]:
    try:
        executable = find_or_build_versitygw(MODULE)
        with s3_bucket(executable, tmp_path_factory.mktemp("s3")) as bucket:
            yield bucket
    except ProgramNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def store(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> ContentStore:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return ContentStore(f"s3://{bucket.name}/{uuid4().hex}")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_an_s3_store_keeps_its_promises(store: ContentStore, check: Callable[[ContentStore], None]) -> None:
    check(store)


def test_a_store_that_cannot_be_reached_says_so(monkeypatch: pytest.MonkeyPatch, bucket: S3Bucket) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(StoreUnavailableError):
        ContentStore("s3://no-such-bucket/models").put_bytes(b"hello")
