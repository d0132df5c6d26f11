"""The service of a story and a client that sends requests all the time."""

import time
from threading import Event, Lock, Thread

from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import Service, open_service
from mlops_assets.serving.services import Services
from mlops_assets.spec.use_case import UseCase
from tests.stories.declarations import CUSTOMERS, DAYS, HOUR, midnight

# Of a moment after all payments, answered online, and of one before some of them, answered from history.
MOMENTS = (midnight(DAYS[-1]) + 23 * HOUR, midnight(DAYS[1]))
SOON_S = 60  # a second on an idle machine
REQUEST = {"number": 1, "customer": CUSTOMERS[0], "amount": 10, "purpose": "car", "insured": True, "branch": "N"}


class Server:
    """The service as it was declared when it started, and a client that sends requests without a pause until it stops."""

    def __init__(self, variables: dict[str, str], use_case: UseCase, answered: list[str]) -> None:
        """The ids of predictions are added to `answered`."""
        self.declaration, self.failures, self._answered = use_case, list[str](), answered
        self.service: Service = open_service(variables, use_case)
        self.service.start()
        self._client = TestClient(ApiApp(PlainTextResponse("Bento's"), lambda: Services([self.service])))  # type: ignore[arg-type,return-value]
        self._stopped, self._alone = Event(), Lock()
        self._thread = Thread(target=self._keep_asking, daemon=True)
        self._thread.start()

    def ask(self) -> int:
        table = self.declaration.contract(self.declaration.features.request_table)
        # Clients go on sending columns that are no request columns any more, or were dropped.
        request = {name: value for name, value in REQUEST.items() if name in {*table.names, *table.dropped}}
        with self._alone:
            reply = self._client.post("/predict", json={"rows": [request | {"applied_at": at.isoformat()} for at in MOMENTS]})
        if reply.status_code != 200:
            self.failures.append(reply.text)
            return 0
        predictions = reply.json()["predictions"]
        self._answered += [prediction["prediction_id"] for prediction in predictions]
        return predictions[0]["model_version"]

    def check(self, versions: tuple[int, ...]) -> None:
        """Waits until one of these versions serves."""
        deadline = time.monotonic() + SOON_S
        while time.monotonic() < deadline:
            if self.ask() in versions:
                return
            time.sleep(0.05)
        raise AssertionError(f"none of {versions} serves: {self.service.plan()}")

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self.service.stop()

    def _keep_asking(self) -> None:
        while not self._stopped.wait(0.1):
            self.ask()
