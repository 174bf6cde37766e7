"""Names: the rule for the ids of payments, accounts and commands.

A name has 1 to 255 characters. Characters without a visible shape are refused, by Unicode's general
category: controls (Cc), format characters (Cf), surrogates (Cs), private use (Co), and separators
(Zl, Zp, Zs) other than the plain space. Format characters are refused because they are invisible or
reverse the direction of the text around them: two names look alike, or a line of a log is shown in
another order than it has. Characters that Unicode has not assigned yet are accepted.

The table is written out, so that no version of Python decides what is valid. Cc, Cs, Co, Zl and Zp
never change (Unicode Character Encoding Stability Policies, "Property Frozen Stability"); Zs and Cf
are those of ``UNICODE``, whatever a later version adds.
"""

import re

MAX_NAME_CHARACTERS = 255
UNICODE = "15.0"
"""The version of Unicode whose Zs and Cf are in the table; 15.1 to 18.0 add none."""

REFUSED: tuple[tuple[int, int], ...] = (
    (0x00, 0x1F), (0x7F, 0xA0), (0xAD, 0xAD), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD),
    (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2), (0x1680, 0x1680), (0x180E, 0x180E),
    (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x2064), (0x2066, 0x206F), (0x3000, 0x3000),
    (0xD800, 0xDFFF), (0xE000, 0xF8FF), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0x110BD, 0x110BD),
    (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001), (0xE0020, 0xE007F), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD),
)  # fmt: skip
"""First and last code point of each range of refused characters, in order."""

SURROGATES = (0xD800, 0xDFFF)
NAME_RULE = (
    f"must be 1 to {MAX_NAME_CHARACTERS} characters, none of them a control, format, private-use "
    "or separator character other than the space, and no space at an end"
)


def refused_class(ranges: tuple[tuple[int, int], ...] = REFUSED) -> str:
    r"""Return ranges as the inside of a regular expression's class.

    Escapes have four digits, which Python, ECMAScript and Rust read alike; what is beyond them
    stands for itself.
    """
    written = []
    for first, last in ranges:
        ends = [f"\\u{end:04x}" if end <= 0xFFFF else chr(end) for end in (first, last)]
        written.append(ends[0] if first == last else "-".join(ends))
    return "".join(written)


_is_allowed = re.compile(f"[^{refused_class()}]*").fullmatch


def is_name(value: object) -> bool:
    """Return whether a value can be a name that is stored already.

    Spaces at the ends are accepted here: such names were valid once, and payments and accounts with
    them can still be read, repeated and cancelled. ``has_outer_space`` refuses them for new ones.
    """
    text = value if isinstance(value, str) else ""
    if not 0 < len(text) <= MAX_NAME_CHARACTERS or not text.strip(" "):
        return False
    # Printable ASCII is the same in every version of Unicode; most names take this path.
    return text.isprintable() if text.isascii() else _is_allowed(text) is not None


def has_outer_space(name: str) -> bool:
    """Return whether a name begins or ends with a space: no new payment or account may."""
    return name[0] == " " or name[-1] == " "
