"""Passwords and other secrets stay out of the store and of output. Secret inputs of zrb: tests/zrb/test_secrets.py."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.commands import Commands
from tests.support.rows import all_rows
from tests.support.sessions import inbox
from zrb_store import InputsDiffer, InvalidArgument, Store, StoreUnavailable, cli, codec, masking, open_store
from zrb_store.codec.arguments import without_secrets
from zrb_store.codec.compare import describe_changes
from zrb_store.db import engine
from zrb_store.db.location import shown_url, store_url
from zrb_store.run import RunSpec

pytestmark = pytest.mark.long_on_postgresql

PASSWORD = "Zk7-hunter"


@pytest.fixture
def secret_url(new_postgres: str) -> str:
    """The URL of an empty store, with passwords in several parts. The server of the tests requires none."""
    with_password = new_postgres.replace("//postgres@", f"//postgres:{PASSWORD}%40%2F@")
    return f"{with_password}&sslpassword={PASSWORD}&oauth_client_secret={PASSWORD}"


class TestTheStoresUrl:
    @pytest.mark.promise(number=9)
    def test_it_is_shown_without_passwords(
        self, secret_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = Commands(secret_url, monkeypatch, capsys.readouterr)
        command.ok("push", "inbox", "q", "1")
        with open_store(secret_url) as store:
            texts = [repr(store), store.url, store.database.shown_url]
            inbox(store, "a.csv")
            refused = command("copy", secret_url, secret_url)
            texts.append(refused.err)
            into = f"{secret_url}&application_name=other"
            existing = command("copy", secret_url, into)
            assert (existing.code, "there is a session inbox in postgresql" in existing.err) == (1, True)
            texts.append(existing.err)
        texts += [command.ok("db", "status"), command.ok("db", "status", "--format", "json"), command.ok("export")]
        assert all(PASSWORD not in text for text in texts), texts
        assert "sslpassword=***" in store.url
        assert "//postgres:***@" in store.url

    @pytest.mark.parametrize(
        "password",
        ["Zk7%40hunter", "Zk7/hunter", "Zk7#hunter", "Zk7 hunter", "Zk7:hunter", "Zk7%hunter", "Zk7'[hunter"],
    )
    def test_odd_characters_in_a_password(self, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine.Database, "timeout", 0.0)
        with pytest.raises(StoreUnavailable) as refused:
            open_store(f"postgresql://me:{password}@127.0.0.1:1/none?connect_timeout=1")
        assert "//me:***@127.0.0.1:1/none" in str(refused.value)
        assert "Zk7" not in str(refused.value)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:Zk7@hunter@127.0.0.1:1/none",
            "postgresql://me:Zk7@hunter/x@127.0.0.1:1/none",
            "postgresql://me:Zk7@hunter?x@127.0.0.1:1/none",
            "postgresql://m/e:Zk7hunter@127.0.0.1:1/none",
            "postgresql://me:Zk7@hunter:x@127.0.0.1:1/none",
            "postgresql:/me:Zk7hunter@127.0.0.1:1/none",
            "me:Zk7hunter@127.0.0.1:1/none",
            "host=127.0.0.1 password=Zk7hunter",
            "postgresql://me:Zk7hunter\udc80@127.0.0.1:1/none",
        ],
    )
    def test_one_that_no_driver_understands_is_refused_unseen(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # where a file of that name would be created
        with pytest.raises(InvalidArgument, match="the store's URL") as refused:
            open_store(url)
        assert not any(part in str(refused.value) for part in ("Zk7", "hunter"))

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+psycopg://me@corp:Zk7hunter@127.0.0.1:1/none",
            "postgresql+psycopg://me:Zk7hunter@127.0.0.1:1/none?application_name=me@here",
            "postgresql+psycopg://127.0.0.1:1/none?user=me@corp&password=Zk7hunter",
        ],
    )
    def test_an_at_sign_where_it_may_be(self, url: str) -> None:
        found = store_url(url)
        assert found == make_url(url)
        assert "Zk7" not in shown_url(found)

    def test_a_path_may_look_odd(self, tmp_path: Path) -> None:
        for name in ("a:b@c.db", "e@f", "pass:word", "password=1"):
            assert store_url(tmp_path / name).database == str(tmp_path / name)

    def test_what_libpq_says_of_it(self, new_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine.Database, "timeout", 0.0)
        with pytest.raises(StoreUnavailable, match="cannot be reached") as refused:
            open_store(f"{new_postgres}&sslmode=password%3D{PASSWORD}&password={PASSWORD}")
        assert PASSWORD not in str(refused.value)


@pytest.mark.slow
@pytest.mark.needs("transfer")
@pytest.mark.promise(number=9)
@pytest.mark.on_sqlite
def test_a_programs_command_line(location: str, tmp_path: Path) -> None:
    """They are masked in the output of `log` and `export`, and in the rows."""
    job = tmp_path / "job.py"
    job.write_text(
        "import sys, zrb_store\n"
        "with zrb_store.open_store() as store, store.session('nightly').run() as run, run.attempt('load'):\n"
        "    raise RuntimeError(f'cannot log in by {sys.argv[1]} with {sys.argv[3]!r}')\n"
    )
    words = [
        f"postgresql://me:{PASSWORD}@db.example/jobs",
        "--password",
        "Zk7 'hunter",
        f"--token={PASSWORD}",
        "--rows=7",
    ]
    url = store_url(location).render_as_string(hide_password=False)
    environment = {**os.environ, "ZRB_STORE_URL": url, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, str(job), *words], env=environment, capture_output=True, check=False)
    assert b"cannot log in" in run.stderr
    with open_store(location) as store:
        assert "Zk7" not in str(all_rows(store))
        record = store.session("nightly").record()
    shown = "".join(
        subprocess.run(
            [sys.executable, "-c", "from zrb_store.cli import main; main()", *args],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for args in (["log", record.name], ["log", record.name, "--format", "json"], ["export"])
    )
    assert "Zk7" not in shown
    masked = ["postgresql://me:***@db.example/jobs", "--password", "***", "--token=***", "--rows=7"]
    assert f"Command   {sys.executable}" not in shown
    assert shlex.join([str(job), *masked]) in shown
    assert "cannot log in by postgresql://me:***@db.example/jobs with" in shown


@pytest.mark.promise(number=9)
@pytest.mark.on_sqlite
def test_what_an_attempts_error_quotes(store: Store) -> None:
    url = f"postgresql://me:{PASSWORD}@db.example/jobs?password={PASSWORD}&x=1"

    class Refused(Exception):
        pass

    Refused.__qualname__ = f"Refused by {url}"
    with pytest.raises(Refused), store.session("s").run() as run, run.attempt("load"):
        raise Refused(f"no answer ({url}), {url}") from KeyError(url)
    kept = str(all_rows(store))
    assert PASSWORD not in kept
    assert "no answer (postgresql://me:***@db.example/jobs?password=***&x=1)" in kept
    assert "KeyError" in kept


def test_an_error_quotes_the_store_itself(store: Store, secret_url: str) -> None:
    """They are masked in the form that libpq gets, and however they are quoted."""
    with open_store(secret_url) as other:
        url = other.database.url
        texts = [
            url.render_as_string(hide_password=False),
            repr(url.password),
            f"host=x password={url.password} user=y",
        ]
    with pytest.raises(ValueError, match=PASSWORD), store.session("s").run() as run, run.attempt("load"):
        raise ValueError(texts[0], texts[2])
    assert PASSWORD not in str(all_rows(store))


@pytest.mark.on_sqlite
def test_a_command_line_that_is_given(store: Store) -> None:
    with store.session("s").prepare(RunSpec(command=["job", "--api-key", PASSWORD])):
        pass
    assert '["job", "--api-key", "***"]' in str(all_rows(store))


@pytest.mark.on_sqlite
def test_what_is_stored_to_be_compared(store: Store) -> None:
    """The inputs of a run and the arguments of a step. A new password makes no difference."""
    results = []
    for password in (PASSWORD, "another"):
        urls = (f"postgresql://me:{password}@db.example/jobs", {"to": [f"https://db.example?token={password}"]})
        spec = RunSpec(inputs=without_secrets({"url": urls[0]}), command=["job", f"--key-token={password}"])
        with store.session("s").prepare(spec) as run:
            results.append(run.task("load", len, [*urls, password]))
            assert PASSWORD not in str(all_rows(store))
            if password == PASSWORD:
                run.end("failed")
    assert results == [3, 3]


def fail_with_secrets(store: Store) -> dict[str, Any]:
    """Let a session fail that has secrets in its inputs, its output and its error; return the inputs."""
    inputs = {"api-key": "Zk7-key", "to": "https://db.example?token=Zk7-token", "config": {"password": "Zk7-nested"}}
    with store.session("s").run(inputs=inputs) as run:
        with run.attempt("load") as attempt:
            attempt.log("Authorization: Bearer Zk7-bearer")
            attempt.fail(ValueError("refused: password=Zk7-error"))
        run.end("failed")
    return inputs


@pytest.mark.promise(number=9)
@pytest.mark.on_sqlite
def test_inputs_errors_and_output(store: Store, command: Commands) -> None:
    """Inputs are masked when they are shown, and kept for a resume; errors and output are masked before."""
    inputs = fail_with_secrets(store)
    kept = all_rows(store)
    assert "Zk7-key" in str(kept["zrb_session"])
    assert "Zk7" not in str({name: rows for name, rows in kept.items() if name != "zrb_session"})
    shown = [command.ok(*line.split()) for line in ("show s", "show s --format json", "log s", "list --format json")]
    assert "refused: password=***" in shown[2]
    assert "Authorization: Bearer ***" in shown[2]
    assert "api-key=***" in shown[0]
    for text in shown:
        assert "Zk7" not in text
    with pytest.raises(InputsDiffer) as refused:
        store.session("s").run(inputs={**inputs, "api-key": "Zk7-2", "config": {"password": "Zk7-3"}}).start()
    assert "api-key: *** became ***, config.password: *** became ***" in str(refused.value)


@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    ("name", "nested", "place"),
    [
        ("cfg", lambda secret: {"api-key": secret}, 'cfg["api-key"]'),
        ("cfg", lambda secret: {"schlüssel-token": secret}, r'cfg["schl\u00fcssel-token"]'),
        ("cfg", lambda secret: {1: 2, "token": {"x": secret}}, "cfg.token.x"),
        ("credentials", lambda secret: {"x": {"y": secret}}, "credentials.x.y"),
        ("passwords", lambda secret: ["a", secret], "passwords[1]"),
        ("api-key", lambda secret: secret, "api-key"),
    ],
)
def test_what_a_refusal_quotes_of_what_is_below_a_secret_name(
    name: str, nested: Callable[[str], Any], place: str
) -> None:
    before, after = (codec.encode_named({name: nested(secret)}) for secret in ("Zk7", "Zk8"))
    assert describe_changes(before, after) == f"{place}: *** became ***"


@pytest.mark.on_sqlite
def test_secrets_beside_values_that_cannot_be_stored(store: Store) -> None:
    """A password in a container is masked even if another input or argument cannot be stored."""
    connection = threading.Lock()
    for url in ("https://me:hunter2@host", "https://me:another1@host"):
        held = {"in": (url, [url]), "set": {url}}
        with store.session(f"s-{url[11:14]}").run(inputs={"url": held, "connection": connection}) as run:
            run.task("load", lambda *_, **__: 1, connection, held, url=url)
            run.task("load", lambda *_, **__: pytest.fail("called"), connection, held, url="https://me:third333@host")
            with pytest.raises(InputsDiffer, match=r"\*\*\*@host' became 'https://me:\*\*\*@other'; "):
                run.task("load", lambda *_, **__: 1, connection, held, url="https://me:hunter2@other")
    stored = [*all_rows(store)["zrb_session"], *all_rows(store)["zrb_attempt"]]
    assert str(stored).count("https://me:***@host") == 14
    assert "hunter2" not in str(stored)
    assert "another1" not in str(stored)


@pytest.mark.on_sqlite
def test_what_a_refusal_quotes(store: Store, command: Commands) -> None:
    url = f"postgresql://me:{PASSWORD}@db.example/jobs"
    with store.session("s").run(inputs={"to": url}) as run:
        run.task("load", str, url)
        with pytest.raises(InputsDiffer, match=r"me:\*\*\*@"):
            run.task("load", str, "elsewhere")
        with pytest.raises(InputsDiffer, match=r"became 'postgresql://me:\*\*\*@other'"):
            run.task("load", str, f"postgresql://me:{PASSWORD}@other")
        run.end("failed")
    with pytest.raises(InputsDiffer, match=r"me:\*\*\*@"):
        store.session("s").run(inputs={"to": "elsewhere"}).start()
    for args in (["push", url, "q", "1"], ["get", url, "q"], [url], ["copy", url]):
        result = command(*args)
        assert result.code
        assert PASSWORD not in result.err


def test_messages_of_commands_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    masking.remember(PASSWORD)
    assert cli.run(["show", "--format", PASSWORD]) == 2
    assert PASSWORD not in capsys.readouterr().err
