"""Keeps secrets out of what is stored and shown.

Three things are secret: a password in a URL, what a command line gives to an option whose name says so, and a value
that this process was told to remember. Each is replaced by `***`.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

MASK = "***"
SHORTEST = 4
"""Characters that a remembered secret must have: masking a shorter one would mangle other words."""

# The end of a name whose value is secret: of an option, a variable or a parameter of a URL.
_SECRET = (
    r"(?:pass(?:word|wd|phrase|code)s?|pwd|secrets?|token|credentials?|authorization"
    r"|(?:access|account|api|auth|encryption|master|private|secret|shared|signing|scram_client|scram_server)[-_.]?key"
    r"|(?<![a-z0-9])(?:pass|pw|auth))\d*"
)
_SECRET_NAME = rf"(?i)(?!(?:ask|no|prompt|show|skip|without)[-_])[\w.-]*{_SECRET}"  # flags are given nothing
_ASSIGNMENT = (
    # The lookbehind keeps a long word from being searched anew at each of its characters.
    rf"""(?is)(?<![\w.-])([\w.-]*{_SECRET}(?:["']?\s*(?:=|%3D)\s*|["']\s*:\s*|:\s+))"""
    r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|.+?(?=\s[\w.-]+\s*=|&|\Z))"""
)


def _in_urls(gap: str, closing: str) -> tuple[str, ...]:
    """Patterns for the secrets of URLs. The first group of each is what stands before the secret.

    Args:
        gap: The characters that end a URL, for a character class.
        closing: Likewise, punctuation that belongs to the text around a URL when it stands at the end.
    """
    user = rf"(://[^{gap}:/?#]*:)"
    return (
        # In http a slash ends what may be a password: http://host:80/path@2 has none.
        rf"(?i)(?:(?<=http)|(?<=https)){user}[^{gap}/?#]*(?=@)",
        # In a database's URL people often forget to escape the password. It ends at the last @ before `?name=`, or
        # else at the first @ there is. It never reaches into the next URL: a long list of them is read only once.
        rf"(?i)(?<!http)(?<!https){user}(?:(?:(?!://|[?&][\w.-]+=)[^{gap}])*|(?:(?!://)[^{gap}@])*+)(?=@)",
        rf"(?i)([?&][\w.-]*{_SECRET}=)[^{gap}&]*[^{gap}&{closing}]",
    )


_IN_TEXT = _in_urls(r"\s", r"'\"),;\]>}")
_IN_WORD = _in_urls(r"\0", "")


def is_secret_name(name: str) -> bool:
    """Whether the name of an option or a parameter says that its value is secret, as `db-password` and `token` do."""
    return re.fullmatch(_SECRET_NAME, name) is not None


def mask_text(text: str) -> str:
    """Mask the passwords of URLs, and the secrets that this process remembers, in a message or a traceback."""
    return mask_remembered(_mask_urls(text, _IN_TEXT))


def mask_texts(value: Any) -> Any:
    """Copy plain data with each text in it masked by `mask_text`; other objects in it stay as they are."""
    if type(value) is str:
        return mask_text(value)
    if type(value) in (list, tuple):
        return type(value)(map(mask_texts, value))
    if type(value) is dict:
        return {key: mask_texts(item) for key, item in value.items()}
    return value


def mask_word(word: str) -> str:
    """Mask one URL or one word of a command line as `mask_text` does, and what it assigns to a secret name."""
    word = _mask_urls(word, _IN_WORD if re.match(r"\S+://", word) else _IN_TEXT)
    return mask_remembered(re.sub(_ASSIGNMENT, _masked_assignment, word))


def _mask_urls(text: str, patterns: Sequence[str]) -> str:
    if "://" in text or "?" in text:  # as a rule there is none
        for pattern in patterns:
            text = re.sub(pattern, rf"\1{MASK}", text)
    return text


def _masked_assignment(match: re.Match[str]) -> str:
    value = match[0].removeprefix(match[1])
    quote = value[0] if value[0] in "\"'" and value[0] == value[-1] else ""
    return f"{match[1]}{quote}{MASK}{quote}"


def mask_command(words: Sequence[str], is_secret: Callable[[str], bool] = is_secret_name) -> list[str]:
    """Mask a command line: what it gives to secret options, and what `mask_word` finds in its words.

    Args:
        words: The command line.
        is_secret: Whether the option of this name, given without leading dashes, is secret.
    """
    return [shown + MASK if secret else mask_word(shown) for shown, secret in _secrets_of(words, is_secret)]


def remember_command(words: Sequence[str]) -> None:
    """Remember what a command line gives to secret options, since messages may quote it."""
    remember(*(secret for _, secret in _secrets_of(words, is_secret_name)))


def _secrets_of(words: Sequence[str], is_secret: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Split each word into what may be shown and the secret that follows it."""
    is_given = False
    for word in words:
        option, equals, value = word.partition("=")
        secret = option.startswith("-") and is_secret(option.lstrip("-"))
        if is_given:
            yield "", word
        else:
            yield (f"{option}=", value) if secret and equals else (word, "")
        # Also after a value that looks like a secret option: the option before it may have been a flag.
        is_given = secret and not equals


_remembered: set[str] = set()


def remember(*secrets: str) -> None:
    """Mask these values from now on in everything that this process stores or says, however they are quoted.

    Args:
        *secrets: The values; those of fewer than `SHORTEST` characters are left alone.
    """
    _remembered.update(secret for secret in map(str.strip, secrets) if len(secret) >= SHORTEST)


def mask_remembered(text: str) -> str:
    """Mask every remembered secret in a text."""
    return _pattern(frozenset(_remembered)).sub(MASK, text) if _remembered else text


@functools.lru_cache(maxsize=1)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    # The longest first, so that no part of one is left when it holds another.
    ordered = sorted(secrets, key=len, reverse=True)
    return re.compile("|".join([*map(_quoted, ordered), *map(_base64, ordered)]), re.IGNORECASE)


def _quoted(secret: str) -> str:
    """Make a pattern for a secret in upper or lower case, plain or as Python, JSON, URLs and shells quote it."""
    runs = re.findall(r"\\+|[^\\]+", secret)
    pattern = "".join(r"(?:\\+|(?:%5c)+)" if run[0] == "\\" else "".join(map(_char, run)) for run in runs)
    # A match takes all backslashes before it, so it cannot begin amid them: a long row of them is read only once.
    if secret[0] == "\\":
        pattern = rf"(?<!%5c){pattern}"
    return pattern if pattern[0].isalnum() else rf"(?<!\\){pattern}"


# A space in a form's URL, and a quote in a shell's quotes.
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
        # After any number of backslashes: what was quoted may have been quoted again.
        forms.append(rf"\\+(?:{'|'.join(filter(None, escaped))})")
    return f"(?:{'|'.join(forms)})"


def _escapes(letter: str, codes: list[str]) -> str:
    return r"\\+".join(f"{letter}{code}" for code in codes)


def _base64(secret: str) -> str:
    """Make a pattern for a secret in base64, where it looks different by its place within a group of three bytes."""
    raw = secret.encode("utf-8", "surrogatepass")
    found = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode()
        # These characters hold bits of the secret alone. Those around them may share bits with its neighbours.
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        core = re.escape(text[first:last]).replace(r"\+", "[+-]").replace("/", "[/_]")
        found.append(("[a-zA-Z0-9+/_-]" if before else "") + core)
    return rf"(?-i:(?:{'|'.join(found)})[a-zA-Z0-9+/_-]*=*)"
