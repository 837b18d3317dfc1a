"""Pass text to Terraform unchanged, in JSON and in HCL (`cdktf synth --hcl`)."""

import os
import re

# cdktf's placeholder for a reference in a string, until it writes the stack.
REFERENCE = re.compile(r"\$\{TfToken\[[^\]]+\]\}")


def writes_hcl() -> bool:
    """Return True if this synthesis writes HCL, as the CLI tells the app."""
    return os.environ.get("SYNTH_HCL_OUTPUT", "").lower() in ("true", "1")


def literal(text: str) -> str:
    """Return the text with Terraform's template markers escaped, so that `${HOME}` is not evaluated."""
    return text.replace("${", "$${").replace("%{", "%%{")


def lines(text: str) -> str:
    """Return a text of two or more complete lines as an attribute's value that is the same in JSON and HCL.

    cdktf writes such a text into HCL as a here-document, which adds a newline. A single line cannot hold both
    references and quotes, because cdktf leaves the quotes unescaped.
    Raises ValueError if HCL cannot hold the text.
    """
    if "\n" not in text.rstrip("\n") or not text.endswith("\n"):
        raise ValueError(f"not several lines, the last one ended: {text[:60]!r}")
    if any(line.strip() == "EOF" for line in text.splitlines()):
        raise ValueError(
            "a line that says only EOF would end the here-document that holds the text: name the marker otherwise"
        )
    return text.removesuffix("\n") if writes_hcl() else text


def expression(text: str) -> str:
    """Return the text as an argument of a Terraform function: a string, or a join of strings and references.

    Within an expression, cdktf writes a reference without a marker, so a string cannot contain it.
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
