"""A packed value of every type is unpacked unchanged, and missing, zero and never differ."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.online.layout import NEVER, Layout, ServiceView

MOMENT = pl.Datetime("us", "UTC")
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
VALUES: dict[pl.DataType, st.SearchStrategy[Any]] = {
    pl.Float64(): st.floats(allow_nan=False),
    pl.Float32(): st.floats(width=32, allow_nan=False),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.Int32(): st.integers(-(2**31), 2**31 - 1),
    pl.Boolean(): st.booleans(),
    pl.String(): st.text(st.characters(exclude_categories=["Cs"])),
    MOMENT: moments,
}
types = st.sampled_from(list(VALUES))


def layout_by(key: pl.DataType) -> Layout:
    return Layout(("shop",), (ServiceView("sales", "sales", timedelta(0), {"sold": pl.Int64()}, {"shop": ("shop", key)}),))


def layout_of(**views: dict[str, pl.DataType]) -> Layout:
    return Layout((), tuple(ServiceView(name, name, timedelta(0), features, {}) for name, features in views.items()))


@st.composite
def filled(draw: st.DrawFn) -> tuple[Layout, dict[str, pl.DataFrame]]:
    """A layout of one to three views, and as many rows of each."""
    views, frames, rows = {}, {}, draw(st.integers(1, 4))
    for number in range(draw(st.integers(1, 3))):
        features = {f"f{number}_{place}": draw(types) for place in range(draw(st.integers(1, 4)))}
        views[f"view{number}"] = features
        columns = {
            name: draw(st.lists(st.none() | VALUES[dtype], min_size=rows, max_size=rows)) for name, dtype in features.items()
        }
        times = draw(st.lists(moments, min_size=rows, max_size=rows))
        frames[f"view{number}"] = pl.DataFrame({**columns, "timestamp": times}, schema={**features, "timestamp": MOMENT})
    return layout_of(**views), frames


def read_back(layout: Layout, packed: list[bytes | None], name: str) -> list[Any]:
    names = [name for view in layout.views for name in view.features]
    return [layout.unpack(value)[len(layout.views) + names.index(name)] for value in packed]


def event_times(layout: Layout, packed: list[bytes | None], view: str) -> list[int]:
    return [layout.unpack(value)[layout.number_of(view)] for value in packed]


@settings(deadline=None)
@given(filled())
def test_values_packed_view_by_view_are_unpacked_unchanged(case: tuple[Layout, dict[str, pl.DataFrame]]) -> None:
    layout, frames = case
    packed: list[bytes | None] = [None] * len(next(iter(frames.values())))
    for view, frame in frames.items():
        packed = [*layout.merge(packed, view, frame)]
    for view in layout.views:
        frame = frames[view.name]
        assert event_times(layout, packed, view.name) == frame["timestamp"].dt.epoch("us").to_list()
        for name in view.features:
            assert read_back(layout, packed, name) == frame[name].to_list()


def test_missing_zero_and_never_differ() -> None:
    layout = layout_of(delays={"late": pl.Float64(), "flights": pl.Int64()}, plane={"name": pl.String()})
    merged = layout.merge(
        [None, None],
        "delays",
        pl.DataFrame({"late": [0.0, None], "flights": [0, None], "timestamp": [datetime(2013, 1, 1, tzinfo=UTC)] * 2}),
    )
    packed: list[bytes | None] = [*merged]
    assert read_back(layout, packed, "late") == [0.0, None]
    assert read_back(layout, packed, "flights") == [0, None]
    assert event_times(layout, packed, "plane") == [NEVER, NEVER]


def test_a_layout_that_decodes_bytes_differently_has_another_digest() -> None:
    one = layout_of(delays={"a": pl.Float64(), "b": pl.Float64()})
    turned = layout_of(delays={"b": pl.Float64(), "a": pl.Float64()})
    wider = layout_of(delays={"a": pl.Float64(), "b": pl.Int64()})
    assert len({one.digest, turned.digest, wider.digest}) == 3
    lasting = Layout((), (replace(one.views[0], ttl=timedelta(hours=1)),))
    assert one.digest == lasting.digest  # a TTL is not stored


def test_the_digest_of_a_layout_stays_the_same_in_every_release() -> None:
    """Another digest would hide all stored values until they are materialized again."""
    assert layout_of(delays={"a": pl.Float64(), "b": pl.Int64()}, plane={"c": pl.String()}).digest == "fd352463c1f4"
    assert layout_by(pl.String()).digest == "3fba18e0f3c3"


def test_a_layout_whose_join_key_changes_its_type_has_another_digest() -> None:
    digests = {layout_by(dtype).digest for dtype in (pl.String(), pl.Int64(), pl.Int32(), MOMENT)}
    assert len(digests) == 4
