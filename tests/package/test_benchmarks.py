"""The benchmarks that count the package's own code."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import journeys

pytestmark = pytest.mark.on_sqlite


@pytest.mark.slow
def test_without_agents_no_journey_crosses_their_wing(tmp_path: Path) -> None:
    ran = journeys.journeys(tmp_path)
    assert {"`show`", "`zrb xcom resume`"} <= ran.keys()
    assert {file for functions in ran.values() for file, _ in functions if file.startswith("agents/")} == set()


def test_journeys_of_a_package_that_is_not_imported_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert journeys.is_editable(tmp_path)
    monkeypatch.setattr(journeys, "PACKAGE", tmp_path / "zrb_store")
    with pytest.raises(SystemExit) as ended:
        journeys.main()
    assert len(str(ended.value.code).splitlines()) == 1
    assert "install it by `pip install -e .`" in str(ended.value.code)
    assert capsys.readouterr().out == ""
