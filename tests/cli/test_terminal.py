"""Plain output: nothing is wrapped or cut, and each row is one line."""

from mlops_assets.foundation.terminal import as_text, facts, table


def test_long_values_and_titles_stay_whole_on_their_line() -> None:
    digest, title = "d" * 640, "a title that is longer than its table " * 20
    assert as_text(facts(title, {"digest": digest})).splitlines() == [title.rstrip(), f"digest  {digest}"]


def test_text_of_others_cannot_break_a_row_or_send_control_codes() -> None:
    lines = as_text(table(("by", "reason"), [("ana", "one\n  2  promotion\x1b[2J [bold]two[/bold] :smile:")])).splitlines()
    assert lines == ["by   reason", "ana  one 2 promotion [2J [bold]two[/bold] :smile:"]
