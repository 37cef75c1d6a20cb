"""The benchmarks that count the package's own code."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import journeys

pytestmark = pytest.mark.on_sqlite


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
