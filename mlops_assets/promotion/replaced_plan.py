"""A plan that servers read and that was not the ledger's, such as an edited one, when a person changes what serves."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from mlops_assets.promotion.deployment import UnreadablePlan, describe_difference
from mlops_assets.promotion.promotions import Promotions


@contextmanager
def reporting_replaced(promotions: Promotions, report: Callable[[str], object]) -> Generator[None]:
    """Around a change, which goes ahead, as the person on call needs it now. Afterwards it keeps the file of the replaced plan
    and reports what it was.
    """
    deployment = promotions.deployment
    content, found = deployment.content(), _difference(promotions)
    yield
    if found:
        kept = f"; {deployment.keep(content)} has its file. Ask who can write to it" if content else ""
        where = f"{promotions.use_case.name} · plan and ledger disagreed before this change"
        report(f"{where}: {found}. The change replaced that plan{kept}.")


def _difference(promotions: Promotions) -> str:
    try:
        published = promotions.deployment.plan()
    except UnreadablePlan as error:
        return str(error).partition(". ")[0]
    return describe_difference(published, promotions.state().plan)
