"""What follows from the other parts of a declaration where it is left out."""

from datetime import timedelta

import pytest

from mlops_assets.spec.contract import Column
from mlops_assets.spec.defaults import BY_TIME
from mlops_assets.spec.feature import Features, FeatureView, Label
from mlops_assets.spec.request_feature import Hour, PredictionMoment, Ratio
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.split import RandomSplit, TimeSplit
from mlops_assets.spec.task import Multiclass
from tests.spec.samples import SAMPLES, TUMOR


def test_a_model_reads_every_column_but_key_label_moments_and_personal_data() -> None:
    features = TUMOR.features
    assert (features.numeric, features.categorical) == (("radius", "cells", "stained"), ("laboratory",))
    assert features.request == ("sample", "radius", "cells", "stained", "laboratory")
    assert (features.service, features.request_table, features.views) == ("tumor_v1", "samples", ())


def test_a_label_is_a_column_with_the_key_of_its_table() -> None:
    assert TUMOR.label == Label(name="diagnosis", table="samples", key=("sample",))
    declared = TUMOR.but(task=TUMOR.task.but(label=Label(name="diagnosis", known_at="taken_at")))
    assert declared.label.key == ("sample",) and declared.label.known_at == "taken_at"


def test_request_features_are_read_too_and_clients_send_what_they_need() -> None:
    hour, ratio = Hour(name="hour", column="taken_at"), Ratio(name="size", column="radius", by="cells")
    features = TUMOR.but(features=Features(request_features=(hour, ratio))).features
    assert features.numeric == ("radius", "cells", "stained", "hour", "size")
    assert features.request == ("sample", "radius", "cells", "stained", "laboratory", "taken_at")


def test_declared_inputs_or_requests_limit_the_other() -> None:
    assert TUMOR.but(features=Features(numeric=("cells",))).features.request == ("sample", "cells")
    features = TUMOR.but(features=Features(request=("sample", "laboratory"))).features
    assert features.inputs == ("laboratory",)


def test_a_split_is_by_time_where_requests_have_one() -> None:
    assert TUMOR.split == RandomSplit(test=0.2, validation=0.2, stratify=True, seed=0)
    moment = Features(request_features=(PredictionMoment(column="taken_at"),))
    assert TUMOR.but(features=moment).split == BY_TIME == TimeSplit(test=timedelta(days=30), validation=timedelta(days=14))
    assert TUMOR.but(contracts=(SAMPLES.but(day="taken_at"),)).split == BY_TIME


def test_a_changed_declaration_gets_its_defaults_again() -> None:
    weight = Column(name="weight", dtype="float", description="Of the sample.")
    heavier = TUMOR.but(contracts=(SAMPLES.but(columns=(*SAMPLES.columns, weight)),))
    assert heavier.features.numeric == (*TUMOR.features.numeric, "weight")
    other = heavier.but(task=Multiclass(label="laboratory", classes=("east", "west")))
    assert other.features.categorical == ("diagnosis",) and other.split == TUMOR.split
    assert other.model_fields_set == TUMOR.model_fields_set


def test_views_leave_the_inputs_unknown() -> None:
    view = FeatureView(name="v", description=".", tables=("samples",), transform=lambda tables, start, end: tables["samples"])
    with pytest.raises(IllegalDeclaration, match=r"features\.numeric · no input is declared, and the columns of views"):
        TUMOR.but(features=Features(views=(view,)))


def test_a_table_without_any_input_is_named() -> None:
    bare = SAMPLES.but(columns=tuple(column for column in SAMPLES.columns if column.name in ("sample", "diagnosis", "patient")))
    with pytest.raises(IllegalDeclaration, match="no column of samples can be one: all are key, label, moments or personal data"):
        TUMOR.but(contracts=(bare,))
