"""A plan that servers read and that was not the ledger's, such as an edited one, when a person changes what serves."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from mlops_assets.promotion.deployment import UnreadablePlan, describe_difference
from mlops_assets.promotion.promotion_state import plan_of
from mlops_assets.promotion.promotions import Promotions


@contextmanager
def reporting_replaced(promotions: Promotions, report: Callable[[str], object]) -> Generator[None]:
    """Around a change, which goes ahead, as the person on call needs it now. Afterwards it keeps the file of the replaced plan
    and reports what it was, also where the change failed later.
    """
    deployment = promotions.deployment
    content, difference = deployment.content(), _difference(promotions)
    try:
        yield
    finally:
        if difference and deployment.content() != content:
            kept = f"; {deployment.keep(content)} has its file. Ask who can write to it" if content else ""
            where = f"{promotions.use_case.name} · plan and ledger disagreed before this change"
            report(f"{where}: {difference}. The change replaced that plan{kept}.")


def _difference(promotions: Promotions) -> str:
    """Empty where a plan of the ledger is read, be it an older one: the process that wrote a newer one may have died."""
    try:
        published = promotions.deployment.plan()
    except UnreadablePlan as error:
        return str(error).partition(". ")[0]
    state = promotions.state()
    difference = describe_difference(published, state.plan)
    if not (difference and published):
        return difference
    newer = promotions.ledger.records(promotions.use_case.name, after=published.number - 1)
    recorded = [plan_of(one, state.blessings) for one in newer if one.number == published.number and "plan" in one.body]
    return "" if recorded and not published.differences(recorded[0]) else difference
