"""The page of `mlops up`: it shows the present state; an error of it is shown and does not end the server."""

import httpx

from mlops_assets.local.processes import free_port
from mlops_assets.local.web_page import served_page


def test_the_page_is_served_on_this_machine_until_the_end_of_the_block():
    texts = ["<h1>ä</h1>"]
    url = f"http://127.0.0.1:{free_port(0)}"
    with served_page(url, texts.pop), httpx.Client(base_url=url, trust_env=False) as client:
        for _ in range(2):  # the second is the first one's: it is fresh
            page = client.get("/")
            assert (page.status_code, page.text, page.headers["refresh"]) == (200, "<h1>ä</h1>", "30")
        assert client.get("/keys").status_code == 404
    with served_page(url, texts.pop), httpx.Client(base_url=url, trust_env=False) as client:
        failed = client.get("/")
        assert failed.status_code == 500 and failed.text == "IndexError: pop from empty list"
        assert "text/plain" in failed.headers["content-type"]


def test_metrics_are_next_to_the_page_as_prometheus_reads_them():
    url = f"http://127.0.0.1:{free_port(0)}"
    with served_page(url, lambda: "", lambda: "up 1\n"), httpx.Client(base_url=url, trust_env=False) as client:
        metrics = client.get("/metrics")
        assert (metrics.status_code, metrics.text) == (200, "up 1\n")
        assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert client.get("/keys").text == "Not found. There is / and /metrics."
