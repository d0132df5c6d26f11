"""Is this tumour malignant? From measurements of the cell nuclei in an image of a fine-needle aspirate."""

from mlops_assets import (
    BeatsChampion,
    Binary,
    Budget,
    Calibrated,
    Column,
    Contract,
    Drift,
    Files,
    Floor,
    HistGradientBoosting,
    NoLeak,
    NoPii,
    Performance,
    Robust,
    Snapshot,
    UseCase,
)  # fmt: skip

MEASURES = {
    "radius": "Distance from the centre to the perimeter, pixels.",
    "texture": "Standard deviation of the grey values.",
    "perimeter": "Perimeter, pixels.",
    "area": "Area, pixels.",
    "smoothness": "Local variation of the radius.",
    "compactness": "perimeter² / area - 1.",
    "concavity": "Depth of the concave parts of the contour.",
    "concave_points": "Number of concave parts of the contour, as a share.",
    "symmetry": "Symmetry.",
    "fractal_dimension": "Coastline approximation - 1.",
}
STATISTICS = {"mean": "Mean over the nuclei", "error": "Standard error of the mean", "worst": "Mean of the three largest nuclei"}

SAMPLES = Contract(
    table="samples", description="One row per aspirate, with the diagnosis once it is known.",
    columns=(
        Column(name="sample", dtype="int", min=1, description="Number of the sample."),
        *(
            Column(name=f"{statistic}_{measure}", dtype="float", min=0, max=10_000, description=f"{of}. {description}")
            for statistic, of in STATISTICS.items()
            for measure, description in MEASURES.items()
        ),
        Column(name="diagnosis", dtype="string", nullable=True, allowed=("B", "M"), description="B: benign, M: malignant."),
    ),
    unique=("sample",),
)  # fmt: skip

USE_CASE = UseCase(
    name="tumor", owner="team:oncology", question="Is this tumour malignant?", risk="high",
    sources=(Files(table="samples", grain=Snapshot()),), contracts=(SAMPLES,),
    task=Binary(label="diagnosis", positive="M"),
    trainer=HistGradientBoosting(min_samples_leaf=10),
    gates=(
        Floor(metric="auc", bound=0.95), BeatsChampion(), Calibrated(max_ece=0.15),
        Robust(noise=0.05, missing=0.05, max_drop=0.05),
        # The measurements are made for this diagnosis: the best single one has an AUC of 0.975.
        NoLeak(max_single_auc=0.99), Budget(max_train_seconds=300, max_megabytes=5), NoPii(),
    ),
    monitors=(Drift(), Performance()),
    example="mlops_assets.use_cases.tumor.sample:example",
)  # fmt: skip
