"""Files at another address: each is copied as a whole, and one that cannot be is named and hides no other."""

import gzip
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.remote_files import MAX_FILES, CannotFetch, fetch, local_copy
from mlops_assets.spec.form import Parquet
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import IllegalDeclaration
from tests.servers.s3_server import S3Server


class FlakyStore(MemoryFileSystem):
    """A store whose downloads may end early or be refused, as those of real ones."""

    protocol = "flaky"
    downloads: dict[str, Any] = {}  # noqa: RUF012 - by name: what a download gives

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        result = self.downloads.get(path.rsplit("/", 1)[-1])
        if isinstance(result, Exception):
            raise result
        return super().cat_file(path, *args, **kwargs)[:result]

    def glob(self, path: str, *args: Any, **kwargs: Any) -> Any:
        if "forbidden" in path:
            raise PermissionError("The AWS Access Key Id you provided does not exist in our records.")
        return super().glob(path, *args, **kwargs)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # whose client keeps the address of the first test
    return s3_server


@pytest.fixture(params=["file", "memory", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = uuid.uuid4().hex
    if request.param == "s3":
        request.getfixturevalue("s3")
        fsspec.filesystem("s3").mkdir(name)
    return f"file://{tmp_path}/remote" if request.param == "file" else f"{request.param}://{name}"


@pytest.fixture
def flaky() -> Iterator[dict[str, Any]]:
    fsspec.register_implementation("flaky", FlakyStore, clobber=True)
    FlakyStore.downloads.clear()
    yield FlakyStore.downloads
    FlakyStore.downloads.clear()


def put(url: str, content: bytes = b"k\n1\n") -> None:
    system, path = fsspec.url_to_fs(url)
    system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    system.pipe_file(path, content)


def landed(tmp_path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((tmp_path / "landing" / "line" / "t").glob("*"))}


def get(tmp_path: Path, path: str, **fields: Any) -> dict[str, str]:
    source = Files(table="t", path=path, **fields)
    return fetch(source, Landing(tmp_path / "landing").of(source.form), "line")


def test_new_and_changed_files_are_copied_and_others_stay(bucket: str, tmp_path: Path) -> None:
    put(f"{bucket}/a/2024-03-01.csv")
    put(f"{bucket}/a/2024-03-02.csv.gz", gzip.compress(b"k\n2\n"))
    put(f"{bucket}/a/readme.txt")
    put(f"{bucket}/b/2024-03-03.parquet")
    assert get(tmp_path, f"{bucket}/a/*") == {}
    assert [*landed(tmp_path)] == ["2024-03-01.csv", "2024-03-02.csv.gz"]
    assert [*Landing(tmp_path / "landing").digests("line", "t")] == ["2024-03-01", "2024-03-02"]
    first = tmp_path / "landing" / "line" / "t" / "2024-03-01.csv"
    first.write_bytes(b"k\n")  # as `mlops forget` edits it
    assert get(tmp_path, f"{bucket}/a/*") == {} and landed(tmp_path)["2024-03-01.csv"] == b"k\n"
    put(f"{bucket}/a/2024-03-01.csv", b"k\n1\n5\n")
    assert get(tmp_path, f"{bucket}/a/*") == {} and landed(tmp_path)["2024-03-01.csv"] == b"k\n1\n5\n"
    assert get(tmp_path, f"{bucket}/**/*.parquet", form=Parquet()) == {} and "2024-03-03.parquet" in landed(tmp_path)


def test_no_file_is_no_fault(bucket: str, tmp_path: Path) -> None:
    assert get(tmp_path, f"{bucket}/a/*.csv") == {} and landed(tmp_path) == {}


def test_two_files_of_one_name_and_one_that_is_too_large_are_named(bucket: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        put(f"{bucket}/{folder}/2024-03-01.csv")
    put(f"{bucket}/a/2024-03-02.csv", b"k\n" * 100)
    put(f"{bucket}/a/2024-03-03.csv")
    faults = get(tmp_path, f"{bucket}/**/*.csv", max_bytes=100)
    assert faults == {
        "2024-03-01.csv": "several files have this name. Narrow the path",
        "2024-03-02.csv": "it has 200 bytes; legal: at most 100. Deliver fewer rows, or raise max_bytes of the source",
    }
    assert [*landed(tmp_path)] == ["2024-03-03.csv"]


def test_half_a_download_and_a_refused_one_land_nothing_and_are_tried_again(flaky: dict[str, Any], tmp_path: Path) -> None:
    bucket = f"flaky://{uuid.uuid4().hex}"
    for day in (1, 2, 3):
        put(f"{bucket}/2024-03-0{day}.csv")
    flaky |= {"2024-03-01.csv": 2, "2024-03-02.csv": PermissionError("Access Denied.")}
    assert get(tmp_path, f"{bucket}/*.csv") == {
        "2024-03-01.csv": "2 of 4 bytes were fetched; it is fetched again. Nothing was landed",
        "2024-03-02.csv": "it cannot be fetched: PermissionError: Access Denied. Correct its permissions, or wait for the next try",
    }
    assert [*landed(tmp_path)] == ["2024-03-03.csv"]
    flaky.clear()
    assert get(tmp_path, f"{bucket}/*.csv") == {} and len(landed(tmp_path)) == 3


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("flaky://forbidden/*.csv", "PermissionError: The AWS Access Key Id you provided does not exist in our records"),
        ("nowhere://bucket/*.csv", "ValueError: Protocol not known: nowhere"),
    ],
)
def test_an_address_that_cannot_be_listed_is_one_fault(flaky: dict[str, Any], tmp_path: Path, path: str, problem: str) -> None:
    assert flaky == {}
    fault = get(tmp_path, path)[path]
    assert fault == f"it cannot be listed: {problem}. Correct the address, or the credentials of its store"


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_a_fault_and_an_empty_one_is_none(tmp_path: Path) -> None:
    fsspec.filesystem("s3").mkdir("orders")
    assert get(tmp_path, "s3://orders/2024/*.csv") == {}
    assert get(tmp_path, "s3://order/*.csv") == {
        "s3://order/*.csv": "it cannot be listed: FileNotFoundError: there is no bucket or container order. "
        "Correct the address, or the credentials of its store"
    }


def test_credentials_that_the_store_does_not_know_are_named(s3: S3Server, tmp_path: Path) -> None:
    put("s3://known/2024-03-01.csv")
    s3.check_credentials()
    try:
        fault = get(tmp_path, "s3://known/*.csv")["s3://known/*.csv"]
    finally:
        s3.check_credentials(after=1_000_000)
    assert "The AWS Access Key Id you provided does not exist in our records" in fault
    assert fault.endswith("Correct the address, or the credentials of its store") and landed(tmp_path) == {}


@pytest.mark.usefixtures("s3")
def test_one_file_of_a_store_is_read_as_a_file_of_this_machine() -> None:
    fsspec.filesystem("s3").mkdir("exports")
    put("s3://exports/2024/orders.csv")
    with local_copy("s3://exports/2024/orders.csv") as path:
        assert path.name == "orders.csv" and path.read_bytes() == b"k\n1\n"
    with (
        pytest.raises(CannotFetch, match=r"^s3://exports/orders\.csv · it cannot be fetched: FileNotFoundError"),
        local_copy("s3://exports/orders.csv"),
    ):
        pass


def test_a_large_store_is_fetched_in_parts(bucket: str, tmp_path: Path) -> None:
    for number in range(MAX_FILES + 5):
        put(f"{bucket}/20{number + 10}-01-01.csv")
    assert get(tmp_path, f"{bucket}/*.csv") == {} and len(landed(tmp_path)) == MAX_FILES
    assert get(tmp_path, f"{bucket}/*.csv") == {} and len(landed(tmp_path)) == MAX_FILES + 5


@pytest.mark.parametrize("path", ["orders/*.csv", "s3://bucket/orders", "s3://key:secret@bucket/*.csv"])
def test_an_illegal_path_is_refused_when_it_is_declared(path: str) -> None:
    with pytest.raises(IllegalDeclaration, match="t · Files · path · "):
        Files(table="t", path=path)
