"""`python -m supervisor simulate`: what it prints, what it draws, and what it refuses."""

from __future__ import annotations

import gzip
import io
import re
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from supervisor.__main__ import main
from supervisor.commands.pictures import STATES as COLOURS
from supervisor.commands.simulate.picture import KINDS, STATES, draw
from supervisor.commands.simulate.player import play
from supervisor.commands.simulate.report import ASCII, BLOCKS, report
from supervisor.commands.simulate.scenarios import SCENARIOS
from supervisor.policy.outcomes import Outcome
from supervisor.policy.policy import Policy
from supervisor.recording import COLUMNS, Call, read_trace, trace_of

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = sorted((DOCS / "policies").glob("*.toml"))
TRACE = str(DOCS / "policies" / "trace.csv")

POLICIES = """
[circuits.default]

[circuits."slow calls"]
recovery_timeout = 5
slow_call_duration = 2
"""


@pytest.fixture(autouse=True)
def policies() -> None:
    """A file with two policies."""
    Path("my.toml").write_text(POLICIES)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, and return what it prints."""
    assert main(["simulate", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return "\n" + out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, and return what it prints when it refuses."""
    assert main(["simulate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize(
    ("state", "first", "told"),
    [
        ("open", "█", "initial_state=open"),
        ("forced_open", "░", "initial_state=forced_open (played as if it was released at once)"),
        ("metrics_only", "░", "initial_state=metrics_only (played as if it was released at once)"),
    ],
)
def test_a_policy_begins_in_its_state(
    capsys: pytest.CaptureFixture[str], state: str, first: str, told: str
) -> None:
    """Unless somebody has to release it: then it would tell nothing of the policy."""
    Path("my.toml").write_text(f'[circuits.x]\ninitial_state = "{state}"\n')
    rows = [line.split(maxsplit=1) for line in printed(capsys, "my.toml", TRACE).splitlines()]
    course, *_, policy = (row[1] for row in rows if row and row[0] == "x")
    assert course.startswith(first)
    assert policy == told


def test_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The trace and each policy's states over time; their figures; what is not as by default."""
    assert (
        printed(capsys, "my.toml", TRACE, "--plain", "default")
        == """
trace.csv: 40 calls in 39.2 s
each mark is 1 s: ░ closed, ▒ half-open, █ open
failures: from none to all calls; duration: medians, from 0 to 5 s

            0         10        20        30
failures    ▁▁▁▁▁▁▁▁▁▁██████████▁▁ ▁▁▁▁▁████▁▁▁▁▁▁▁▁
duration    ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁ ▁▃▁▇██▁▁▁▁▁▁▁▁▁▁▁
default     ░░░░░░░░░░░░████████████████████████████
slow calls  ░░░░░░░░░░████████████▒▒▒▒▒▒▒▒█████▒░░░░

            admitted  refused  failed  slow  opened  closed  half-open    open
default           13       27       3     0       1  12.1 s      0.0 s  27.1 s
slow calls        21       19       1     1       2  14.1 s      8.1 s  17.0 s

default     (plain: no kinds of failures, no waiting)
slow calls  recovery_timeout=5 slow_call_duration=2
"""
    )


def test_a_terminal_that_has_no_blocks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows plain characters, also of names that it has no others for."""
    Path("my.toml").write_text('[circuits."größer"]\nfailure_threshold = 9\n')
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["simulate", "my.toml", TRACE]) == 0
    terminal.seek(0)
    text = terminal.read()
    assert "each mark is 1 s: . closed, ? half-open, # open\n" in text
    assert re.search(r"\ngr\\xf6\\xdfer +\.+#+\n", text)
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # which has no encoding
    assert main(["simulate", "my.toml", TRACE]) == 0
    assert "größer" in sys.stdout.getvalue()  # type: ignore[attr-defined]


def test_levels() -> None:
    """Nine tenths is the highest of ten, and so is all; nothing is a gap."""
    assert [ASCII.level(share) for share in (0.0, 0.09, 0.1, 0.55, 0.9, 1.0)] == list("001599")
    assert BLOCKS.level(None) == " "


def test_long_names_and_late_times(capsys: pytest.CaptureFixture[str]) -> None:
    """A name is cut off, and times of the calendar are told from the first one on."""
    Path("my.toml").write_text(f"[circuits.{'n' * 40}]\n")
    Path("late.csv").write_text(
        "at,outcome,duration\n1760000000,succeeded,inf\n1760000050,succeeded,inf\n"
    )
    lines = printed(capsys, "my.toml", "late.csv").splitlines()
    assert lines[4] == "times are seconds since 2025-10-09 08:53:20 UTC"
    assert "  0         10        20        30        40" in lines[6]
    assert lines[9].startswith(f"{'n' * 25}...  ░░░")
    assert " ".join(lines[12].split()) == f"{'n' * 25}... 2 0 0 0 2 0 50.0 s 0.0 s 0.0 s"
    assert lines[14] == f"{'n' * 25}...  as by default"


def test_columns_that_are_rarely_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that still run or wait are counted if there are any."""
    Path("wait.csv").write_text("at,outcome,duration,wait\n0,failed,0,\n1,succeeded,1,60\n")
    Path("my.toml").write_text("failure_threshold = 1\n")
    lines = printed(capsys, "my.toml", "wait.csv").splitlines()
    heading, row = (" ".join(line.split()) for line in lines[10:12])
    assert heading == "admitted refused failed slow waiting opened closed half-open open"
    assert row == "every circuit 1 0 1 0 1 1 0.0 s 0.0 s 2.0 s"


def test_what_cannot_be_played(capsys: pytest.CaptureFixture[str]) -> None:
    """Functions are not asked but about what the policy itself does, and that is told; what is a
    number or a switch is played.
    """
    policy = (
        'classify = "logging.debug"\nignore = "LookupError"\nfailure_on_cancel = true\n'
        "failure_rate = 0.5\nwindow_calls = 20\n"
    )
    Path("my.toml").write_text(policy)
    assert printed(capsys, "my.toml", TRACE).endswith(
        "every circuit  window_calls=20 failure_rate=0.5 failure_on_cancel=true"
        " (ignore, classify: not asked, the trace tells)\n"
    )
    Path("my.toml").write_text(policy + "timeout = 2\n")
    assert printed(capsys, "my.toml", TRACE).endswith(
        "timeout=2 (ignore, classify: asked about its timeouts only, of all else the trace tells)\n"
    )
    Path("my.toml").write_text('timeout = 2\nclassify = "builtins.int"')
    assert complaint(capsys, "my.toml", TRACE) == (
        "policy 'every circuit' was asked about CallTimeoutError('the call was cancelled after its"
        " timeout of 2 s'), and has raised TypeError: int() argument must be a string, a bytes-like"
        " object or a real number, not 'CallTimeoutError'\n"
    )


def test_calls_that_were_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """How they would have ended is not known, so they count for nothing, and that is told."""
    rows = ["0,failed,1", "2,failed,1", "4,refused,", "5,refused,", "40,succeeded,1"]
    Path("it.csv").write_text("\n".join(["at,outcome,duration", *rows]))
    Path("my.toml").write_text(
        "[circuits.same]\nfailure_threshold = 2\n[circuits.patient]\nfailure_threshold = 3\n"
    )
    assert (
        printed(capsys, "my.toml", "it.csv", "--picture", "it.svg")
        == """
it.csv: 5 calls in 41.0 s
each mark is 1 s: ░ closed, ▒ half-open, █ open
failures: from none to all calls; duration: medians, from 0 to 1 s
2 calls were refused when this was recorded: how they would have ended is not known,
so they count for nothing where a policy admits them

          0         10        20        30        40
failures  █ █                                     ▁
duration  █ █                                     █
same      ░░░██████████████████████████████▒▒▒▒▒▒▒▒
patient   ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░

          admitted  refused  failed  slow  not known  opened  closed  half-open    open
same             3        2       2     0          0       1   3.0 s      8.0 s  30.0 s
patient          5        0       2     0          2       0  41.0 s      0.0 s   0.0 s

same      failure_threshold=2
patient   as by default
"""
    )
    assert "2 not known" in Path("it.svg").read_text()


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """It tells the columns of a trace, and the scenarios."""
    with pytest.raises(SystemExit) as end:
        main(["simulate", "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (*COLUMNS, *SCENARIOS, *(outcome.value for outcome in Outcome)):
        assert part in text


def test_a_trace_that_is_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the same for the same seed, and when it is read from the file that it was kept in."""
    options = ("--rate", "5", "--length", "30", "--retries", "1", "--wait", "2")
    made_up = printed(
        capsys, "my.toml", "--generate", "outage:3", *options, "--write-trace", "kept.csv"
    )
    assert made_up.startswith("\noutage, seed 3: ")
    assert made_up == printed(capsys, "my.toml", "--generate", "outage:3", *options)
    assert made_up != printed(capsys, "my.toml", "--generate", "outage", *options)
    read = printed(capsys, "my.toml", "kept.csv")
    assert read == made_up.replace("outage, seed 3: ", "kept.csv: ")
    assert read_trace(Path("kept.csv")).calls[0].wait == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my.toml"], "give either TRACE.csv or --generate SCENARIO\n"),
        (
            ["my.toml", TRACE, "--generate", "hang"],
            "give either TRACE.csv or --generate SCENARIO\n",
        ),
        (
            ["my.toml", TRACE, "--rate", "2"],
            "--rate is for a trace that is made up with --generate",
        ),
        (["my.toml", TRACE, "--write-trace", "x"], "--write-trace is for a trace that is made up"),
        (["my.toml", TRACE, "--plain", "x"], "--plain 'x': there are default, slow calls\n"),
        (["my.toml", "missing.csv"], "[Errno 2] No such file or directory: 'missing.csv'\n"),
        (["my.toml", "my.toml"], "my.toml, line 1: columns must be named"),
        (
            ["my.toml", "--generate", "hang", "--circuit", "x"],
            "--circuit is for a trace that is read\n",
        ),
        (["my.toml", TRACE, "--circuit", "x"], "--circuit 'x': trace.csv has calls of no name;"),
        (["my.toml", "many.csv"], "many.csv has calls of a, b; choose by --circuit NAME\n"),
        (
            ["my.toml", TRACE, "--compare", "my.toml", "--compare", "my=my.toml"],
            "--compare my=my.toml: there is a policy 'my: default' already\n",
        ),
        (["my.toml", TRACE, "--compare", "x=none.toml"], "a file of policies must be a TOML file"),
        (["deep.toml", TRACE], "a file of policies must be a TOML file"),
        (["none", TRACE], "a file of policies must be a TOML file that can be read, got 'none'"),
        (
            ["missing.toml", TRACE],
            "a file of policies must be a TOML file that can be read, got 'missing.toml'",
        ),
        (["bad.toml", TRACE], "ramp in bad.toml must be more than 0 and finite (seconds), got -1"),
        (["name.toml", TRACE], "a circuit's name must have 1 to 255 printable characters, got"),
        (
            ["my.toml", "--generate", "hang", "--rate", "1e5", "--length", "11"],
            "--rate 100000 for --length 11 is more than 1,000,000 calls\n",
        ),
        (
            ["my.toml", "--generate", "hang", "--rate", "0.1", "--length", "0.1"],
            "hang, seed 0: there are no calls in it\n",
        ),
        (
            ["my.toml", "--generate", "hang", "--write-trace", "no/where.csv"],
            "[Errno 2] No such file or directory: 'no/where.csv'\n",
        ),
    ],
)
def test_what_it_refuses(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 2, and one line tells what is wrong."""
    Path("bad.toml").write_text("ramp = -1\n")
    Path("deep.toml").write_text("ramp = " + "[" * 5_000 + "]" * 5_000)
    Path("many.csv").write_text("at,outcome,duration,circuit\n1,failed,1,b\n2,failed,1,a\n")
    Path("name.toml").write_text('[circuits."\\n"]\n')
    err = complaint(capsys, *arguments)
    assert message in err
    assert err.count("\n") == 1


def test_policies_of_several_files(capsys: pytest.CaptureFixture[str]) -> None:
    """They stand in one table and one picture, each by the name of its file, or another one."""
    Path("patient.toml").write_text("failure_threshold = 20\n")
    options = ("--compare", "patient.toml", "--compare", "old=my.toml", "--picture", "all.svg")
    text = printed(capsys, "my.toml", TRACE, *options)
    names = ["default", "slow calls", "patient", "old: default", "old: slow calls"]
    bands, table = text.split("\n\n")[1:3]
    assert [line[:16].strip() for line in bands.splitlines()[3:]] == names
    assert [line[:16].strip() for line in table.splitlines()[1:]] == names
    assert table.splitlines()[1][16:] == table.splitlines()[4][16:]  # the same policy
    assert table.splitlines()[1][16:] != table.splitlines()[2][16:]
    for name in names:
        assert f">{name}<" in Path("all.svg").read_text()


def test_one_circuit_of_several_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Its calls are chosen by its name, be the files compressed or not."""
    header = "at,outcome,duration,circuit\n"
    Path("calls.csv").write_text(header + "".join(f"{at},failed,1,x\n" for at in (7, 8, 9)))
    older = header + "".join(f"{at},failed,1,{'xy'[at % 2]}\n" for at in range(7))
    Path("calls.csv.1.gz").write_bytes(gzip.compress(older.encode()))
    text = printed(capsys, "my.toml", "calls.csv", "calls.csv.1.gz", "--circuit", "x")
    assert text.startswith("\ncalls.csv and 1 more, x: 7 calls in 10.0 s\n")
    assert "and 1 more, y: 3 calls in" in printed(
        capsys, "my.toml", "calls.csv.1.gz", "calls.csv", "--circuit", "y"
    )


def test_the_environment_is_another_matter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation is of its files alone, wherever it runs."""
    before = printed(capsys, "my.toml", TRACE)
    monkeypatch.setenv("BINDU_CB_FAILURE_THRESHOLD", "7")
    monkeypatch.setenv("BINDU_CB_CIRCUITS__OTHER__RAMP", "7")
    monkeypatch.setenv("BINDU_CB_MISSPELT", "7")
    Path(".env").write_bytes(b"BINDU_CB_RAMP=-1\n\xff")
    assert printed(capsys, "my.toml", TRACE) == before


def test_a_picture_has_room_for_so_many(capsys: pytest.CaptureFixture[str]) -> None:
    """More are in the table only, and that is told."""
    Path("my.toml").write_text("".join(f"[circuits.x{number}]\n" for number in range(101)))
    Path("one.csv").write_text("at,outcome,duration\n1,failed,1\n")
    assert main(["simulate", "my.toml", "one.csv", "--picture", "x.svg"]) == 2
    out, err = capsys.readouterr()
    assert "\nx100 " in out
    assert err == "--picture has room for 100 policies, and there are 101\n"


def test_the_longest_trace_that_is_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    """It can be read again."""
    made_up = ("--generate", "hang", "--rate", "1e-9", "--length", "1e10", "--write-trace", "x.csv")
    bands = printed(capsys, "my.toml", *made_up).split("\n\n")[1]
    assert printed(capsys, "my.toml", "x.csv").startswith("\nx.csv: ")
    assert bands


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--generate", "rain", "'rain' is none of outage, brownout, flapping, slow, hang, rate-li"),
        ("--generate", "hang:", "'' is not a whole number, 0 or more"),
        ("--generate", "hang:-1", "'-1' is not a whole number, 0 or more"),
        ("--rate", "0", "'0' is not a finite number above 0"),
        ("--rate", "fast", "'fast' is not a finite number above 0"),
        ("--length", "inf", "'inf' is not a finite number above 0"),
        ("--length", "1e11", "'1e11' is more than 1e+10"),
        ("--wait", "-1", "'-1' is not a finite number above 0"),
        ("--retries", "11", "'11' is not a whole number from 0 to 10"),
        ("--retries", "1.5", "'1.5' is not a whole number from 0 to 10"),
        ("--picture", "x.pdf", "'x.pdf' is not a file that ends in .svg or .png"),
    ],
)
def test_bad_arguments(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are told by name and value before anything is read."""
    with pytest.raises(SystemExit) as end:
        main(["simulate", "missing.toml", f"{option}={value}"])
    assert end.value.code == 2
    assert f"argument {option}: {message}" in capsys.readouterr().err


def test_a_picture_that_can_be_read_by_people(capsys: pytest.CaptureFixture[str]) -> None:
    """An SVG has all names, settings and figures as text, and is the same file each time."""
    printed(capsys, "my.toml", TRACE, "--picture", "one.svg")
    printed(capsys, "my.toml", TRACE, "--picture", "two.svg")
    assert Path("one.svg").read_bytes() == Path("two.svg").read_bytes()
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", Path("one.svg").read_text())
    for text in (
        "trace.csv: 40 calls",
        "what comes of them if all are admitted",
        "how long they run, medians",
        *(KINDS.keys() - {"not known"}),  # which there is only where calls were refused
        *STATES.values(),
        "default",
        "slow calls",
        "recovery_timeout=5 slow_call_duration=2",
    ):
        assert text in texts, text
    assert any(re.fullmatch(r"\d+ admitted +\d+ refused +.*opened \d times", it) for it in texts)
    assert not re.search(r' d="[^"]*\.\d{3}', Path("one.svg").read_text())


def test_a_picture_in_pixels(capsys: pytest.CaptureFixture[str]) -> None:
    """A PNG is wide enough to read, and has the colours of the demo."""
    Path("my.toml").write_text("")
    printed(capsys, "my.toml", "--generate", "outage", "--picture", "one.png")
    pixels = imread("one.png")
    assert pixels.shape[1] > 1500
    colours = {
        "#" + "".join(f"{round(float(part) * 255):02x}" for part in pixel[:3])
        for pixel in pixels[::3, ::3].reshape(-1, pixels.shape[2])
    }
    assert {colour for _, colour in COLOURS.values()} <= colours
    assert {KINDS["failed"], KINDS["succeeded"], KINDS["refused"]} <= colours


def test_a_picture_of_little(tmp_path: Path) -> None:
    """One call that takes no time, or never ends, or is never admitted, is no trouble; nor is a
    name that looks like a formula.
    """
    policy = Policy(failure_threshold=1, slow_call_duration=1.0)
    for calls in (
        [Call(5.0, Outcome.CANCELLED, 0.0)],
        [Call(0.0, Outcome.SUCCEEDED, float("inf"))],
        [Call(0.0, Outcome.FAILED, 0.0), Call(9.0, Outcome.SUCCEEDED, 9.0, wait=20.0)],
    ):
        trace = trace_of(r"$\frac$", calls)
        draw(trace, [play(r"$\broken$ & <odd>", policy, trace)], tmp_path / "x.svg")
        assert r"$\broken$ &amp; &lt;odd&gt;" in (tmp_path / "x.svg").read_text()
        assert report(trace, [play("x", policy, trace)])


def test_a_picture_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """What was played is printed all the same."""
    assert main(["simulate", "my.toml", TRACE, "--picture", "no/where.svg"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("trace.csv: ")
    assert err == "[Errno 2] No such file or directory: 'no/where.svg'\n"


@pytest.mark.parametrize("missing", ["matplotlib", "matplotlib.figure"])
def test_a_missing_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line tells what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    for name in list(sys.modules):
        parts = ("supervisor.commands.simulate.picture", "supervisor.commands.pictures")
        if name.startswith(parts):
            monkeypatch.delitem(sys.modules, name)
    assert main(["simulate", "my.toml", TRACE, "--picture", "x.svg"]) == 2
    line = "a picture needs matplotlib: pip install matplotlib\n"
    assert capsys.readouterr().err == line


def test_another_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no extra brings is a bug, and its traceback stays."""
    monkeypatch.setitem(sys.modules, "supervisor.commands.simulate.picture", None)
    with pytest.raises(ModuleNotFoundError, match=r"supervisor\.commands\.simulate\.picture"):
        main(["simulate", "my.toml", TRACE, "--picture", "x.svg"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_pictures_in_the_documents(
    example: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each policy file has the command for its picture in its first line; the policies in it
    differ in what they do, and that is what the picture shows.
    """
    first = example.read_text().partition("\n")[0]
    start = f"# python -m supervisor simulate docs/policies/{example.name} "
    picture = f"docs/images/policies-{example.stem}.svg"
    assert first.startswith(start)
    assert first.endswith(f" --picture {picture}")
    monkeypatch.chdir(DOCS.parent)
    arguments = first.removeprefix("# python -m supervisor simulate ").split()[:-2]
    blocks = printed(capsys, *arguments).split("\n\n")
    figures = [re.findall(r"[\d,.]+", line.partition("  ")[2]) for line in blocks[2].splitlines()]
    assert len(figures) >= 3
    assert figures[1] != figures[2]
    svg = Path(picture).read_text()
    for admitted, refused, failed, *_ in figures[1:]:
        assert f">{admitted} admitted    {refused} refused    {failed} failed" in svg
    assert len(svg) < 60_000


def test_without_any_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Traces are not asked for: they may be made up."""
    with pytest.raises(SystemExit):
        main(["simulate"])
    assert capsys.readouterr().err.endswith("are required: POLICY.toml\n")
