"""An API server of Kubernetes as far as jobs need one: it refuses every object that breaks the published schemas or has an unknown
field, and runs the commands of containers as processes of this machine.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

VERSION = "1.34"
JOBS = re.compile(r"/apis/batch/v1/namespaces/([^/?]+)/jobs(?:/([^/?]+))?(?:/status)?(?:\?.*)?$")
PODS = re.compile(r"/api/v1/namespaces/([^/?]+)/pods(?:/([^/?]+))?(/log)?(?:\?.*)?$")
EVENTS = re.compile(r"/api/v1/namespaces/[^/?]+/events")
FAILURE = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
# By the reason that kubectl shows: the status of a pod that ended so.
FAULTS: dict[str, dict[str, Any]] = {
    "OOMKilled": {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
    "Evicted": {"reason": "Evicted", "message": "The node was low on resource: memory."},
    "NodeLost": {"reason": "NodeLost", "message": "Node node-1 which was running the pod is unresponsive."},
}


@dataclass
class Job:
    """One posted job."""

    body: dict[str, Any]
    folder: Path
    fault: str | None = None  # that ended its pod
    process: "subprocess.Popen[bytes] | None" = None
    started: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @property
    def name(self) -> str:
        return self.body["metadata"]["name"]

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.body["spec"]["template"]["spec"]["containers"]
        return container

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def run(self) -> None:
        command = [*(self.container.get("command") or ()), *self.container["args"]]
        variables = {one["name"]: one.get("value", "") for one in self.container.get("env", ())}
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "DAGSTER_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env={**own, "PATH": path, **variables}, stdout=log, stderr=log)

    def fail(self, fault: str) -> None:
        """Ends the pod at once, as its node does."""
        assert self.process is not None
        self.fault = fault
        self.process.kill()

    def status(self) -> dict[str, Any]:
        code = self.process.poll() if self.process else None
        if self.fault or code:
            return {"startTime": self.started, "failed": 1, "active": 0}
        return {"startTime": self.started, "succeeded" if code == 0 else "active": 1}

    def pod(self) -> dict[str, Any]:
        fault = {**FAULTS.get(self.fault or "", {})}
        state = fault.pop("state", {"running": {"startedAt": self.started}})
        container = {"name": self.container["name"], "image": "platform", "imageID": "", "ready": False, "restartCount": 0}
        status = {
            "phase": "Failed" if self.fault else "Running",
            **fault,
            "startTime": self.started,
            "containerStatuses": [{**container, "state": state}],
        }
        labels = self.body["spec"]["template"]["metadata"].get("labels", {}) | {"job-name": self.name}
        metadata = {"name": f"{self.name}-pod", "labels": labels, "creationTimestamp": self.started}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": self.body["spec"]["template"]["spec"],
            "status": status,
        }


@dataclass
class KubernetesServer:
    """`jobs` are those that were accepted, by name, in their order; `refused` the reasons of the others. In an outage nothing is
    answered but 503, and the pods go on.
    """

    folder: Path
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    refused: list[str] = field(default_factory=list[str])
    is_out: bool = False
    url: str = ""

    @property
    def kubeconfig(self) -> Path:
        path = self.folder / "kubeconfig.yaml"
        cluster = {"name": "tests", "cluster": {"server": self.url}}
        context = {"name": "tests", "context": {"cluster": "tests", "user": "tests"}}
        users = [{"name": "tests", "user": {}}]
        content = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users}
        path.write_text(yaml.safe_dump({**content, "current-context": "tests"}))
        return path

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            kubernetes_validate.validate(body, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            self.refused.append(error.message)
            return 422, {**FAILURE, "code": 422, "message": error.message}
        job = Job(body, self.folder)
        self.jobs[job.name] = job
        job.run()
        return 201, self.read(job)

    def read(self, job: Job) -> dict[str, Any]:
        return {**job.body, "status": job.status()}

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if self.is_out:
            return 503, {**FAILURE, "code": 503, "message": "the server is currently unable to handle the request"}
        if at := JOBS.match(path):
            job = self.jobs.get(at[2] or "")
            if method == "POST" and body is not None:
                return self.create(body)
            if method == "DELETE" and job and job.process:
                job.process.terminate()
            return (200, self.read(job)) if job else (404, {**FAILURE, "code": 404, "reason": "NotFound"})
        if at := PODS.match(path):
            return 200, self.read_pods(path, at[2], log=bool(at[3]))
        if EVENTS.match(path):
            return 200, {"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": []}
        return 404, {**FAILURE, "code": 404, "message": path}

    def read_pods(self, path: str, name: str | None, *, log: bool) -> Any:
        pods = {pod["metadata"]["name"]: (pod, job) for job in self.jobs.values() for pod in [job.pod()]}
        if name and log:
            file = pods[name][1].log
            return file.read_text() if file.exists() else ""
        if name:
            return pods[name][0]
        pods_of_job = [pod for pod, job in pods.values() if f"job-name%3D{job.name}" in path]
        return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods_of_job}


@contextmanager
def running_kubernetes(folder: Path) -> Iterator[KubernetesServer]:
    server = KubernetesServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            code, content = server.answer(self.command, self.path, body)
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = _reply

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to stderr."""

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            listening.shutdown()
            for job in server.jobs.values():
                if job.process and job.process.poll() is None:
                    job.process.kill()
                    job.process.wait()
