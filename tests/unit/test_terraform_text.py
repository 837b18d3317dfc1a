"""Text for Terraform, and user data made of it."""

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from cdktf import TerraformLocal, TerraformStack, Testing

from constructs_lib.terraform_text import expression, lines, literal
from constructs_lib.user_data import USER_DATA_LIMIT, UserDataError, archive, render, unpacked, values


def test_template_markers_are_escaped() -> None:
    assert literal('echo "${HOME}" %{x} $HOME 100%') == 'echo "$${HOME}" %%{x} $HOME 100%'


def test_several_lines_have_one_end_less_in_hcl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTH_HCL_OUTPUT", raising=False)
    assert lines("a\nb\n") == "a\nb\n"
    monkeypatch.setenv("SYNTH_HCL_OUTPUT", "true")
    assert lines("a\nb\n") == "a\nb"


@pytest.mark.parametrize("text", ["one\n", "a\nb", ""])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not several lines"):
        lines(text)


def test_a_line_that_would_end_hcls_here_document_is_refused() -> None:
    with pytest.raises(ValueError, match="EOF"):
        lines("cat <<EOF\nx\n  EOF\n")


def test_an_expression_of_text_alone() -> None:
    assert expression('say "hi"\\n\n\t') == '"say \\"hi\\"\\\\n\\n\\t"'


def test_an_expression_keeps_references_outside_its_strings() -> None:
    made = expression("ID=${TfToken[TOKEN.7]}\nNAME=${TfToken[TOKEN.12]}")

    assert made == 'join("", ["ID=", ${TfToken[TOKEN.7]}, "\\nNAME=", ${TfToken[TOKEN.12]}, ""])'


def test_a_brace_in_an_expression_does_not_end_it() -> None:
    """cdktf counts braces in strings too, and would write the references behind one as it does outside expressions."""
    app = Testing.app()
    stack = TerraformStack(app, "stack")
    reference = TerraformLocal(stack, "of", {"x": 1}).as_string
    TerraformLocal(stack, "made", f"${{base64encode({expression(f'f() {{ a; }}; ID={reference}')})}}")

    made = json.loads(Testing.synth(stack))["locals"]["made"]

    assert made == '${base64encode(join("", ["f() { a; \\u007d; ID=", local.of, ""]))}'


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "main.sh"
    file.write_text("#!/bin/bash\necho \"${HOME}\" '$x' `y` \\ %{z}\n", encoding="utf-8")
    return file


