"""The example data of the use case."""

from datetime import date

from mlops_assets.use_cases.tumor import SAMPLES
from mlops_assets.use_cases.tumor.sample import example


def test_the_example_lands_as_one_table_that_keeps_its_contract() -> None:
    (file,) = example(date.min, date.min)
    assert (len(file.rows), file.rows.columns) == (569, [*SAMPLES.names])
    assert dict(file.rows["diagnosis"].value_counts().iter_rows()) == {"M": 212, "B": 357}
