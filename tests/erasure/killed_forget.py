"""Forgets customer ONE and kills itself before its n-th change of a file: `python killed_forget.py ROOT N`."""

import datetime as dt
import os
import signal
import sys
from pathlib import Path

from mlops_assets.erasure.forget import forget_subject
from mlops_assets.erasure.stores import Stores
from mlops_assets.erasure.subject import Subject, find_subject
from mlops_assets.resources import build_resources
from mlops_assets.serving.log.keyed_hash import log_secret
from tests.erasure.shop import ONE, SHOP, environment_of

CHANGES = ("os.rename", "os.remove", "fcntl.flock", "sqlite3.connect")


def opened(root: Path, whom: str = ONE, redis_url: str = "sqlite") -> tuple[Subject, Stores]:
    environment = environment_of(root, redis_url)
    subject = find_subject(SHOP, f"customer_id={whom}", secret=log_secret(environment.home.keys))
    resources = build_resources(environment)
    features = resources["feature_store"].open(SHOP.features.service)
    return subject, Stores(environment.home, features, resources["registry"].open(), resources["ledger"].open())


def die_before(change: int) -> None:
    left = change

    def count(event: str, _arguments: object) -> None:
        nonlocal left
        if event in CHANGES:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


if __name__ == "__main__":
    subject, stores = opened(Path(sys.argv[1]))
    stores.features.registry.open().list_feature_views()  # what is opened once is opened before the count begins
    die_before(int(sys.argv[2]))
    forget_subject(SHOP, subject, stores, why="to be killed", by="a test", at=dt.datetime.now(dt.UTC))
