"""A process that forks the processes of runs. It has imported what earlier runs imported, which a new one does for
seconds; tests/benchmarks/bench_run_start.py prints the ratio.

It is started by warm_launcher.py with a connection to it, and loads nothing itself but what runs have reported. Of these, it
loads modules of installed packages only, so that each run reads the project's own code from disk.
"""

import gc
import importlib
import multiprocessing
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

POLL_S = 0.5
QUIET_S = 3.0  # without a run until it loads modules: the runs of one cascade need the core more
IDLE_S = 1800.0  # without a run it ends, which frees about 0.9 GB; the next run starts a new one
MAX_PROBLEM = 1000  # characters
LOGGED = "Its last words are in the log of the daemon."
INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
# Its processes end without destructors of native libraries: that of ONNX Runtime waits for a thread which a fork does not have.
FORK = multiprocessing.get_context("fork")


@dataclass
class Run:
    """A forked process: what Dagster's own `execute_run` reads, and where it reports the modules that it has loaded, and what
    has ended it.
    """

    argument: str
    process: BaseProcess
    modules: Connection
    problem: str = ""  # that has ended the process


@dataclass
class WarmProcess:
    """Single-threaded, as forking needs. The commands are arguments of `execute_run`; the reply is the id of the process."""

    commands: Connection
    is_open: bool = True  # until the daemon, at the other end, has ended
    runs: list[Run] = field(default_factory=list[Run])
    pending: dict[str, None] = field(default_factory=dict[str, None])  # modules, in the order in which a run has loaded them

    def serve(self) -> None:
        """Returns when the daemon has ended, or nothing has run for IDLE_S, and no run is left."""
        idle_since = time.monotonic()
        while self.runs or (self.is_open and time.monotonic() - idle_since < IDLE_S):
            idle_since = time.monotonic() if self.runs else idle_since
            is_loading = bool(self.pending) and time.monotonic() - idle_since > QUIET_S
            events = [*[self.commands] * self.is_open, *(run.process.sentinel for run in self.runs)]
            ready = wait([*events, *(run.modules for run in self.runs if not run.modules.closed)], 0 if is_loading else POLL_S)
            self._let_go()
            if self.commands in ready:
                self._fork()
            elif is_loading:
                self._load()

    def _fork(self) -> None:
        try:
            argument: str = self.commands.recv()
        except EOFError:
            self.is_open = False
            return
        reader, writer = FORK.Pipe(duplex=False)
        gc.freeze()  # no collection in the run copies pages of what is loaded here
        inherited = [self.commands, reader, *(run.modules for run in self.runs)]
        process = FORK.Process(target=_execute, args=(argument, writer, inherited))
        process.start()
        writer.close()
        self.runs.append(Run(argument, process, reader))
        self.commands.send(process.pid)

    def _let_go(self) -> None:
        """Of runs whose process has ended, after all have reported."""
        ended = [run for run in self.runs if run.process.exitcode is not None]
        self._learn()
        for run in ended:
            self.runs.remove(run)
            if code := run.process.exitcode:
                FORK.Process(target=_report_end, args=(run.argument, code, run.problem)).start()

    def _learn(self) -> None:
        for run in self.runs:
            if not run.modules.closed and run.modules.poll():
                with suppress(EOFError):
                    names, run.problem = run.modules.recv()
                    self.pending |= dict.fromkeys(name for name in names if name not in sys.modules)
                run.modules.close()

    def _load(self) -> None:
        """Imports the next module. One that fails here would fail, or not, in a run."""
        name = next(iter(self.pending))
        del self.pending[name]
        if name.partition(".")[0] == "feast":
            importlib.import_module("mlops_assets.features.feast")  # which imports it in a third of the time and memory
        with suppress(BaseException):  # a module may raise anything, SystemExit too, and the runs go on
            importlib.import_module(name)


def _execute(argument: str, modules: Connection, inherited: list[Connection]) -> None:
    """As `dagster api execute_run` does, with new random states. What is `inherited` would seem to have a reader for ever."""
    for connection in inherited:
        connection.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from dagster._cli.api import execute_run_command

    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # Python's own generator does this itself
    problem = ""
    try:
        execute_run_command.main([argument], standalone_mode=False)
    except Exception as error:  # whatever it is ends this process, and the event log is to name it
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_PROBLEM]}"
        raise
    finally:
        with suppress(OSError):  # without a reader
            modules.send(([*_installed_modules()], problem))


def _installed_modules() -> Iterator[str]:
    for name, module in [*sys.modules.items()]:
        if (getattr(module, "__file__", None) or "").startswith(INSTALLED):
            yield name


def _report_end(argument: str, code: int, problem: str) -> None:
    """Of a process that has ended before its run: killed, or out of memory."""
    import dagster as dg
    from dagster._grpc.types import ExecuteRunArgs
    from dagster._serdes import deserialize_value

    arguments = deserialize_value(argument, ExecuteRunArgs)
    if reference := arguments.instance_ref:
        with dg.DagsterInstance.from_ref(reference) as instance:
            run = instance.get_run_by_id(arguments.run_id)
            if run and not run.is_finished:
                how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
                remedy = "The machine may lack memory." if code == -signal.SIGKILL else problem or LOGGED
                instance.report_run_failed(run, f"The process of the run ended before the run, {how}. {remedy}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it ends with the daemon
    WarmProcess(Connection(int(sys.argv[1]))).serve()
