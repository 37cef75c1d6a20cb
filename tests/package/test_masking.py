"""What is masked as secret in texts and command lines, and what is not."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tests.package.regex_steps import steps
from zrb_store import masking
from zrb_store.masking import MASK, ends_amid_secret, mask_command, mask_named, mask_printed, mask_text, mask_word

pytestmark = pytest.mark.long_on_postgresql


@pytest.mark.parametrize(
    "word",
    [
        "PGPASSWORD=Zk7",
        "-Dapp.password=Zk7",
        "--header=Authorization: Bearer Zk7",
        "X-Api-Key: Zk7",
        '{"user": "me", "password": "Zk7"}',
        "{'apiKey':'Zk7'}",
        "host=db password=Zk7 user=me",
        "host=db password='Zk7 Zk7' user=me",
        "redis://:Zk7@db:6379/0",
        "--db=postgresql://me:Zk7 @Zk7@db/jobs",
        "https://me:Zk7@example.org/a?access_token=Zk7&b=1",
        "postgresql://db/jobs?sslpassword=Zk7&scram_client_key=Zk7",
        "postgresql://db/jobs?options=-c%20app.token%3DZk7",
        "https://Zk7e42F292c6912E7710@github.com/me/shop",
        "git+https://Zk7e42F292:x-oauth-basic@github.com/me/shop",
        "https://Zk7_live_abc:@api.example.com",
        "redis://Zk7e42f292c6912e77102@cache:6379/0",
    ],
)
def test_a_secret_in_one_word_is_masked(word: str) -> None:
    assert "***" in mask_word(word)
    assert "Zk7" not in mask_word(word)


@pytest.mark.parametrize(
    "word",
    [
        "postgresql://me@db:5432/jobs?passfile=/home/me/.pgpass&sslkey=me.key",
        "http://localhost:8080/@me/a?b=c@d",
        "redis://db:6379/0",
        "sqlite:////srv/a:b/c.db",
        "registry/auth:1.2",
        "--sort-key=day",
        "--bypass=1",
        "--max-tokens=100",
        "--password-file=/run/secrets/db",
        "git@github.com:me/token.git",
        "https://me@example.org/me/shop",
        "http://localhost2024:8080/@me",
    ],
)
def test_a_word_without_secrets(word: str) -> None:
    assert mask_word(word) == word
    assert mask_command([word]) == [word]


def test_the_rest_of_a_text_stays() -> None:
    text = "at http://db:80/x: ask me@x, or postgres://db:5432/jobs, postgres://a:b@db/jobs?password=c) (it's d@e)"
    assert mask_text(text) == (
        "at http://db:80/x: ask me@x, or postgres://db:5432/jobs, postgres://a:***@db/jobs?password=***) (it's d@e)"
    )


def test_options_are_secret_by_their_names() -> None:
    secret = [
        "--password",
        "--db-passwd",
        "-token",
        "--API_KEY",
        "--clientSecret",
        "--ssh-passphrase2",
        "--auth",
        "--pwd",
    ]
    for option in secret:
        assert mask_command([option, "a", "b"]) == [option, "***", "b"]
        assert mask_command([f"{option}=a", "b"]) == [f"{option}=***", "b"]
    for option in ("--ask-pass", "--no-password", "--key", "--token-url", "-p", "--compass"):
        assert mask_command([option, "a"]) == [option, "a"]
    # The value of an option may itself look like an option, so both are masked.
    assert mask_command(["--password", "--token", "a", "b"]) == ["--password", "***", "***", "b"]
    assert mask_command(["--password"]) == ["--password"]


@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    ("script", "masked"),
    [
        ("TOKEN=$(cat x y); echo north", "TOKEN=***; echo north"),
        ("PASSWORD=`cat x y` sh north", "PASSWORD=*** sh north"),
        ("TOKEN='Zk7 Zk7'Zk7\necho north", "TOKEN=***\necho north"),
        ("export TOKEN='Zk7 Zk7' && echo north", "export TOKEN='***' && echo north"),
        ("PGPASSWORD=Zk7 psql -c 'select north'", "PGPASSWORD=*** psql -c 'select north'"),
        ("psql --password Zk7 north --token=Zk7 a", "psql --password *** north --token=*** a"),
        ('curl -H "Authorization: Bearer Zk7" north', 'curl -H "Authorization: ***" north'),
        ("""curl -d '{"token": "Zk7", "of": "north"}'""", """curl -d '{"token": "***", "of": "north"}'"""),
        ("psql 'host=db password=Zk7 user=me' north", "psql 'host=db password=*** user=me' north"),
        ("x=$(PGPASSWORD=Zk7 psql north); echo $x", "x=$(PGPASSWORD=*** psql north); echo $x"),
        ('echo "$(PASSWORD="Zk7" cmd north)" a', 'echo "$(PASSWORD="***" cmd north)" a'),
        ("sh -c 'TOKEN=Zk7; echo north' a", "sh -c 'TOKEN=***; echo north' a"),
        ("curl https://me:Zk7@h/?token=Zk7&of=north", "curl https://me:***@h/?token=***&of=north"),
        ("TOKEN='Zk7 north", "TOKEN=***"),
        ("echo \\\n north)", "echo \\\n north)"),
    ],
)
def test_of_a_script_only_the_words_of_secrets(script: str, masked: str) -> None:
    assert mask_command(["sh", "-c", script]) == ["sh", "-c", masked]
    assert mask_command(["timeout", "5", "bash", "-euc", script, "a"])[-2:] == [masked, "a"]
    assert mask_command(["ssh", "host", script]) == ["ssh", "host", masked]
    assert mask_command(["sh", "-c", masked]) == ["sh", "-c", masked]


@pytest.mark.promise(number=9)
def test_a_word_that_is_no_script_may_be_a_secret_with_spaces() -> None:
    assert mask_command(["env", "PASSWORD=Zk7 Zk7", "cmd"]) == ["env", "PASSWORD=***", "cmd"]
    assert mask_word("select 1 where token = Zk7 and b") == "select 1 where token = *** and b"


@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=Zk7 and more", "password=*** and more"),
        ("DB_PASSWORD='Zk7 Zk7' x", "DB_PASSWORD='***' x"),
        ("no login (token=Zk7), bye", "no login (token=***), bye"),
        ("/p?access_token=Zk7&b=1", "/p?access_token=***&b=1"),
        ('{"token": "Zk7", "a": 1}', '{"token": "***", "a": 1}'),
        (r"{\"apiKey\": \"Zk7\"}", r"{\"apiKey\": \"***\"}"),
        (r'{"password": "Zk7\"Zk7", "a": 1}', '{"password": "***", "a": 1}'),
        (r'{"password": "Zk7\\", "a": "b"}', '{"password": "***", "a": "b"}'),
        (r"password='Zk7\'Zk7' b", "password='***' b"),
        (r"'{\"password\": \"Zk7\\\"Zk7\\\\\", \"a\": 1}'", r"'{\"password\": \"***\", \"a\": 1}'"),
        ("curl -H 'X-Api-Key: Zk7' u", "curl -H 'X-Api-Key: ***' u"),
        ("> Authorization: Basic Zk7", "> Authorization: Basic ***"),
        ("sent Bearer Zk7.Zk7Zk7, denied", "sent Bearer ***, denied"),
        ("sent Bearer zkSevenZkSevenZkSeven, denied", "sent Bearer ***, denied"),
        ("token=Zk7.Zk.Zk", "token=***"),
        ("token=zk.zk.zk", "token=***"),
        ("password=zk(Zk7", "password=***"),
        ("psql --password ZK7 x", "psql --password *** x"),
        ("psql --password 'ZK' x", "psql --password '***' x"),
        ("a\n  password: Zk7\nb", "a\n  password: ***\nb"),
        ("a\n- token: Zk7  # mine", "a\n- token: ***  # mine"),
        ('password: "Zk7" b', 'password: "***" b'),
        ("  POSTGRES_PASSWORD: 'Zk7, Zk7'\n", "  POSTGRES_PASSWORD: '***'\n"),
        ('{password: "Zk7", user: "me"}', '{password: "***", user: "me"}'),
        ('"password" => "Zk7"', '"password" => "***"'),
        ('password := "Zk7"', 'password := "***"'),
        ("cloning https://Zk7e42F292@github.com/me/shop", "cloning https://***@github.com/me/shop"),
        ("Command '['psql', '--password', 'Zk7', 'x']'", "Command '['psql', '--password', '***', 'x']'"),
        ("\u0130 token='Zk7 ends late\nb", "\u0130 token='***\nb"),
        ("postgres://me:Zk7@db/x", "postgres://me:***@db/x"),
    ],
)
def test_errors_and_output_are_masked_once(text: str, masked: str) -> None:
    assert mask_printed(text) == masked
    assert mask_printed(masked) == masked


@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    "text",
    [
        "wrong password: try again",
        "Password: ",
        "invalid token: } in line 3",
        "unexpected token: '}'",
        "unexpected token: '', expected: 'a'",
        """name = input("Your token: "); "a" """,
        "if password == 'x':",
        "max_tokens=100, compass=1, sort_key: day",
        "Bearer authentication failed",
        'WWW-Authenticate: Bearer realm="x"',
        "--ask-password now --token",
        "error: option --password requires an argument",
        "option --token is missing",
        "  --token TEXT   The token\n  --db-password DB_PASSWORD, [--api-key KEY]",
        "pass=5 fail=3",
        "test_auth: ok",
        "PWD=/home/me",
        '    token = os.environ["TOKEN"]',
        "    password = getpass()",
        "    connect(password=getpass.getpass('Password: '), token=self.token)",
        "    api_key = config.load(\n",
        "bearer certificates are",
    ],
)
def test_prose_and_code_stay(text: str) -> None:
    assert mask_printed(text) == text


@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    "text", ["token=", "--token ", "Bearer ", "Bearer Zk", "token = os.", "password = get(", "--token T"]
)
def test_what_comes_next_may_belong_to_a_secret(text: str) -> None:
    assert ends_amid_secret(text)
    assert not ends_amid_secret(f"{text}Zk7 and more")


@pytest.mark.promise(number=9)
def test_inputs_are_masked_as_a_command_line_is() -> None:
    shown = mask_named(
        {
            "api-key": "Zk7",
            "url": "https://me:Zk7@db/?token=Zk7",
            "words": ["psql", "--password", "Zk7"],
            "config": {"password": "Zk7", "port": 1, "pairs": {"$": "dict", "v": [[1, "a"], ["secret", "Zk7"]]}},
            "digest": {"$": "bytes", "v": "token=="},
            "password": None,
        }
    )
    assert shown == {
        "api-key": "***",
        "url": "https://me:***@db/?token=***",
        "words": ["psql", "--password", "***"],
        "config": {"password": "***", "port": 1, "pairs": {"$": "dict", "v": [[1, "a"], ["secret", "***"]]}},
        "digest": {"$": "bytes", "v": "token=="},
        "password": None,
    }


QUOTED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "repr of repr": lambda text: repr(repr(text)),
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "json": json.dumps,
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False),
    "url": quote,
    "url, form": quote_plus,
    "url, path": lambda text: quote(text, safe=""),
    "shell": shlex.quote,
    "shell, repr": lambda text: repr(shlex.quote(text)),
    "shell, by hand": lambda text: "'" + text.replace("'", "'\\''") + "'",
    "upper case": str.upper,
    "lower case": str.lower,
    "upper case, url": lambda text: quote(text.upper()),
    "lower case, json": lambda text: json.dumps(text.lower()),
    "title": str.title,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, basic auth": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    "base64, within": lambda text: base64.b64encode(f"m{text}, and more".encode()).decode(),
    "base64, url": lambda text: base64.urlsafe_b64encode(f"ok{text}".encode()).decode(),
}


SECRETS = [
    "hunter2-is",
    "p@ss w'rd/\"?",
    "zwölf \\ Bären\n€",
    "\\\\unc\\😀",
    "%41&<b>+~`$x",
    "qqqq\\",
    "5555",
    "日本語文",
]


@pytest.mark.parametrize("how", QUOTED)
def test_a_remembered_secret_however_it_is_quoted(how: str) -> None:
    for secret in SECRETS:
        masking._remembered.clear()
        assert_is_masked(secret, how)


def assert_is_masked(secret: str, how: str) -> None:
    masking.remember("other", secret, "hunter")
    masked = mask_text(f"<<{QUOTED[how](secret)}>>")
    assert "***" in masked
    left = masked.replace("***", "").strip("<>")
    if how.startswith("base64"):  # the characters around the secret stay, except those encoded together with it
        text, place = QUOTED[how](secret), {"": 0, "asic auth": 3, "within": 1, "url": 2}[how[6:].lstrip(", b")]
        before, after = masked.strip("<>").split("***")
        assert text.startswith(before)
        assert text.endswith(after)
        end = (place + len(secret.encode())) * 8
        assert len(before) == place * 8 // 6
        assert len(text) - len(after) == (-(-end // 6) if how == "base64, within" else len(text))
    else:
        assert set(left) <= set("\"'b\\")


@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:hunter2-is@host/a?b=1", "https://user:***@host/a?b=1"),
        ("https://hunter2-is@host/hunter2-is/a", "https://***@host/***/a"),
        ("tokenhunter2-isx", "token***x"),
        ("no access to hunter2-is, hunter2-is.", "no access to ***, ***."),
        ("password=hunter2-is and then more", "password=*** and then more"),
        ("password='hunter2-is' && more", "password='***' && more"),
        (
            "curl -H 'Authorization: Bearer hunter2-is' https://h/p?a=1",
            "curl -H 'Authorization: Bearer ***' https://h/p?a=1",
        ),
        ('{"token": "hunter2-is", "a": 1}', '{"token": "***", "a": 1}'),
        ("-Utoken:hunter2-is", "-Utoken:***"),
    ],
)
def test_only_the_value_is_replaced(text: str, masked: str) -> None:
    masking.remember("hunter2-is")
    assert mask_text(text) == masked
    assert mask_command(["sh", "-c", text]) == ["sh", "-c", masked]


@pytest.mark.parametrize(
    "text",
    ["password='hunter2-is and more'", "token=hunter2-is-and-more", "password='hunter2-is more", "pwd=morehunter2-is"],
)
def test_a_secret_that_is_only_a_part_of_another_does_not_show_the_rest(text: str) -> None:
    masking.remember("hunter2-is")
    assert "more" not in mask_word(text)


def test_a_remembered_secret_at_the_beginning_of_another() -> None:
    masking.remember("hunter", "hunter2-is")
    assert mask_text("hunter2-is a hunter") == "*** a ***"


PATTERNS = {
    "trace": (masking._TRACE.pattern, 0),
    "option": (masking._OPTION, 0),
    "assignment": (masking._ASSIGNMENT, 0),
    **{f"printed {n}": (pattern, re.MULTILINE) for n, pattern in enumerate(masking._PRINTED)},
    **{f"url {n}": (pattern, 0) for n, pattern in enumerate((*masking._IN_TEXT, *masking._IN_WORD))},
    "remembered": (masking.pattern_of(frozenset(["hunter-2"])).pattern, re.IGNORECASE),
}


@pytest.mark.slow
@pytest.mark.promise(number=9)
@pytest.mark.parametrize(
    ("before", "part", "between"),
    [
        ("", "autha", ""),
        ("", "pass", ""),
        ("", "password: ", ""),
        ("", "token='", ""),
        ("token='", "a", ""),
        ("", "token=a(", ""),
        ("", "https://a:", ""),
        ("", "?token", ""),
        ("x --", "a-token", ""),
        ("token=", "\\", '"'),
        ("", "hunter\\", ""),
    ],
)
def test_twice_the_text_is_twice_the_work(before: str, part: str, between: str) -> None:
    """Of each pattern, twice as many comparisons; if some are repeated for each of the others, four times as many."""
    for name, (pattern, flags) in PATTERNS.items():
        parts = (part * (size // len(part)) for size in (150, 300))
        once, twice = (steps(pattern, f"{before}{each}{between}{each}", flags) for each in parts)
        assert twice < 3 * once, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    ["a", " ", "\\", "://a:", "a@", "=password", "?password", "-", "--token ", "token='", '\\"token', "bearer "],
)
def test_a_long_text_takes_no_time(part: str) -> None:
    """It would take hours if the parts of the text were read again for each of them."""
    masking.remember("\\\\a@", "@aaaa")
    for text in (part * 30_000, "password=" + part * 30_000):
        mask_printed(text)
        mask_word(text[:131_072])  # no system accepts longer words on a command line
        mask_command(["sh", "-c", text[:131_072]])


def test_a_remembered_secret_after_backslashes() -> None:
    masking.remember("@hunter", "hunted")
    assert mask_text(r"\\@hunter %5C%40hunter \nhunted") == r"*** %5C*** \n***"


def test_what_is_too_short_is_left_alone() -> None:
    masking.remember("a", "abc", "", "  b  ")
    assert mask_text("abc, a banana") == "abc, a banana"


def test_pairs_with_secret_names_are_masked_and_what_is_no_pair_is_kept() -> None:
    tree = {"$": "dict", "v": [["password", "x"], ["name", "a"], ["password"]]}
    assert mask_named(tree) == {"$": "dict", "v": [["password", MASK], ["name", "a"], ["password"]]}
