"""Prediction ids are unique across the workers of a server, which are forked from one process."""

import os
import random

from mlops_assets.serving import service

NEW_ID = service._new_id  # pyright: ignore[reportPrivateUsage]


def test_ids_of_forked_workers_differ_whatever_a_library_seeds() -> None:
    random.seed(1)
    reads = []
    for _ in range(3):
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            random.seed(1)
            os.write(write, " ".join(NEW_ID() for _ in range(5)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        reads.append(os.read(read, 4096).decode().split())
    ids = [NEW_ID() for _ in range(1000)] + [one for ids in reads for one in ids]
    assert len(set(ids)) == len(ids) == 1015 and all(len(one) == 32 for one in ids)
