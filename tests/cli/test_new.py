import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cli.command import AMORCE, COPIER, amorce, assert_refused, tree
from tests.cli.conftest import git, write
from tests.terminal import Terminal


def copier(template: Path, destination: Path, *options: str) -> None:
    subprocess.run(
        [COPIER, "copy", "--quiet", "--defaults", *options, str(template), str(destination)],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    "options", [(), ("--vcs-ref=HEAD",), ("--data=colour=blue", "--data=places={a: 2}")]
)
def test_it_renders_the_bytes_that_copier_renders(
    template: Path, place: Path, options: tuple[str, ...]
) -> None:
    (place / "one").mkdir()
    copier(template, place / "copier" / "app", *options)
    run = amorce("new", place / "one" / "app", "--template", template, "--defaults", *options)
    assert run.returncode == 0, run.stderr
    rendered = tree(place / "one" / "app")
    assert rendered == tree(place / "copier" / "app")
    assert rendered["folder.txt"][1] == b"app\n"
    assert rendered["run.sh"][0] & 0o111


def test_it_renders_its_own_checkout_by_default(repository: Path, place: Path) -> None:
    run = amorce("new", place / "amorce", "--defaults", "--vcs-ref=HEAD", AMORCE_TEMPLATE="")
    assert run.returncode == 0, run.stderr
    copier(repository, place / "copier" / "amorce", "--vcs-ref=HEAD")
    rendered, expected = tree(place / "amorce"), tree(place / "copier" / "amorce")
    assert yaml.safe_load(rendered[".copier-answers.yml"][1])["_src_path"] == str(repository)
    # Another process may write into the checkout between the two renders: its commit then differs.
    for files in (rendered, expected):
        del files[".copier-answers.yml"]
    assert rendered == expected


def test_it_says_what_it_made_and_what_comes_next(template: Path, place: Path) -> None:
    run = amorce("new", "my app", "--defaults", AMORCE_TEMPLATE=str(template), cwd=place)
    assert run.stdout.splitlines() == [
        f"Created {place / 'my app'} from template 1.0.0.",
        "Next: cd 'my app' && make install test run",
    ]
    assert run.stderr == ""


def test_it_says_that_changes_which_are_not_committed_were_rendered(
    template: Path, place: Path
) -> None:
    write(template, {"template/draft.txt": "draft\n"})
    run = amorce("new", place / "app", "--template", template, "--defaults", "--vcs-ref=HEAD")
    assert run.returncode == 0
    assert (place / "app" / "draft.txt").exists()
    assert run.stderr.startswith("Note: Dirty template changes included")


def test_answers_come_from_a_file_and_the_command_line_goes_before_it(
    template: Path, place: Path
) -> None:
    answers = place / "answers.yml"
    answers.write_text("name: Été\ncolour: blue\n")
    run = amorce(
        "new", place / "app", "--template", template, "--defaults",
        "--data-file", answers, "--data", "colour=red",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (place / "app" / "README.md").read_text().startswith("# Été in red")


def test_missing_parents_are_made(template: Path, place: Path) -> None:
    run = amorce("new", place / "a" / "b" / "app", "--template", template, "--defaults")
    assert run.returncode == 0
    assert (place / "a" / "b" / "app" / "README.md").exists()
    assert list(place.iterdir()) == [place / "a"]


def test_an_empty_directory_is_a_destination(template: Path, place: Path) -> None:
    (place / "app").mkdir()
    assert amorce("new", place / "app", "--template", template, "--defaults").returncode == 0
    assert (place / "app" / "README.md").exists()


def at_terminal(*arguments: str | Path) -> Terminal:
    return Terminal([AMORCE, *arguments])


def test_it_asks_on_a_terminal(template: Path, place: Path) -> None:
    terminal = at_terminal(
        "new", place / "app", "--template", template, "--data=colour=blue", "--data=places={}"
    )
    terminal.wait_for("Dossiers")
    terminal.type("\x15Ada\r")
    assert terminal.end() == 0, terminal.screen
    assert (place / "app" / "README.md").read_text() == "# Ada in blue at {}\n"


def test_ctrl_c_at_a_question_leaves_nothing(template: Path, place: Path) -> None:
    terminal = at_terminal("new", place / "app", "--template", template)
    terminal.wait_for("Dossiers")
    terminal.type("\x03")
    assert terminal.end() == 130, terminal.screen
    assert "Interrupted: nothing was written." in terminal.screen
    assert list(place.iterdir()) == []


def test_what_was_typed_is_kept_when_another_answer_has_no_question(
    template: Path, place: Path
) -> None:
    terminal = at_terminal(
        "new", place / "app", "--template", template,
        "--data=colour=blue", "--data=places={}", "--data=nme=x",
    )  # fmt: skip
    terminal.wait_for("Dossiers")
    terminal.type("\r")
    assert terminal.end() == 0, terminal.screen
    assert "Note: There is no question nme: did you mean name?" in terminal.screen
    assert (place / "app" / "README.md").exists()


def test_without_a_terminal_it_wants_defaults(template: Path, place: Path) -> None:
    run = amorce("new", place / "app", "--template", template)
    assert_refused(run, 3, "add --defaults")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--data=name=ab", "name: Write at least 3 characters."),
        ("--data=colour=green", "Invalid choice for 'colour': 'green' is not in ['red', 'blue']"),
        ("--data=nme=Dossiers", "There is no question nme: did you mean name?"),
        ("--data=name", "--data name: write it as NAME=VALUE."),
        ("--data==x", "--data =x: write it as NAME=VALUE."),
        ("--data=places={", "An answer was refused: while parsing"),
        ("--data-file=list.yml", "write one `question: answer` a line"),
        ("--data-file=broken.yml", "--data-file broken.yml cannot be read as YAML"),
        ("--data-file=binary.yml", "--data-file binary.yml cannot be read as YAML"),
    ],
)
def test_a_bad_answer_is_refused_in_one_sentence(
    template: Path, place: Path, option: str, sentence: str
) -> None:
    inputs = place.parent / "inputs"
    write(inputs, {"list.yml": "- name\n", "broken.yml": "name: [\n"})
    (inputs / "binary.yml").write_bytes(b"\xff\xfe\x00")
    run = amorce("new", place / "app", "--template", template, "--defaults", option, cwd=inputs)
    assert_refused(run, 3, sentence)
    assert list(place.iterdir()) == []


