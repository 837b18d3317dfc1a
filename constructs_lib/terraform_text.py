"""Text that must reach Terraform as it is, whether cdktf writes JSON or (`cdktf synth --hcl`) HCL."""

import os
import re

# What cdktf puts into a string for a reference, until it writes the stack.
REFERENCE = re.compile(r"\$\{TfToken\[[^\]]+\]\}")


def writes_hcl() -> bool:
    """True when this synthesis ends in HCL; the CLI says so to the app."""
    return os.environ.get("SYNTH_HCL_OUTPUT", "").lower() in ("true", "1")


def literal(text: str) -> str:
    """The text with Terraform's template markers escaped: `${HOME}` and `${aws:InstanceId}` pass through unread."""
    return text.replace("${", "$${").replace("%{", "%%{")


def lines(text: str) -> str:
    """A text of two or more lines, the last one ended, as an attribute's value; the same value in JSON and HCL.

    cdktf writes such a text into HCL as a here-document, which ends the last line once more. Shorter texts will not do
    where there are references and quotes in them: cdktf leaves those quotes unescaped.
    Raises ValueError where HCL could not hold the text.
    """
    if "\n" not in text.rstrip("\n") or not text.endswith("\n"):
        raise ValueError(f"not several lines, the last one ended: {text[:60]!r}")
    if any(line.strip() == "EOF" for line in text.splitlines()):
        raise ValueError(
            "a line that says only EOF would end the here-document that holds the text: name the marker otherwise"
        )
    return text.removesuffix("\n") if writes_hcl() else text


def expression(text: str) -> str:
    """The text as an argument of a Terraform function: a string, or pieces joined where there are references in it.

    Within an expression cdktf writes a reference bare, so it cannot stand inside a string there.
    """
    pieces = [_quoted(piece) for piece in REFERENCE.split(text)]
    references = REFERENCE.findall(text)
    if not references:
        return pieces[0]
    parts = [part for pair in zip(pieces, [*references, ""], strict=True) for part in pair if part]
    return f'join("", [{", ".join(parts)}])'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    # cdktf takes any closing brace for the expression's end, and writes the references behind it as `${...}`, which
    # Terraform refuses within an expression: ESCAPE_TOKEN_END_REGEX of its lib/tokens/private/encoding.js.
    escaped = escaped.replace("}", "\\u007d")
    return f'"{escaped}"'
