"""Text that is safe to store and to show: without secrets, and without control characters that move the cursor.

Three things are secret: a password or a token in a URL, a value whose name says that it is secret, as that of an
option or of a variable, and a value that this process remembers as secret, in all forms in which texts quote it. Each
is replaced by `***`.
"""

from __future__ import annotations

import base64
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import traceback

MASK = "***"
SHORTEST = 4
"""Length of the shortest secret that is remembered: masking a shorter one would mangle other words."""
SHORTEST_LINE = 12  # likewise, of the lines of a secret that has several
TRACEBACK_LIMIT = 16 * 1024
"""Bytes that are kept of a traceback, from its end, and of an error's message, from its beginning."""

# The end of the name of an option, a variable or a URL parameter whose value is secret: first, also in prose.
_CLEAR = (
    r"(?:pass(?:word|wd|phrase|code)s?|secrets?|token|credentials?|authorization"
    r"|(?:access|account|api|auth|encryption|master|private|secret|shared|signing|scram_client|scram_server)[-_.]?key"
    r"|pw(?<![a-z0-9]pw))\d*"
)
_SECRET = rf"(?:{_CLEAR}|(?:pwd|pass(?<![a-z0-9]pass)|auth(?<![a-z0-9]auth))\d*)"
# The names that are excluded are those of flags, such as --ask-password, which take no argument.
_NO_FLAG = "(?!(?:ask|no|prompt|show|skip|without)[-_])"
_SECRET_NAME = rf"(?i){_NO_FLAG}[\w.-]*{_SECRET}"
# A value has spaces if it is a whole text, or follows a colon, as in `Authorization: Bearer ...`.
_ASSIGNMENT = (
    # Without the lookbehind, a long word would be searched again from each of its characters.
    rf"""(?is)(?:(?P<whole>\A)|(?<![\w.-]))"""
    rf"""(?P<name>[\w.-]*{_SECRET}(?:(?P<equals>["']?\s*(?::?=>?|%3D)\s*)|["']\s*:\s*|:\s+))"""
    r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|(?(whole).+?(?=\s[\w.-]+\s*=|&|\Z)|(?(equals)[^\s&]+|"""
    r""".+?(?=\s[\w.-]+\s*=|&|\Z))))"""
)

# The same in running text, in lower case. There a value ends sooner, and `name: value` may be prose: it is masked if it
# is a whole line, or in quotation marks.
_SCHEME = r"(?:(?:basic|bearer|digest|token)[ \t]+)?"
# Where n backslashes stand before each quotation mark, as in JSON within JSON, 2n + 1 escape the character after them.
# Of more than 31, as JSON has five levels deep, each would be compared with all others.
_QUOTE = r"""(?P<quote>(?P<escape>\\{0,31})["'])"""
_QUOTED = r"(?:(?!(?P=quote))(?:(?P=escape){2}\\[^\n]|[^\n]))*"
# Code of a traceback, such as `token = os.environ["TOKEN"]`. A real token may have dots, too, but no word like these.
_CODE = rf"(?:[a-z_]+\.)*[a-z_]+(?:[(\[][^\n]{{0,200}}[)\]](?!\w)|[(\[](?m:$))|(?:[a-z_]+\.)+\w*{_CLEAR}\b"
_VALUE = rf"""{_QUOTE}?(?P<value>(?(quote){_QUOTED}|(?!{_CODE})[^\s&]*[^\s&"'),;\]>}}]))"""
_PRINTED = (
    rf"""{_CLEAR}(?:\\*["'][ \t]*:[ \t]*|(?:\\*["'])?[ \t]*(?::?=(?!=)>?|%3d)[ \t]*){_SCHEME}{_VALUE}""",
    rf"""{_CLEAR}:[ \t]+{_QUOTE}(?P<value>(?![\s),;\]}}])(?=[^\w\n"']*\w){_QUOTED})""",
    rf"""(?:^[ \t>*+-]*+|["'])[\w.-]*{_CLEAR}:[ \t]+{_SCHEME}(?P<value>(?!\\+["'])[^\s"']+)"""
    r"""(?=["']|[ \t]*(?:$|[ \t]\#))""",
    r"""authorization:[ \t]*(?:\w+[ \t]+)?(?P<value>[^\s"']+)""",
    r"""bearer[ \t]+(?!auth|realm\b)(?P<value>(?=[a-z_.~+/=-]*\d)[\w.~+/=-]{8,}|[\w.~+/=-]{20,})""",
)
# Not in lower case: what follows may be a placeholder of a help text, such as TEXT.
_OPTION = (
    rf"""(?<![\w.-])--(?i:{_NO_FLAG}[\w.-]*{_SECRET})(?:\\*["'],)? (?!(?:[A-Z_-]+|is|requires)(?![^\s,;)\]])){_VALUE}"""
)
_TRACE = re.compile(
    r"""(?:pass[a-z]{0,7}|pwd?|secrets?|token|credentials?|auth[a-z]{0,9}|key)\d*\\*["']?[ \t]*(?:[=:]|%3d)"""
    r"|bearer[ \t]|--[a-z]"
)
"""What is in every text that has a match of `_PRINTED` or `_OPTION`. In others it is missed quickly."""


@functools.cache
def _compiled() -> tuple[re.Pattern[str], ...]:
    # Most commands print no such text, and this takes as long as a tenth of their start.
    return re.compile(_OPTION), *(re.compile(pattern, re.MULTILINE) for pattern in _PRINTED)


_KNOWN = r"(?:(?i:basic|bearer|digest|token)\s+)?\*\*\*"
_MASKED_VALUE = rf"""(?:(["']){_KNOWN}\1|{_KNOWN}(?:$|[\s"'&,;)\]}}]))"""


def _in_urls(gap: str, closing: str) -> tuple[str, ...]:
    """Return patterns for the secrets in URLs. The first group of each pattern matches the text before the secret."""
    user = rf"(://[^{gap}:/?#]*:)"
    # A user of an http URL that is long, or has a digit, is a token. Users of databases have longer names.
    token, follows = rf"[^{gap}:/?#@]", rf"(?=(?::[^{gap}/?#]*)?@)"
    return (
        rf"(?i)((?:(?<=http)|(?<=https))://)(?:(?=[^{gap}:/?#@\d]*\d){token}{{8,}}|{token}{{20,}}){follows}",
        rf"(?i)(?<!http)(?<!https)(://)(?=[^{gap}:/?#@\d]*\d){token}{{20,}}{follows}",
        # In an http URL a slash ends the part that may hold a password: http://host:80/path@2 has none.
        rf"(?i)(?:(?<=http)|(?<=https)){user}[^{gap}/?#]*(?=@)",
        # The password in a database URL is often not escaped. It ends at the last @ before `?name=`, otherwise at the
        # first @. It never extends into the next URL, so that a long list of URLs is scanned only once.
        rf"(?i)(?<!http)(?<!https){user}(?:(?:(?!://|[?&][\w.-]+=)[^{gap}])*|(?:(?!://)[^{gap}@])*+)(?=@)",
        rf"(?i)([?&][\w.-]*{_SECRET}=)[^{gap}&]*[^{gap}&{closing}]",
    )


_IN_TEXT = _in_urls(r"\s", r"'\"),;\]>}")
_IN_WORD = _in_urls(r"\0", "")


def is_secret_name(name: str) -> bool:
    """Whether the name of an option or a parameter says that its value is secret, as `db-password` and `token` do."""
    return re.fullmatch(_SECRET_NAME, name) is not None


def mask_text(text: str) -> str:
    """Mask the passwords and tokens of URLs, and the secrets that this process remembers, in a message."""
    return mask_remembered(_mask_urls(text, _IN_TEXT))


def mask_printed(text: str) -> str:
    """Mask in an error or in output what `mask_text` masks, and values that stand beside a secret name."""
    text = mask_text(text)
    lower = text.replace("\u0130", "i").lower()  # as long as the text: no other character becomes two
    if not _TRACE.search(lower):
        return text
    pieces, end = [], 0
    option, *printed = _compiled()
    matches = chain(option.finditer(text), *(pattern.finditer(lower) for pattern in printed))
    for start, stop in sorted(found.span("value") for found in matches):
        if stop > max(start, end):
            pieces += [text[end:start], MASK] if start >= end else []
            end = stop
    return "".join([*pieces, text[end:]])


def mask_named(tree: Any) -> Any:
    """Mask in data, as JSON has it, what `mask_command` masks in a command line: by name, and in each text."""
    if type(tree) is str:
        return mask_word(tree)
    if type(tree) is list:
        return mask_command(tree) if set(map(type, tree)) == {str} else list(map(mask_named, tree))
    if type(tree) is not dict or tree.get("$") in ("bytes", "bytearray"):
        return tree
    items = dict(_mask_pair(item) for item in tree.items())
    if tree.get("$") == "dict" and type(tree.get("v")) is list:  # pairs, since not all its keys are plain texts
        items["v"] = list(map(_mask_pair, tree["v"]))
    return items


def _mask_pair(pair: Any) -> Any:
    if type(pair) not in (list, tuple) or len(pair) != 2:
        return mask_named(pair)
    name, value = pair
    is_secret = type(name) is str and is_secret_name(name) and value not in ("", None)
    return [mask_named(name), MASK if is_secret else mask_named(value)]


def mask_texts(value: Any, mask: Callable[[str], str] = mask_text) -> Any:
    """Copy plain data, and mask every text in it by a function; objects of other types stay as they are."""
    if type(value) is str:
        return mask(value)
    if type(value) in (list, tuple):
        return type(value)(mask_texts(item, mask) for item in value)
    if type(value) is dict:
        return {key: mask_texts(item, mask) for key, item in value.items()}
    return value


def mask_word(word: str) -> str:
    """Mask one URL or one word of a command line as `mask_text` does, and also a value assigned to a secret name."""
    word = mask_remembered(_mask_urls(word, _IN_WORD if re.match(r"\S+://", word) else _IN_TEXT))
    return re.sub(_ASSIGNMENT, _masked_assignment, word)


def _mask_urls(text: str, patterns: Sequence[str]) -> str:
    if "://" in text or "?" in text:  # most texts contain no URL
        for pattern in patterns:
            text = re.sub(pattern, rf"\1{MASK}", text)
    return text


def _masked_assignment(match: re.Match[str]) -> str:
    value = match[0].removeprefix(match["name"])
    if re.match(_MASKED_VALUE, value):  # the secret is known, so that its end is known too
        return match[0]
    quote = value[0] if value[0] in "\"'" and value[0] == value[-1] else ""
    return f"{match['name']}{quote}{MASK}{quote}"


def mask_command(words: Sequence[str], is_secret: Callable[[str], bool] = is_secret_name) -> list[str]:
    """Mask the arguments of secret options in a command line, and what `mask_word` masks in its words.

    Of a script in it, as in `sh -c SCRIPT`, only the secret's own words are masked: the others say what it does.
    """
    return [
        shown + MASK if secret else mask_script(shown, is_secret) if is_script else mask_word(shown)
        for (shown, secret), is_script in zip(_secrets_of(words, is_secret), _scripts(words), strict=True)
    ]


_SHELLS = frozenset(("ash", "bash", "dash", "fish", "ksh", "sh", "su", "zsh"))
_REMOTE = "ssh"  # of which every word is a part of a script
_DEPTH = 8  # of scripts in scripts; deeper ones are words
_ASSIGNED = re.compile(rf"(?i)[\w.-]*{_SECRET}\+?=")


def _scripts(words: Sequence[str]) -> Iterator[bool]:
    """Say of each word of a command line whether it is the text of a script for a shell."""
    is_shell = is_remote = False
    for before, word in pairwise(["", *words]):
        yield is_remote or (is_shell and re.fullmatch(r"-[A-Za-z]*c|--command", before) is not None)
        name = word.rpartition("/")[2]
        is_shell, is_remote = is_shell or name in _SHELLS, is_remote or name == _REMOTE


def mask_script(text: str, is_secret: Callable[[str], bool] = is_secret_name, depth: int = _DEPTH) -> str:
    """Mask the secrets in the text of a shell's script: each word as a word of a command line."""
    spans = list(_shell_words(text))
    words = [text[start:end] for start, end in spans]
    pieces, last = [], 0
    for (start, end), word, (shown, secret), is_script in zip(
        spans, words, _secrets_of(words, is_secret), _scripts(words), strict=True
    ):
        masked = shown + MASK if secret else _mask_shell_word(word, is_secret, depth, is_script=is_script)
        pieces += [text[last:start], masked]
        last = end
    return "".join([*pieces, text[last:]])


def _mask_shell_word(word: str, is_secret: Callable[[str], bool], depth: int, *, is_script: bool) -> str:
    if assigned := _ASSIGNED.match(word):
        quote = _quote_around(word[assigned.end() :])
        return f"{assigned[0]}{quote}{MASK}{quote}"
    quote = _quote_around(word)
    inner = word[1:-1] if quote else word
    if is_script and depth:
        return f"{quote}{mask_script(inner, is_secret, depth - 1)}{quote}"
    before, substitution, rest = inner.partition("$(")
    if substitution and depth and quote != "'" and mask_word(f"{before}x") == f"{before}x":
        return f"{quote}{before}{substitution}{mask_script(rest, is_secret, depth - 1)}{quote}"
    return f"{quote}{mask_word(inner)}{quote}"


def _quote_around(word: str) -> str:
    """Return the quotation mark in which a whole word stands; nothing for another word."""
    return word[0] if word[:1] in ("'", '"') and word.find(word[0], 1) == len(word) - 1 else ""


def _shell_words(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word of a script begins and ends, as a shell divides it, with its quotes and `$(...)`."""
    start, place, ends = -1, 0, list[str]()  # `ends` closes the quotes and substitutions that are open
    while place < len(text):
        char, inside = text[place], ends[-1] if ends else ""
        if not inside and char in " \t\r\n;|&<>()":
            if start >= 0:
                yield start, place
            start = -1
        else:
            start = place if start < 0 else start
            if char == inside:
                ends.pop()
            elif char == "\\" and inside != "'":
                place += 1
            elif inside != "'" and text.startswith("$(", place):
                ends.append(")")
                place += 1
            elif (char in "\"'" and inside in ("", ")")) or (char == "`" and inside != "'"):
                ends.append(char)
            elif char == "(" and inside == ")":
                ends.append(")")
        place += 1
    if start >= 0:
        yield start, len(text)


def remember_command(words: Sequence[str]) -> None:
    """Remember the arguments of secret options in a command line, since messages may quote them."""
    remember(*(secret for _, secret in _secrets_of(words, is_secret_name)))


def _secrets_of(words: Sequence[str], is_secret: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Split each word into the part that may be shown and the secret that follows it."""
    follows_option = False
    for word in words:
        option, equals, value = word.partition("=")
        secret = option.startswith("-") and is_secret(option.lstrip("-"))
        if follows_option:
            yield "", word
        else:
            yield (f"{option}=", value) if secret and equals else (word, "")
        # An argument that looks like a secret option may be one, because the option before it may have been a flag.
        follows_option = secret and not equals


_remembered: set[str] = set()


def remember(*secrets: str) -> None:
    """Mask these values from now on in everything that this process stores or prints, however they are quoted."""
    for secret in map(str.strip, secrets):
        # What a program prints of a key that has several lines is masked line by line.
        lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
        _remembered.update(line for line in lines if len(line) >= SHORTEST_LINE)
        if len(secret) >= SHORTEST:
            _remembered.add(secret)


def remembered_in(texts: Iterable[str]) -> list[str]:
    """Return the remembered secrets that these texts contain, also in quotes."""
    text = "\n".join(texts)
    return [secret for secret in sorted(_remembered) if re.search(_quoted(secret), text, re.IGNORECASE)]


def mask_remembered(text: str) -> str:
    """Mask the remembered secrets in a text."""
    return pattern_of(frozenset(_remembered)).sub(MASK, text) if _remembered else text


def ends_amid_secret(text: str) -> bool:
    """Whether a text ends within a secret: one with a name, or a remembered one, as it is or in upper or lower case."""
    # What came next would be masked, too. But a prompt such as `Password: ` shows what a program waits for.
    if not text.rstrip().endswith(":") and mask_printed(f"{text}0123456789").endswith(MASK):
        return True
    text = text.lower()
    places = [
        len(text) - length
        for secret in map(str.lower, _remembered)
        for length in range(1, len(secret))
        if text.endswith(secret[:length])
    ]
    # Not what lies within a complete secret. But where a complete one begins, a longer one may begin, too.
    complete = pattern_of(frozenset(_remembered)).finditer(text) if places else ()
    hidden = {place for match in complete for place in range(match.start() + 1, match.end())}
    return not hidden.issuperset(places)


COVER = "\ufdd0"
"""Stands for a character of a secret until that is masked. It is no character of any text."""


def cover_lines(text: str) -> str:
    """Put `COVER` in the place of each character but the newlines of remembered secrets that have several lines.

    Some of their lines are too short to be recognised alone, when the text is divided.
    """
    if not _remembered or "\n" not in text:
        return text
    return pattern_of(frozenset(_remembered)).sub(
        lambda match: re.sub(r"[^\n]", COVER, match[0]) if "\n" in match[0] else match[0], text
    )


def _is_joiner(text: str, place: int) -> bool:
    """Whether a character joins or parts two letters, marks or symbols of a script, as in Persian, or as of emoji."""
    if text[place] not in "\u200c\u200d":
        return False
    from unicodedata import category

    around = text[max(0, place - 1)], text[place + 1 : place + 2] or " "
    return all(not char.isascii() and category(char)[0] in "LMS" for char in around)


def _unicode_escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def printable(text: str, keep: str = "", escape: Callable[[str], str] = _unicode_escape) -> str:
    """Escape what cannot be printed, except characters to keep: control and invisible characters, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep or _is_joiner(text, place) else escape(char)
        for place, char in enumerate(text)
    )


def one_line(text: str) -> str:
    """Return the text on one line, printable and with single spaces."""
    return printable(" ".join(text.split()))


def storable(text: str) -> str:
    """Escape what not every database can store: PostgreSQL rejects NUL, and UTF-8 has no lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


class ErrorText(NamedTuple):
    """The texts of an exception, as they are stored."""

    type: str
    message: str
    traceback: str


_engines = [str(Path(__file__).parent) + os.sep]


def leave_out_frames_of(folder: Path) -> None:
    """Leave frames of the code in a folder out of tracebacks, as ours: they say nothing to a user."""
    _engines.append(str(folder) + os.sep)


def error_text(error: BaseException, *, of_command: bool = False) -> ErrorText:
    """Return the texts of an exception, with secrets masked, and at most 16 KiB of its message and of its traceback.

    Frames of ours and of zrb are left out, unless the exception has no others and is not `of_command`.
    """
    import traceback

    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the __str__ of a user's class may raise anything
        message = "<exception str() failed>"  # what Python's traceback says then
    formatted = traceback.TracebackException.from_exception(error, compact=True)
    every = formatted.stack
    _leave_out(formatted, tuple(_engines))
    if formatted.stack is None and not of_command:
        formatted.stack = every
    text = _stored("".join(formatted.format()))
    encoded = text.encode()
    # Secrets are masked before a long text is cut: a part of a secret would not be recognised.
    if len(encoded) > TRACEBACK_LIMIT:
        text = _CUT + encoded[len(_CUT) - TRACEBACK_LIMIT :].decode(errors="ignore")  # without a part of a character
    message = _stored(message).encode()[:TRACEBACK_LIMIT].decode(errors="ignore")
    return ErrorText(_stored(type(error).__qualname__), message, text)


def _leave_out(formatted: traceback.TracebackException, folders: tuple[str, ...]) -> None:
    """Leave out frames, and notes about them, of an exception, of those that led to it, and of those in a group."""
    waiting: list[traceback.TracebackException | None] = [formatted]
    for each in waiting:
        if each is None:
            continue
        kept = [frame for frame in each.stack if not frame.filename.startswith(folders)]
        stack: Any = type(each.stack).from_list(kept) if kept else None
        each.stack = stack  # without a stack, only type and message are written
        notes = getattr(each, "__notes__", None)
        each.__notes__ = [note for note in notes or () if not any(folder in str(note) for folder in folders)]
        waiting += [each.__cause__ or (None if each.__suppress_context__ else each.__context__)]
        waiting += each.exceptions or ()


_CUT = "[...]\n"


def _stored(text: str) -> str:
    return storable(mask_printed(text))


# -- the forms in which texts quote a secret


@functools.lru_cache(maxsize=1)
def pattern_of(secrets: frozenset[str]) -> re.Pattern[str]:
    """Return a pattern for secrets in upper or lower case: plain, quoted or in base64."""
    # The longest first: of a secret that contains another one, no part may remain.
    ordered = sorted(secrets, key=len, reverse=True)
    return re.compile("|".join([*map(_quoted, ordered), *map(_base64, ordered)]), re.IGNORECASE)


def _quoted(secret: str) -> str:
    """Return a pattern for a secret in upper or lower case, plain or as Python, JSON, URLs and shells quote it."""
    runs = re.findall(r"\\+|[^\\]+", secret)
    pattern = "".join(r"(?:\\+|(?:%5c)+)" if run[0] == "\\" else "".join(map(_char, run)) for run in runs)
    # A match includes all backslashes before it, so it cannot begin among them: a long row is scanned only once.
    if secret[0] == "\\":
        pattern = rf"(?<!%5c){pattern}"
    return pattern if pattern[0].isalnum() else rf"(?<!\\){pattern}"


# A space in a form-encoded URL, and a quotation mark inside quotation marks of a shell.
_SPECIAL = {" ": [r"\+"], "'": [r"""\\*'\\*"\\*'\\*"\\*'""", r"\\*'\\+'\\*'"]}


def _char(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    forms = _SPECIAL.get(char, [])
    for case in dict.fromkeys((char, char.lower(), char.upper())):
        utf8 = [f"{byte:02x}" for byte in case.encode("utf-8", "surrogatepass")]
        utf16 = case.encode("utf-16-be", "surrogatepass")
        units = [utf16[place : place + 2].hex() for place in range(0, len(utf16), 2)]
        escaped = [re.escape(case), ascii(case)[2:-1], _escapes("x", utf8), _escapes("u", units)]
        forms = [*forms, re.escape(case), "".join(f"%{byte}" for byte in utf8)]
        # Any number of backslashes may precede it: a quoted text may have been quoted again.
        forms.append(rf"\\+(?:{'|'.join(filter(None, escaped))})")
    return f"(?:{'|'.join(forms)})"


def _escapes(letter: str, codes: list[str]) -> str:
    return r"\\+".join(f"{letter}{code}" for code in codes)


_DIGIT = "[a-zA-Z0-9+/_-]"


def _base64(secret: str) -> str:
    """Return a pattern for a secret in base64, where its form depends on its place within a group of three bytes."""
    raw = secret.encode("utf-8", "surrogatepass")
    found = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode()
        # Only these characters are made of bits of the secret alone: their neighbours may contain bits of other data.
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        core = re.escape(text[first:last]).replace(r"\+", "[+-]").replace("/", "[/_]")
        found.append((_DIGIT if before else "") + core + (f"{_DIGIT}?" if (before + len(raw)) * 8 % 6 else ""))
    return rf"(?-i:(?:{'|'.join(found)})=*)"