def test_a_destination_with_something_in_it_is_left_alone(template: Path, place: Path) -> None:
    (place / "app").mkdir()
    (place / "app" / "mine.txt").write_text("mine\n")
    run = amorce("new", place / "app", "--template", template, "--defaults")
    assert_refused(run, 4, "is not empty: choose another destination, or empty it first.")
    assert tree(place) == {"app/mine.txt": (0o100644, b"mine\n")}


def test_a_file_is_no_destination(template: Path, place: Path) -> None:
    (place / "app").write_text("mine\n")
    run = amorce("new", place / "app", "--template", template, "--defaults")
    assert_refused(run, 4, "is a file: choose another destination.")
    run = amorce("new", place / "app" / "below", "--template", template, "--defaults")
    assert_refused(run, 4, "Not a directory")
    assert (place / "app").read_text() == "mine\n"


def test_the_current_directory_is_no_destination(template: Path, place: Path) -> None:
    run = amorce("new", ".", "--template", template, "--defaults", cwd=place)
    assert_refused(run, 4, "go one level up")


def test_a_name_that_no_file_system_takes_is_refused(template: Path, place: Path) -> None:
    run = amorce("new", place / ("a" * 300), "--template", template, "--defaults")
    assert_refused(run, 4, "File name too long")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere", "There is no template at nowhere"),
        ("empty", "empty is not a template: it has no copier.yml."),
        ("file:///nowhere/template.git", "Git could not fetch the template"),
        ("broken", "cannot be rendered"),
        ("undefined", "'colour' is undefined"),
        ("twice", "cannot be rendered"),
        ("greedy", "wants to run code of its own"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_said(
    place: Path, source: str, sentence: str
) -> None:
    sources = place.parent / "sources"
    write(
        sources,
        {
            "empty/README.md": "Nothing to ask.\n",
            "broken/copier.yml": "name: [\n",
            "undefined/copier.yml": "_envops: {undefined: jinja2.StrictUndefined}\n",
            "undefined/README.md.jinja": "{{ colour }}\n",
            "twice/copier.yml": "name: a\n",
            "twice/copier.yaml": "name: b\n",
            "greedy/copier.yml": "_tasks: [touch /tmp/greedy]\n",
        },
    )
    run = amorce("new", place / "app", "--template", source, "--defaults", cwd=sources)
    assert_refused(run, 5, sentence)
    assert list(place.iterdir()) == []


def test_an_unknown_version_of_the_template_is_said(template: Path, place: Path) -> None:
    run = amorce("new", place / "app", "--template", template, "--defaults", "--vcs-ref=9.9")
    assert_refused(run, 5, "Unknown revision: '9.9'")
    assert list(place.iterdir()) == []


def test_a_missing_git_is_said(template: Path, place: Path) -> None:
    run = amorce("new", place / "app", "--template", template, "--defaults", PATH=str(place))
    assert_refused(run, 6, "git is missing: install it")


def test_an_old_copier_is_said(template: Path, place: Path) -> None:
    old = place.parent / "old"
    metadata = "Metadata-Version: 2.1\nName: copier\nVersion: 9.4.1\n"
    write(old, {"copier-9.4.1.dist-info/METADATA": metadata})
    run = amorce("new", place / "app", "--template", template, "--defaults", PYTHONPATH=str(old))
    assert_refused(run, 6, "Copier 9.4.1 is too old: install 9.15 or newer")


def test_a_template_for_a_newer_copier_is_said(template: Path, place: Path) -> None:
    copier_yml = template / "copier.yml"
    copier_yml.write_text("_min_copier_version: 999.0.0\n" + copier_yml.read_text())
    git(template, "commit", "--quiet", "--all", "--message", "Newer")
    run = amorce("new", place / "app", "--template", template, "--defaults", "--vcs-ref=HEAD")
    assert_refused(run, 6, "requires Copier version >= 999.0.0")