class TestUserData:
    def test_files_arrive_byte_for_byte_and_the_main_one_runs(self, script: Path, tmp_path: Path) -> None:
        script.write_text(
            f"#!/bin/bash\n. {tmp_path}/etc/boot.env\necho \"$KEY 'q' \\\\ ${{HOME:+set}}\" >ran\n", encoding="utf-8"
        )
        data = tmp_path / "data.txt"
        data.write_text('{"a": "${x}\\n"}\n', encoding="utf-8")
        rendered = render(values={"KEY": "value", "EMPTY": ""}, files=[script, data], main="main.sh")

        # What Terraform makes of it, on folders that this test may write.
        program = rendered.replace("$${", "${").replace("%%{", "%{")
        program = program.replace("/usr/local/lib/ml-infra", str(tmp_path / "lib")).replace(
            "/etc/ml-infra", str(tmp_path / "etc")
        )
        subprocess.run(
            ["bash", "-c", program], cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"], "HOME": "/x"}
        )

        assert (tmp_path / "ran").read_text(encoding="utf-8") == "value 'q' \\ set\n"
        assert (tmp_path / "lib" / "main.sh").read_bytes() == script.read_bytes()
        assert (tmp_path / "lib" / "data.txt").read_bytes() == data.read_bytes()
        assert (tmp_path / "etc" / "boot.env").read_text(encoding="utf-8") == "KEY=value\nEMPTY=\n"

    def test_what_is_there_is_replaced_and_not_written_over(self, script: Path, tmp_path: Path) -> None:
        """As on a machine made from an image of another: bash reads a script on while it runs."""
        lib = tmp_path / "lib"
        lib.mkdir()
        script.write_text("#!/bin/bash\n" + ": pad\n" * 20 + "true\n", encoding="utf-8")
        old = lib / "main.sh"
        old.write_text(f"#!/bin/bash\n: {'x' * 20}\n", encoding="utf-8")
        open_file = old.open(encoding="utf-8")
        program = render(values={}, files=[script], main="main.sh").replace("/usr/local/lib/ml-infra", str(lib))
        subprocess.run(
            ["bash", "-c", program.replace("/etc/ml-infra", str(tmp_path / "etc"))],
            check=True,
            env={"PATH": os.environ["PATH"]},
        )
        with open_file:
            assert open_file.read() == f"#!/bin/bash\n: {'x' * 20}\n"
        assert old.read_text(encoding="utf-8") == script.read_text(encoding="utf-8")
        assert old.stat().st_mode & 0o777 == 0o755
        assert [file.name for file in lib.iterdir()] == ["main.sh"]

    def test_references_are_left_to_terraform_and_nothing_else_is(self, script: Path) -> None:
        rendered = render(values={"ID": "${TfToken[TOKEN.7]}"}, files=[script], main="main.sh")

        assert "\nID=${TfToken[TOKEN.7]}\n" in rendered
        assert rendered.count("${") == 1
        assert "%{" not in rendered
        assert unpacked(rendered) == {"main.sh": script.read_text(encoding="utf-8")}

    def test_values_can_be_read_again(self, script: Path) -> None:
        given = {"A": "1=2", "ID": "${TfToken[TOKEN.7]}", "EMPTY": "", "B": "x"}
        rendered = render(values=given, files=[script], main="main.sh")
        assert values(rendered) == given
        assert "A=1=2" not in rendered

    def test_programs_come_without_docstrings_and_comments(self, script: Path, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(
            '"""Does x.\n\nAnd y.\n"""\n\nX = "# no comment"  # one\n\n\ndef f() -> str:\n    """Says."""\n    # why\n'
            '    return """# text"""\n\n\nclass C:\n    """Is."""\n\n    y = 1\n',
            encoding="utf-8",
        )
        assert unpacked(render(values={}, files=[script, program], main="main.sh"))["program.py"] == (
            '\n\n\n\n\nX = "# no comment"\n\n\ndef f() -> str:\n\n\n'
            '    return """# text"""\n\n\nclass C:\n\n\n    y = 1\n'
        )

    @pytest.mark.parametrize(
        "value", ["two words", "quo'te", 'quo"te', "dol$lar", "back`quote", "back\\slash", "li\nne"]
    )
    def test_values_that_a_shell_would_read_otherwise_are_refused(self, script: Path, value: str) -> None:
        with pytest.raises(UserDataError, match="KEY="):
            render(values={"KEY": value}, files=[script], main="main.sh")

    def test_too_large_names_the_limit_and_the_files(self, script: Path) -> None:
        # What cannot be compressed much.
        noise = random.Random(1)
        script.write_text("#!/bin/bash\n" + f": {noise.randbytes(15000).hex()}\n", encoding="utf-8")

        with pytest.raises(UserDataError, match=rf"{USER_DATA_LIMIT}.*main\.sh \(30015\)"):
            render(values={}, files=[script], main="main.sh")

    def test_the_same_files_are_the_same_text_everywhere(self, script: Path) -> None:
        """Other user data replaces a running machine: when, where and by whom files were checked out must not count."""
        made = archive([script], {"KEY": "value"})
        os.utime(script, (1, 1))
        script.chmod(0o600)
        script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))

        assert archive([script], {"KEY": "value"}) == made

    def test_comments_stay_behind_where_they_are_comments(self, script: Path) -> None:
        script.write_text(
            "#!/bin/bash\n# comment\n  # comment\ncat <<'END' # of the line\n# text\nEND\n# comment\ncat <<<one\n"
            "# comment\ncat <<END\n# text\n  END\nEND\necho '#' ${#x}\n",
            encoding="utf-8",
        )
        assert unpacked(render(values={}, files=[script], main="main.sh")) == {
            "main.sh": "#!/bin/bash\n\n\ncat <<'END' # of the line\n# text\nEND\n\ncat <<<one\n"
            "\ncat <<END\n# text\n  END\nEND\necho '#' ${#x}\n"
        }

    def test_what_is_no_script_keeps_its_comments(self, script: Path, tmp_path: Path) -> None:
        unit = tmp_path / "x.service"
        unit.write_text("# Started by hand.\n[Unit]\n", encoding="utf-8")
        found = unpacked(render(values={}, files=[script, unit], main="main.sh"))
        assert found["x.service"] == "# Started by hand.\n[Unit]\n"

    def test_what_carries_nothing_is_said_so(self) -> None:
        with pytest.raises(UserDataError, match="no files"):
            unpacked("#!/bin/bash\necho\n")

    def test_main_must_be_shipped(self, script: Path) -> None:
        with pytest.raises(UserDataError, match=r"other\.sh is to be run but is not among"):
            render(values={}, files=[script], main="other.sh")

    def test_a_file_without_a_last_line_end_is_refused(self, script: Path) -> None:
        script.write_text("#!/bin/bash", encoding="utf-8")

        with pytest.raises(UserDataError, match="end with a newline"):
            render(values={}, files=[script], main="main.sh")
