"""Files at another address: each is copied as a whole, and one that cannot be is named and hides no other."""

import gzip
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mlops_assets.ingestion import remote_files
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.remote_files import MAX_FILES, CannotFetch, fetch, local_copy
from mlops_assets.spec.form import Parquet
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import IllegalDeclaration
from tests.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.servers.other_stores import AZURITE, NO_AZURITE, AzureStore, GoogleStore
from tests.servers.s3_server import S3Server

Store = S3Server | GoogleStore | AzureStore
STORES: dict[str, type[Store]] = {"s3": S3Server, "gs": GoogleStore, "abfs": AzureStore}
REMOTE = ["s3", "gs", pytest.param("abfs", marks=pytest.mark.skipif(not AZURITE, reason=NO_AZURITE))]


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
def started() -> Iterator[Callable[[str], Store]]:
    """The store of a scheme, which starts when it is first used."""
    running: dict[str, Store] = {}

    def store(scheme: str) -> Store:
        if scheme not in running:
            running[scheme] = STORES[scheme]()
            running[scheme].start()
        return running[scheme]

    yield store
    for one in running.values():
        one.kill()


@pytest.fixture
def connect(started: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Store]:
    """Lets this process use the store of a scheme."""

    def connected(scheme: str) -> Store:
        for name, value in started(scheme).variables.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class(scheme).clear_instance_cache()  # whose client keeps the address of the first test
        return started(scheme)

    return connected


@pytest.fixture(params=REMOTE)
def scheme(request: pytest.FixtureRequest, connect: Callable[[str], Store]) -> str:
    connect(request.param)
    return request.param


@pytest.fixture(params=["file", "memory", *REMOTE])
def bucket(request: pytest.FixtureRequest, connect: Callable[[str], Store], tmp_path: Path) -> str:
    name = uuid.uuid4().hex
    if request.param in STORES:
        connect(request.param)
        fsspec.filesystem(request.param).mkdir(name)
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


def test_an_empty_folder_is_no_fault(bucket: str, tmp_path: Path) -> None:
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


def test_a_bucket_that_does_not_exist_is_a_fault_and_an_empty_one_is_none(scheme: str, tmp_path: Path) -> None:
    fsspec.filesystem(scheme).mkdir("orders")
    assert get(tmp_path, f"{scheme}://orders/2024/*.csv") == {}
    assert get(tmp_path, f"{scheme}://order/*.csv") == {
        f"{scheme}://order/*.csv": "it cannot be listed: FileNotFoundError: there is no bucket or container order. "
        "Correct the address, or the credentials of its store"
    }


def test_credentials_that_the_store_does_not_know_are_named(connect: Callable[[str], Store], tmp_path: Path) -> None:
    s3 = connect("s3")
    assert isinstance(s3, S3Server)
    put("s3://known/2024-03-01.csv")
    s3.check_credentials()
    try:
        fault = get(tmp_path, "s3://known/*.csv")["s3://known/*.csv"]
    finally:
        s3.check_credentials(after=1_000_000)
    assert "The AWS Access Key Id you provided does not exist in our records" in fault
    assert fault.endswith("Correct the address, or the credentials of its store") and landed(tmp_path) == {}


@pytest.fixture
def faulty(connect: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Before the S3 server, whose bucket `faulty` has two files."""
    with faulty_proxy(connect("s3").url) as proxy:
        for day in (1, 2):
            put(f"s3://faulty/2024-03-0{day}.csv")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield proxy
    fsspec.get_filesystem_class("s3").clear_instance_cache()


SLOW_DOWN = "OSError: [Errno 16] Please reduce your request rate. It is tried again by itself, as the server is out of service"
SILENT = "FSTimeoutError: no reply. It is tried again by itself, as the network or a server does not answer"


@pytest.mark.parametrize(("fault", "problem"), [("503", SLOW_DOWN), ("hang", SILENT)])
def test_a_store_that_is_out_of_order_is_named_within_seconds_and_its_files_land_once_it_is_back(
    faulty: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, problem: str
) -> None:
    monkeypatch.setattr(remote_files, "LISTED_S", 4.0 if fault == "hang" else remote_files.LISTED_S)
    faulty.fault = lambda _path: fault
    assert get(tmp_path, "s3://faulty/*.csv") == {"s3://faulty/*.csv": f"it cannot be listed: {problem}"}
    assert faulty.refused.total() <= 5, "one request is made again a few times, and not by each of two libraries"
    faulty.end()
    assert get(tmp_path, "s3://faulty/*.csv") == {} and len(landed(tmp_path)) == 2


def test_where_a_store_does_not_give_one_file_no_other_one_is_waited_for(faulty: FaultyProxy, tmp_path: Path) -> None:
    faulty.fault = lambda path: "503" if ".csv" in path else None
    assert get(tmp_path, "s3://faulty/*.csv") == {"2024-03-01.csv": f"it cannot be fetched: {SLOW_DOWN}"}
    assert faulty.refused.keys() == {"/faulty/2024-03-01.csv"} and landed(tmp_path) == {}
    faulty.end()
    assert get(tmp_path, "s3://faulty/*.csv") == {} and len(landed(tmp_path)) == 2


def test_one_file_of_a_store_is_read_as_a_file_of_this_machine(scheme: str) -> None:
    fsspec.filesystem(scheme).mkdir("exports")
    put(f"{scheme}://exports/2024/orders.csv")
    with local_copy(f"{scheme}://exports/2024/orders.csv") as path:
        assert path.name == "orders.csv" and path.read_bytes() == b"k\n1\n"
    with (
        pytest.raises(CannotFetch, match=rf"^{scheme}://exports/orders\.csv · it cannot be fetched: FileNotFoundError"),
        local_copy(f"{scheme}://exports/orders.csv"),
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
