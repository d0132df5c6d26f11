"""Who answers whom: the arm of each key, from the plan alone.

Belongs here: the draw, the same on every replica and in every process. Not here: what the key of a request is
(answering.py), the plan itself (promotion/deployment.py), loading models (model_slots.py).
"""

from collections.abc import Sequence
from hashlib import blake2b

from mlops_assets.promotion.deployment import Plan

DRAW_BYTES = 8
DRAWS = 2 ** (8 * DRAW_BYTES)


def to_challenger(plan: Plan, use_case: str, keys: Sequence[bytes]) -> list[bool]:
    """For each key, in order, whether the challenger answers it; the others are the champion's.

    The draw hangs on use case, challenger and key, so a key stays in its arm while the share stands, a larger share only
    adds keys to the challenger, and another challenger meets other keys first.
    """
    if plan.challenger is None or not plan.share:
        return [False] * len(keys)
    drawn_from = f"{use_case}\0{plan.challenger}\0".encode()
    below = int(plan.share * DRAWS)  # exact: a double times a power of two
    return [int.from_bytes(blake2b(drawn_from + key, digest_size=DRAW_BYTES).digest(), "big") < below for key in keys]
