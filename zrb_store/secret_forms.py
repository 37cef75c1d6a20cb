"""The forms in which a secret appears in texts: as Python, JSON, URLs and shells quote it, and in base64."""

from __future__ import annotations

import base64
import functools
import re


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
