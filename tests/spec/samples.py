"""The minimal declaration: one table without times, a column of which is the label."""

from datetime import date

from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.source import Files
from mlops_assets.spec.task import Binary
from mlops_assets.spec.use_case import UseCase

SAMPLES = Contract(
    table="samples",
    description="Measured cells of a tissue sample.",
    columns=(
        Column(name="sample", dtype="int", description="Number of the sample."),
        Column(name="patient", dtype="string", pii="hashed", description="Who it was taken from."),
        Column(name="radius", dtype="float", min=0, nullable=True, description="Mean radius of the cells."),
        Column(name="cells", dtype="int", min=1, description="How many were measured."),
        Column(name="stained", dtype="bool", description="Whether the cells were stained."),
        Column(name="laboratory", dtype="string", allowed=("east", "west"), description="Where."),
        Column(name="taken_at", dtype="datetime", description="When."),
        Column(name="diagnosis", dtype="string", allowed=("M", "B"), description="Malignant or benign."),
    ),
    unique=("sample",),
)
TUMOR = UseCase(
    name="tumor",
    owner="team:oncology",
    question="Is this tumour malignant?",
    first_day=date(2024, 3, 1),
    sources=(Files(table="samples"),),
    contracts=(SAMPLES,),
    task=Binary(label="diagnosis", positive="M"),
)
