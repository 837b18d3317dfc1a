"""Find the stacks that the running `cdktf` (or `cdktn`) command selects, and so the dependencies to declare.

A declared dependency between two stacks makes the CLI run them in order, makes `destroy` refuse to remove a stack that
others need, and makes `deploy` refuse to run a stack without the ones it needs. The last would forbid
`cdktf deploy train-model` on its own, and the CLI does not tell the app its command. But the app is a descendant of the
CLI (CLI -> shell -> `python main.py`), so it can read the CLI's command line.

The parser follows cdktf-cli 0.21.0 and cdktn-cli 0.24.0, whose options are the same. If the result is uncertain, every
dependency is declared: in the worst case the CLI refuses a deploy and names the missing stack.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PureWindowsPath

import psutil

# File names, not packages: npm's links, pnpm's and Windows' shims and a plain `node …/bundle/bin/cdktf` all match.
_CLI_NAMES = frozenset({"cdktf", "cdktf.js", "cdktn", "cdktn.js"})
_NODE_NAMES = frozenset({"node", "node.exe", "nodejs"})
# After these options comes code with its arguments instead of a script.
_NODE_RUNS_CODE = frozenset({"-e", "--eval", "-p", "-pe", "--print"})

_ALIASES = {"apply": "deploy", "plan": "diff", "outputs": "output", "synthesize": "synth"}
_DEPLOYING = frozenset({"deploy", "watch"})

# The options of every command that runs the app (cdktf-cli src/bin/cmds/*.ts and cdktf.ts); negation is off there, so
# --no-color is an option of its own.
_FLAGS = frozenset(
    {
        "--auto-approve",
        "--check-code-maker-output",
        "--disable-plugin-cache-env",
        "--hcl",
        "--ignore-missing-stack-dependencies",
        "--migrate-state",
        "--no-color",
        "--outputs-file-include-sensitive-outputs",
        "--refresh-only",
        "--skip-provider-lock",
        "--skip-synth",
    }
)
_TAKE_ONE = frozenset(
    {
        "--app",
        "-a",
        "--context-json",
        "--experimental-provider-schema-cache-path",
        "--log-file-directory",
        "--log-level",
        "--output",
        "-o",
        "--outputs-file",
        "--parallelism",
        "--terraform-parallelism",
    }
)
# Lists are greedy: `--var x=1 mlcore` sets two variables and names no stack.
_TAKE_MANY = frozenset({"--var", "--var-file"})

_NEGATIVE_NUMBER = re.compile(r"-(\d+(\.\d+)?|\.\d+)")
# Patterns that fnmatch and both CLIs' minimatch interpret the same way for names without dots and slashes. Braces,
# classes, extended globs, escapes and a leading ! differ (in minimatch, `!(a)` is "anything but the text (a)").
_PLAIN_PATTERN = re.compile(r"[A-Za-z0-9_*?-]+")


@dataclass(frozen=True)
class CliRun:
    """Hold a command of the CLI (`apply` is stored as "deploy") and its stack patterns, in order."""

    command: str
    patterns: tuple[str, ...]

    def selects(self, stack: str) -> bool:
        """Return True if a pattern matches this stack; a pattern of uncertain meaning matches every stack."""
        return any(not _PLAIN_PATTERN.fullmatch(pattern) or fnmatchcase(stack, pattern) for pattern in self.patterns)


def find_run(process: psutil.Process | None = None) -> CliRun | None:
    """Return the CLI run that `process` (default: this one) descends from.

    None if no ancestor is the CLI, or its command line is ambiguous. Of several CLIs (npx, a Makefile started by
    another run) the nearest counts.
    """
    ancestor = _parent(process or psutil.Process())
    while ancestor is not None:
        arguments = _cli_arguments(_command_line(ancestor))
        if arguments is not None:
            return parse_arguments(arguments)
        ancestor = _parent(ancestor)
    return None


def declared_dependencies(
    run: CliRun | None, *, stack: str, needs: Sequence[str], all_stacks: Sequence[str]
) -> list[str]:
    """Return the stacks that `stack` declares as dependencies in this run, out of those that it needs.

    On a deploy, a stack in the run declares those that are in the run too. In every other case a stack declares all of
    them: if nothing is deployed or the run is unknown, and on a deploy for the stacks outside it, because the manifest
    outlives the run and a later `cdktf destroy mlcore --skip-synth` uses it.
    """
    if run is None or run.command not in _DEPLOYING:
        return list(needs)
    selected = {name for name in all_stacks if run.selects(name)}
    if stack not in selected:
        return list(needs)
    return [name for name in needs if name in selected]


def parse_arguments(arguments: Sequence[str]) -> CliRun | None:
    """Parse the arguments of `cdktf` as its parser, yargs, does. Returns None if they are ambiguous."""
    positional: list[str] = []
    pending = deque(arguments)
    while pending:
        word = pending.popleft()
        if word == "--":  # the CLI takes no stacks after it
            break
        if _is_word(word):
            positional.append(word)
            continue
        name, equals, _ = word.partition("=")
        name = re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", name)  # yargs reads --autoApprove too
        value_follows = bool(pending) and _is_word(pending[0])
        if name in _TAKE_MANY:
            while pending and _is_word(pending[0]):
                pending.popleft()
        elif name in _TAKE_ONE:
            if value_follows and not equals:
                pending.popleft()
        elif name in _FLAGS:
            if not equals and pending and pending[0] in ("true", "false"):
                pending.popleft()
        elif equals or value_follows:
            # yargs takes the value as that of the unknown option; another version of the CLI may not. And
            # --stacks=mlcore selects a stack.
            return None
    if not positional:
        return None
    command, *patterns = positional
    return CliRun(command=_ALIASES.get(command, command), patterns=tuple(patterns))


def _cli_arguments(command_line: Sequence[str]) -> Sequence[str] | None:
    """Return the arguments after the CLI's script on the command line of a Node process; None for other processes."""
    if not command_line or _file_name(command_line[0]) not in _NODE_NAMES:
        return None
    may_be_value = False
    for position, word in enumerate(command_line[1:], start=1):
        if word in _NODE_RUNS_CODE:
            return None
        if word.startswith("-"):
            may_be_value = "=" not in word
        elif _file_name(word) in _CLI_NAMES:
            return command_line[position + 1 :]
        elif may_be_value:  # of the option before it, as in `node --require ./hook.cjs cdktf`
            may_be_value = False
        else:
            return None
    return None


def _is_word(argument: str) -> bool:
    """Return True if yargs reads the argument as a value rather than as an option."""
    return not argument.startswith("-") or _NEGATIVE_NUMBER.fullmatch(argument) is not None


def _file_name(path: str) -> str:
    # Windows' rules split at both kinds of slash.
    return PureWindowsPath(path).name.lower()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.Error, OSError):  # another user's, or gone meanwhile
        return []


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except (psutil.Error, OSError):
        return None
