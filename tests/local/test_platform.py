import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.local.platform import (
    LOCATION,
    MODULE,
    AlreadyRunning,
    children,
    code_location,
    running_platform,
    serve_command,
    serve_environment,
)
from tests.graph.test_first_model import another_platform


def test_no_platform_starts_on_a_home_to_which_another_one_writes_whatever_started_it(tmp_path: Path):
    environment = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(tmp_path)}, PROJECT)
    with (
        another_platform(tmp_path),
        pytest.raises(AlreadyRunning, match="a platform already runs on this home"),
        running_platform(environment, everything=True),
    ):
        raise AssertionError("the block must not begin")


def test_the_service_reads_the_variables_of_its_environment(tmp_path: Path):
    variables = serve_environment(Home(tmp_path), "flight_delay", environment="test", inherited={"PATH": "/bin"})
    read = read_environment(variables, Path("/elsewhere"))
    assert (read.name, read.home, read.use_cases) == ("test", Home(tmp_path), ("flight_delay",))
    assert (
        variables["BENTOML_DO_NOT_TRACK"] == "True"
        and variables["BENTOML_HOME"].startswith(str(tmp_path))
        and variables["PATH"] == "/bin"
    )


def test_tracing_is_off_unless_it_is_enabled(tmp_path: Path):
    def tracing_disabled(inherited: dict[str, str]) -> str:
        return serve_environment(Home(tmp_path), "u", environment="local", inherited=inherited)["OTEL_SDK_DISABLED"]

    assert tracing_disabled({}) == "true"
    assert tracing_disabled({"OTEL_SDK_DISABLED": "false"}) == "false"


def test_the_command_names_host_and_port():
    assert serve_command(3001)[-5:] == ["deploy.service:Predictions", "--host", "127.0.0.1", "--port", "3001"]


def test_service_and_web_ui_have_the_paths_of_their_declared_addresses(tmp_path: Path):
    addresses = {"service": "http://127.0.0.1:3000/flights", "dagster": "http://127.0.0.1:3001/ui"}
    environment = read_environment({"MLOPS_HOME": str(tmp_path), "MLOPS_SERVICE_URL": "https://example.com/flights"}, Path("/"))
    started = {child.name: child for child in children(environment, addresses)}
    assert environment.path_prefix_of("flight_delay") == "/flights"
    assert started["service"].environment["MLOPS_SERVICE_URL"] == addresses["service"]
    assert started["service"].ready_url == "http://127.0.0.1:3000/flights/livez"
    command = started["webserver"].command
    assert command[command.index("--path-prefix") + 1] == "/ui"
    assert started["webserver"].ready_url == "http://127.0.0.1:3001/ui/server_info"


def test_one_process_serves_the_definitions_where_no_web_ui_runs(tmp_path: Path):
    environment = read_environment({"MLOPS_HOME": str(tmp_path)}, PROJECT)
    environment.home.dagster.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as definitions:
        port = definitions.getsockname()[1]
        addresses = {"service": "http://127.0.0.1:3000", "code": f"http://127.0.0.1:{port}"}
        started = {child.name: child for child in children(environment, addresses)}
    assert [*started] == ["code", "service", "daemon"]
    (read,) = yaml.safe_load(Path(started["daemon"].command[-1]).read_text())["load_from"]
    assert read == {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": LOCATION}}
    # The cursors of sensors are stored by the name of the location, and `mlops up` continues from those of the demo.
    (declared,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    assert declared == {"python_module": {"module_name": MODULE, "location_name": LOCATION}}


def test_daemon_and_web_ui_read_the_definitions_of_one_process_which_reloads_them(tmp_path: Path):
    environment = read_environment({"MLOPS_HOME": str(tmp_path)}, PROJECT)
    environment.home.dagster.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as definitions:
        code = f"http://127.0.0.1:{definitions.getsockname()[1]}"
        addresses = {"service": "http://127.0.0.1:3000", "dagster": "http://127.0.0.1:3001", "code": code}
        started = {child.name: child for child in children(environment, addresses)}
    assert [*started] == ["code", "service", "webserver", "daemon"]
    assert started["code"].command[1:5] == ["code-server", "start", "--module-name", MODULE]
    assert started["webserver"].command[-1] == started["daemon"].command[-1] == str(tmp_path / "dagster" / "workspace.yaml")


@pytest.mark.parametrize(
    ("entries", "is_served"),
    [
        ([{"python_module": {"module_name": "a.definitions", "location_name": "a", "working_directory": "."}}], True),
        ([{"python_module": {"module_name": f"{name}.definitions", "location_name": name}} for name in "ab"], False),
        ([{"python_module": {"module_name": "a.definitions", "location_name": "a", "executable_path": "b/python"}}], False),
        ([{"python_module": {"module_name": "a.definitions", "location_name": "a", "working_directory": "../a"}}], False),
        ([{"python_module": {"module_name": "a.definitions"}}], False),
        (["definitions.py"], False),
    ],
    ids=["one", "two", "another Python", "another folder", "without a name", "a file"],
)
def test_dagster_loads_the_code_locations_that_one_process_here_cannot_serve(tmp_path: Path, entries: list[Any], is_served: bool):
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": entries}))
    assert bool(code_location(tmp_path)) is is_served


def test_the_local_server_serves_every_use_case_at_the_first_address_and_others_keep_theirs(tmp_path: Path):
    urls = "flight_delay=http://127.0.0.1:3000,http://r:1;loans=http://127.0.0.1:3000;cars=http://c:1"
    environment = read_environment(
        {"MLOPS_HOME": str(tmp_path), "MLOPS_SERVICE_URL": urls, "MLOPS_USE_CASE": "loans,cars"}, Path("/")
    )
    service, *_ = children(environment, {"service": "http://127.0.0.1:4444"})
    assert service.environment["MLOPS_USE_CASE"] == "loans,cars"
    expected = "flight_delay=http://127.0.0.1:4444,http://r:1;loans=http://127.0.0.1:4444;cars=http://c:1"
    assert service.environment["MLOPS_SERVICE_URL"] == expected
