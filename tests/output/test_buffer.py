"""Lines are made of what is printed, however it comes, and only the end of it is kept."""

from __future__ import annotations

import time

import pytest

from zrb_store.masking import remember
from zrb_store.runtime import output_capture
from zrb_store.runtime.output_capture import CUT, OutputBuffer


def taken(printed: OutputBuffer) -> list[tuple[str, str]]:
    return [(line.stream, line.text) for line in printed.take(all_of_it=True).lines]


@pytest.mark.promise(number=12)
@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\nt", b"wo"], ["one", "two"]),
        ([b"a\n\n\nb\n"], ["a", "", "", "b"]),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"\xff\xfe\n"], ["\ufffd\ufffd"]),
        ([b"10 %\r20 %\r100 %\n"], ["100 %"]),
        ([b"10 %\r", b"20 %\r", b"100 %"], ["100 %"]),
        ([b"dos\r\nend\r\n"], ["dos", "end"]),
        ([b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b(B\n"], ["red plain"]),
        ([b"nul\0\n"], ["nul\\0"]),
        (["lone \ud800\n"], ["lone \\ud800"]),
        (["text", " and\n", "more"], ["text and", "more"]),
        ([b"abc\xc3"], ["abc\ufffd"]),
        ([b"\xe2\x82"], ["\ufffd"]),
    ],
)
def test_lines_are_those_that_a_terminal_shows(pieces: list[bytes | str], texts: list[str]) -> None:
    printed = OutputBuffer(1000)
    for piece in pieces:
        printed.add("stdout", piece)
    assert taken(printed) == [("stdout", text) for text in texts]
    assert taken(printed) == []


def test_streams_do_not_mix() -> None:
    printed = OutputBuffer(1000)
    printed.add("stdout", b"out, ")
    printed.add("stderr", b"err\n")
    printed.add("stdout", b"then more\n")
    printed.parse = lambda texts: (["print"] * len(texts), [text.upper() for text in texts])
    printed.times.append(time.time())
    printed.texts.append("parsed\n")
    assert taken(printed) == [("stderr", "err"), ("stdout", "out, then more"), ("print", "PARSED")]
    assert printed.last_line("stderr") == "err"
    assert printed.last_line("other") is None


def test_a_blank_line_is_not_the_last_thing_that_was_said() -> None:
    printed = OutputBuffer(1000)
    printed.add("stderr", b"fatal\n\n  \n")
    assert len(taken(printed)) == 3
    assert printed.last_line("stderr") == "fatal"


def test_the_beginning_of_a_line_waits_for_its_end_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = OutputBuffer(1000)
    printed.add("stdout", b"Password: ")
    assert printed.take(all_of_it=False).lines == []
    assert printed.has_beginning
    monkeypatch.setattr(output_capture, "OLD", 0)
    assert [line.text for line in printed.take(all_of_it=False).lines] == ["Password: "]
    assert not printed.has_beginning


@pytest.mark.promise(number=12)
def test_half_a_character_waits_for_the_rest() -> None:
    printed = OutputBuffer(1000)
    printed.add("stdout", b"caf\xc3")
    assert printed.take(all_of_it=False).lines == []
    printed.add("stdout", b"\xa9\n\xe2")
    assert [line.text for line in printed.take(all_of_it=False).lines] == ["café"]
    assert taken(printed) == [("stdout", "\ufffd")], "although nothing came since"


@pytest.mark.promise(number=12)
@pytest.mark.parametrize("begun", ["key: hunt", "key: HUNTER2-SECRET-VALU", "key: hunter2-secret-value h"])
def test_the_beginning_of_a_secret_waits_for_its_end(monkeypatch: pytest.MonkeyPatch, begun: str) -> None:
    remember("hunter2-secret-value")
    now = time.time()
    printed = OutputBuffer(1000)
    printed.add("stdout", begun)
    assert printed.take(all_of_it=False).lines == []
    monkeypatch.setattr(time, "time", lambda: now + 10)
    assert printed.take(all_of_it=False).lines == []
    printed.add("stdout", "hunter2-secret-value"[len(begun.split(" ")[-1]) :] + ", value: ")
    ((_, _, text),) = printed.take(all_of_it=False).lines
    assert text.endswith("***, value: ")
    assert "hunt" not in text.lower()


def test_a_secret_that_may_be_the_beginning_of_another_waits_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    remember("hunter2", "hunter2-secret-value", "abab")
    now = time.time()
    printed = OutputBuffer(1000)
    printed.add("stdout", "key: hunter2-secret")
    monkeypatch.setattr(time, "time", lambda: now + 10)
    assert printed.take(all_of_it=False).lines == []
    printed.add("stdout", "-value, others: hunter2")
    monkeypatch.setattr(time, "time", lambda: now + 20)
    assert printed.take(all_of_it=False).lines == []
    printed.add("stdout", " and abab")
    monkeypatch.setattr(time, "time", lambda: now + 30)
    ((_, _, text),) = printed.take(all_of_it=False).lines
    assert text == "key: ***, others: *** and ***", "at once: the ab at its end begins no other secret"


def test_a_line_has_the_time_of_its_beginning() -> None:
    printed = OutputBuffer(1000)
    printed.add("stdout", b"begun ")
    between = time.time_ns() // 1000
    printed.add("stdout", b"and ended\nnext\n")
    first, second = printed.take(all_of_it=True).lines
    assert first.at <= between <= second.at


@pytest.mark.parametrize("count", [10, 1000, 100_000])
def test_the_last_lines_are_kept_and_the_others_counted(count: int) -> None:
    limit = 2000
    printed = OutputBuffer(limit)
    for number in range(count):
        printed.add("stdout", b"line %06d\n" % number)
    found = printed.take(all_of_it=True)
    kept = min(count, limit // 12)
    assert [line.text for line in found.lines] == [f"line {number:06}" for number in range(count - kept, count)]
    assert found.skipped == (count - kept) * 12


def test_what_is_printed_between_two_looks_does_not_fill_the_memory() -> None:
    limit = 10_000
    printed = OutputBuffer(limit)
    for _ in range(200):
        printed.add("stdout", b"x" * 1000 + b"\n")
    assert sum(len(data) for _, _, data in printed._added) < 3 * limit + 100_000


@pytest.mark.promise(number=12)
@pytest.mark.parametrize("limit", [0, 1, 5, 6, 7, 50, 1000])
@pytest.mark.parametrize("size", [10, 60, 5000, 40_000, 500_000])
@pytest.mark.parametrize("chunk", [1000, 65536])
def test_a_line_that_alone_is_too_long_is_cut(limit: int, size: int, chunk: int) -> None:
    printed = OutputBuffer(limit)
    text = (b"0123456789" * (size // 10))[:-1] + b"!"
    for start in range(0, size, chunk):
        printed.add("stdout", text[start : start + chunk])
    printed.add("stdout", b"\n")
    found = printed.take(all_of_it=True)
    (line,) = found.lines
    assert line.size <= max(limit, 1)
    assert found.skipped + line.size == size + 1
    if size < limit:
        assert line.text == text.decode()
    elif limit > 10:
        assert line.text.startswith(CUT)
        assert line.text.endswith("9!" if size % 10 else "8!")
        assert line.text[len(CUT) :] in text.decode()


@pytest.mark.promise(number=12)
@pytest.mark.parametrize("size", [950, 5_000, 300_000])
@pytest.mark.parametrize("char", ["x", "é"])
def test_what_follows_a_very_long_line_leaves_its_end(size: int, char: str) -> None:
    printed = OutputBuffer(1000)
    printed.add("stdout", f"{char * size}\n")
    printed.add("stdout", "tail\n" * 20)
    lines, skipped = printed.take(all_of_it=True)
    assert [line.text for line in lines[1:]] == ["tail"] * 20
    assert lines[0].text == CUT + char * lines[0].text.count(char)
    assert 900 <= sum(line.size for line in lines) <= 1000
    assert skipped + sum(line.size for line in lines) == pytest.approx(size * len(char.encode()) + 101, abs=1)


def test_a_line_that_grows_for_long_is_counted_whole() -> None:
    printed = OutputBuffer(1000)
    for _ in range(50):
        printed.add("stdout", b"." * 500)
        assert printed.take(all_of_it=False) == ([], 0)
    printed.add("stdout", b"\n")
    found = printed.take(all_of_it=False)
    assert found.skipped + found.lines[0].size == 50 * 500 + 1


@pytest.mark.promise(number=12)
@pytest.mark.parametrize("before", [*range(0, 60, 7), 16_000, 17_000, 30_000, 33_000])
def test_no_part_of_a_secret_stays_where_text_is_cut(before: int) -> None:
    remember("s3cr3t-of-output-x9")
    printed = OutputBuffer(100)
    text = b"-" * before + b"s3cr3t-of-output-x9" * 4 + b"-" * 50
    for start in range(0, len(text), 97):
        printed.add("stdout", text[start : start + 97])
    printed.add("stdout", b"\n")
    shown = " ".join(text for _, text in taken(printed))
    assert shown.endswith("-" * 50)
    for part in ("s3cr3t", "of-output", "-x9", "t-of"):
        assert part not in shown


@pytest.mark.parametrize("chunk", [5, 97, 1009])
@pytest.mark.parametrize("is_noted", [False, True])
def test_no_part_of_a_secret_stays_where_lines_are_dropped(chunk: int, is_noted: bool) -> None:
    """Masked lines are short, so that all of the last part is kept, and with it the rest of a line that was split."""
    remember("s3cr3t-of-output-x9")
    printed = OutputBuffer(10_000)
    text = "s3cr3t-of-output-x9\n" * 10_000
    for start in range(0, len(text), chunk):
        piece = text[start : start + chunk]
        if is_noted:
            printed.times.append(time.time())
            printed.texts.append(piece)
            printed.trim()
        else:
            printed.add("stdout", piece.encode())
    shown = {text for _, text in taken(printed)}
    assert shown <= {"***", CUT}
    assert "***" in shown


def test_a_secret_of_several_lines_is_masked_in_each() -> None:
    remember("first-half-of-a-key\nsecond-half-of-a-key")
    printed = OutputBuffer(1000)
    printed.add("stdout", b"key: first-half-of-a-key\nsecond-half-of-a-key\n")
    assert taken(printed) == [("stdout", "key: ***"), ("stdout", "***")]


@pytest.mark.parametrize("between", ["", "meanwhile\n"])
def test_a_secret_of_short_lines_is_masked_if_it_is_printed_whole(between: str) -> None:
    """A line of it is too short to be masked wherever it stands."""
    remember("al1ce\nhunter2\n")
    printed = OutputBuffer(1000)
    for text in ("who: al1", "ce\n", between, "hunt", "er2, twice\n"):
        printed.add("print" if text == between else "stdout", text)
    shown = dict.fromkeys(text for stream, text in taken(printed) if stream == "stdout")
    assert list(shown) == ["who: ***", "***, twice"]
    printed.add("stdout", "al1ce\n")
    assert taken(printed) == [("stdout", "al1ce")]


def parse(printed: list[str]) -> tuple[list[str], list[str]]:
    """Parse what begins with a prefix, as most does, and what does not."""
    return ["print"] * len(printed), [text.removeprefix("prefix of what is printed: ") for text in printed]


@pytest.mark.parametrize("pause", [1, 7, 100, 100_000])
@pytest.mark.parametrize("plain", [0, 2, 3])
def test_the_last_of_what_is_noted_is_kept_however_often_it_is_trimmed(pause: int, plain: int) -> None:
    limit, count = 2000, 20_000
    printed = OutputBuffer(limit)
    printed.parse = parse
    most = 0
    for number in range(count):
        is_plain = plain and number % plain == 0
        prefix = "" if is_plain else "prefix of what is printed: "
        printed.times.append(float(number))
        printed.texts.append(f"{prefix}line {number:06}\n")
        if number % pause == 0:
            printed.trim()
            most = max(most, len(printed.texts))
    found = printed.take(all_of_it=True)
    kept = limit // 12
    assert [(line.at, line.text) for line in found.lines] == [
        (number * 1_000_000, f"line {number:06}") for number in range(count - kept, count)
    ]
    assert found.skipped == (count - kept) * 12 or plain, "one text tells how much longer each is than its line"
    assert found.skipped > 0
    if pause <= 100 and not plain:
        assert most < 4 * (limit + 8 * 1024) // 12
    assert printed.take(all_of_it=True) == ([], 0)


def test_the_end_of_a_line_is_dropped_if_its_beginning_was_trimmed() -> None:
    remember("s3cr3t-of-output-x9")
    printed = OutputBuffer(1000)
    printed.parse = lambda texts: ([text[0] for text in texts], [text[1:] for text in texts])
    for text in ("wbegun s3cr3t-of-", *["pmeanwhile\n"] * 2000, "woutput-x9\n"):
        printed.times.append(time.time())
        printed.texts.append(text)
        printed.trim()
    assert taken(printed)[-2:] == [("p", "meanwhile"), ("w", CUT)]
