"""Which digit is written here? From an image of 8 × 8 pixels: ten classes, a snapshot without a time."""

from mlops_assets import (
    BeatsChampion,
    Budget,
    Column,
    Contract,
    Drift,
    Files,
    Floor,
    Multiclass,
    Performance,
    Robust,
    SklearnEstimator,
    Snapshot,
    UseCase,
)  # fmt: skip

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
SIDE = 8
PIXELS = tuple(f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE))

IMAGES = Contract(
    table="images", description="One row per handwritten digit.",
    columns=(
        Column(name="image", dtype="int", min=0, description="Number of the image."),
        *(Column(name=pixel, dtype="int", min=0, max=16, example=8, description="Ink, from 0 (none).") for pixel in PIXELS),
        Column(name="digit", dtype="category", nullable=True, allowed=DIGITS, description="The digit, once it has been read."),
    ),
    unique=("image",),
)  # fmt: skip

USE_CASE = UseCase(
    name="handwriting", owner="team:mail-sorting", question="Which digit is written here?", risk="low",
    sources=(Files(table="images", grain=Snapshot()),), contracts=(IMAGES,),
    task=Multiclass(label="digit", classes=DIGITS),
    trainer=SklearnEstimator(estimator="sklearn.ensemble:RandomForestClassifier", arguments={"n_estimators": 100}),
    gates=(
        Floor(metric="accuracy", bound=0.9), BeatsChampion(), Robust(max_drop=0.1),
        Budget(max_train_seconds=300, max_megabytes=10),
    ),
    monitors=(Drift(), Performance()),
    example="mlops_assets.use_cases.handwriting.sample:example",
)  # fmt: skip
