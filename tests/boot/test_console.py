"""The console against all that terminals, people and pastes can send: one answer a line, and the prompt."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Iterator

import pytest

from coronel.guest import PROMPT, Channel, Guest, Shell

pytestmark = pytest.mark.guest(memory="32M", timeout=20)

MOST = 1024  # characters of a line
HISTORY = 16  # lines
END = "the-end-of-the-test"
MARKS = itertools.count()


@pytest.fixture
def shell(shared_guest: Guest) -> Iterator[Shell]:
    """The console of the shared machine; afterwards the same prompt, the same memory and nothing lost."""
    channel = shared_guest.channel
    channel.call("quiesce")
    before = accounts(channel)
    yield shared_guest.shell
    assert typed(shared_guest.shell, b"held\n") == [("held", ["count:                  0", "blocks"])]
    channel.call("quiesce")
    assert accounts(channel) == before


def accounts(channel: Channel) -> list[object]:
    outcomes = channel.batch(["buddyinfo", "meminfo", "uptime"])
    lost = {key: value for key, value in outcomes[2].value.items() if key.startswith("com")}
    assert set(lost.values()) == {0}, "bytes were lost"
    return [outcomes[0].value, outcomes[1].value, lost]


def typed(shell: Shell, data: bytes, timeout: float = 20) -> list[tuple[str, list[str]]]:
    """Sends raw bytes; (echo, lines of the answer) of each line that the kernel saw, a mark excluded."""
    shell.wait_prompt()
    shell.console.send(data + f"{END}\n".encode())
    said = f"unknown command '{END}'; try 'help'\n{PROMPT}"
    shell.console.expect_exact(said.replace("\n", "\r\n"), timeout=timeout)
    text = (PROMPT + str(shell.console.before)).replace("\r\n", "\n")
    assert "\r" not in text
    pieces = text.split(PROMPT)
    assert pieces[0] == ""
    assert pieces[-1].endswith(f"{END}\n"), "the mark came last"
    answers = [piece.split("\n") for piece in pieces[1:-1]]
    assert all(lines[-1] == "" for lines in answers), "every answer ends its line"
    return [(lines[0], lines[1:-1]) for lines in answers]


HELD = ["count:                  0", "blocks"]
SINGLE_LINES = [
    pytest.param(b"\n", "", [], id="empty"),
    pytest.param(b"     \n", "     ", [], id="spaces"),
    pytest.param(b"\t \t\n", "   ", [], id="tabs"),
    pytest.param(b"  held  \n", "  held  ", HELD, id="spaces-around"),
    pytest.param(b"he\x00ld\n", "held", HELD, id="NUL"),
    pytest.param(b"\x00\x00\x00held\n", "held", HELD, id="NULs-first"),
    pytest.param(b"h\xffel\xfe\xc0d\n", "held", HELD, id="not-UTF-8"),
    pytest.param(b"h\x1b[Ge\x1b[31;1ml\x1bOPd\x1b[200~\n", "held", HELD, id="escape-sequences"),
    pytest.param(b"he\x1b[12\x03held\n", None, HELD, id="control-byte-in-a-sequence"),
    pytest.param(b"\x1b\nheld\n", None, HELD, id="escape-then-a-line"),
    pytest.param(b"h\x07e\x0fl\x14\x1ad\n", "held", HELD, id="control-bytes"),
    pytest.param(b"\x08\x7f\x08held\n", "held", HELD, id="backspace-at-column-0"),
    pytest.param(b"hx\x08elx\x7fd\n", "hx\b \belx\b \bd", HELD, id="backspace"),
    pytest.param(b"nonsense\x15held\n", "nonsense" + "\b \b" * 8 + "held", HELD, id="kill-line"),
    pytest.param(b"held zzz\x17\n", "held zzz" + "\b \b" * 3, HELD, id="kill-word"),
    pytest.param(
        "grün".encode() + b"\n", "grün", ["unknown command 'gr\\xc3\\xbcn'; try 'help'"], id="UTF-8"
    ),
    pytest.param("hü".encode() + b"\x7feld\n", "hü\b \beld", HELD, id="backspace-takes-a-character"),
    pytest.param(b"h\xc3eld\n", "held", HELD, id="half-a-character"),
    pytest.param(b"h\xed\xa0\x80eld\n", "held", HELD, id="surrogate"),
    pytest.param(b"HELD\n", "HELD", ["unknown command 'HELD'; try 'help'"], id="capitals"),
    pytest.param(b"'held'\n", "'held'", ["unknown command ''held''; try 'help'"], id="quotes"),
    pytest.param(b"%s%n%x\n", "%s%n%x", ["unknown command '%s%n%x'; try 'help'"], id="format-string"),
]


@pytest.mark.parametrize(("data", "echo", "answer"), SINGLE_LINES)
def test_one_line(shell: Shell, data: bytes, echo: str | None, answer: list[str]) -> None:
    *_, (shown, said) = typed(shell, data)
    assert said == answer
    if echo is not None:
        assert shown == echo


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"held\r", 1),
        (b"held\n", 1),
        (b"held\r\n", 1),
        (b"held\rheld\r", 2),
        (b"held\r\nheld\r\n", 2),
        (b"held\n\rheld\n", 3),  # the second ends an empty line
        (b"held\r\rheld\r", 3),
        (b"held\n\nheld\n", 3),
        (b"held\r\n\r\nheld\n", 3),
        (b"held\rx\x15\nheld\n", 3),  # a line feed belongs to the return right before it only
    ],
)
def test_every_line_end_ends_one_line(shell: Shell, data: bytes, lines: int) -> None:
    answers = typed(shell, data)
    assert len(answers) == lines
    assert [said for _, said in answers if said] == [HELD] * data.count(b"held")


@pytest.mark.parametrize("length", [MOST - 1, MOST])
def test_a_line_of_the_greatest_length_is_a_line(shell: Shell, length: int) -> None:
    line = "x" * length
    ((echo, said),) = typed(shell, line.encode() + b"\n")
    assert echo == line
    assert said == [f"unknown command '{'x' * 40}...'; try 'help'"]


@pytest.mark.parametrize("length", [MOST + 1, 4096, 64 << 10])
def test_a_line_too_long_is_one_error(shell: Shell, length: int) -> None:
    ((echo, said),) = typed(shell, b"x" * length + b"\n")
    assert echo == "x" * MOST, "what is dropped is not shown"
    assert said == [f"line too long: at most {MOST} bytes"]


def test_a_line_too_long_does_not_run_its_beginning_or_its_end(shell: Shell) -> None:
    answers = typed(shell, b"alloc 0 ".ljust(2000) + b"\nheld\n")
    assert [said for _, said in answers] == [[f"line too long: at most {MOST} bytes"], HELD]


def test_a_line_too_long_can_be_taken_back(shell: Shell) -> None:
    *_, (_, said) = typed(shell, b"x" * 2000 + b"\x15held\n")
    assert said == HELD
    *_, (_, said) = typed(shell, b"x" * 2000 + b"\x03held\n")
    assert said == HELD


def test_an_interrupted_line_is_gone(shell: Shell) -> None:
    shell.wait_prompt()
    shell.console.send(b"alloc 3")
    shell.console.expect_exact("alloc 3")  # ^C overtakes what the kernel has not looked at
    shell.console.send(b"\x03")
    shell.console.expect_exact(f"^C\r\n{PROMPT}")
    assert typed(shell, b"held\n") == [("held", HELD)]


def test_two_commands_in_one_packet_run_in_order(shell: Shell) -> None:
    answers = typed(shell, b"alloc 2 3\nheld\nfree all\nheld\n")
    assert [echo for echo, _ in answers] == ["alloc 2 3", "held", "free all", "held"]
    assert answers[1][1][0].split() == ["count:", "3"]
    assert answers[2][1][0].split() == ["freed:", "3"]
    assert answers[3][1] == HELD


def test_a_paste_of_64_kib_at_full_speed_loses_nothing(shell: Shell) -> None:
    words = [f"paste-{n:04}-".ljust(200, "abcdefghij"[n % 10]) for n in range(330)]
    data = "".join(f"{word}\n" for word in words).encode()
    assert len(data) > 64 << 10
    answers = typed(shell, data, timeout=60)
    assert [echo for echo, _ in answers] == words
    assert [said for _, said in answers] == [
        [f"unknown command '{word[:40]}...'; try 'help'"] for word in words
    ]


def test_a_paste_of_short_commands_runs_each_of_them(shell: Shell) -> None:
    answers = typed(shell, b"alloc 0\nfree all\n" * 500, timeout=60)
    assert len(answers) == 1000
    assert [said[0].split() for _, said in answers[1::2]] == [["freed:", "1"]] * 500


def test_random_bytes_do_no_harm(shell: Shell, coronel_seed: int) -> None:
    """Whatever comes, ^C and a line end bring the prompt back."""
    source = random.Random(coronel_seed)
    # Noise holds ^P and line ends: what it may call back must be harmless.
    typed(shell, b"".join(b"nothing-%d\n" % number for number in range(HISTORY)))
    for _ in range(8):
        noise = bytes(source.randrange(256) for _ in range(1024))
        shell.wait_prompt()
        shell.console.send(noise + b"\x03\n")
        *_, (_, said) = typed_after(shell)
        assert said == HELD


def typed_after(shell: Shell) -> list[tuple[str, list[str]]]:
    """`held` after anything: its answer is the last before the mark, which no key can have called back."""
    mark = f"{END}-{next(MARKS)}"
    shell.console.send(f"held\n{mark}\n")
    said = f"unknown command '{mark}'; try 'help'\r\n{PROMPT}"
    shell.console.expect_exact(said, timeout=20)
    pieces = str(shell.console.before).replace("\r\n", "\n").split(PROMPT)
    lines = pieces[-2].split("\n")
    return [(lines[0], lines[1:-1])]


def start_stress(shell: Shell) -> None:
    """A command that would run for many minutes, and is running."""
    shell.wait_prompt()
    shell.type("stress pages 1000000000 seed=1")
    shell.console.expect_exact("seed=1\r\n")
    time.sleep(0.2)


def test_control_c_stops_a_long_command_and_its_memory_comes_back(shell: Shell) -> None:
    start_stress(shell)
    asked = time.monotonic()
    shell.console.send(b"\x03")
    text = shell.wait_prompt()
    assert time.monotonic() - asked < 5
    assert re.fullmatch(r"(\^C\n)?stress: interrupted by \^C\n", text)


def test_control_c_drops_what_was_typed_ahead(shell: Shell) -> None:
    """As a terminal does: who stops a command does not want the next one either."""
    start_stress(shell)
    shell.console.send(b"alloc 0\n\x03")
    text = shell.wait_prompt()
    assert "interrupted by ^C" in text
    assert "order" not in text


def test_lines_typed_during_a_command_run_after_it(shell: Shell) -> None:
    answers = typed(shell, b"stress pages 30000 seed=2\nheld\n", timeout=60)
    assert [echo for echo, _ in answers] == ["stress pages 30000 seed=2", "held"]
    assert answers[1][1] == HELD


def test_a_program_is_served_while_nobody_reads_the_console(shared_guest: Guest) -> None:
    """Both ports are served whatever stands half-typed on the other."""
    shared_guest.shell.wait_prompt()
    shared_guest.shell.console.send(b"hel")
    assert shared_guest.channel.call("held")["count"] == 0
    assert typed(shared_guest.shell, b"d\n")[0] == ("held", HELD)


UP, DOWN, LEFT, RIGHT, HOME, END_KEY, DELETE = (
    f"\x1b[{key}".encode() for key in ("A", "B", "D", "C", "H", "F", "3~")
)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(b"eld" + HOME + b"h\n", id="home"),
        pytest.param(b"hld" + LEFT * 2 + b"e\n", id="left"),
        pytest.param(b"xeld" + HOME + RIGHT + b"\x7fh\n", id="right"),
        pytest.param(b"el" + HOME + b"h" + END_KEY + b"d\n", id="end"),
        pytest.param(b"xheld" + HOME + DELETE + b"\n", id="delete"),
        pytest.param(b"held and more" + LEFT * 9 + b"\x0b\n", id="kill-rest"),
        pytest.param(b"more\x02\x02\x15held\n", id="kill-line"),
        pytest.param(b"eld\x01h\x05\n", id="control-keys"),
        pytest.param(b"hel\x1bOD\x1bOD\x1bOCl\x7f\x1b[4~d\n", id="application-keys"),
        pytest.param(b"helx\x02d\x06\x7f\n", id="backspace-at-the-end"),
    ],
)
def test_a_line_is_edited_where_the_cursor_is(shell: Shell, keys: bytes) -> None:
    ((_, said),) = typed(shell, keys)
    assert said == HELD


def test_the_last_lines_come_back(shell: Shell) -> None:
    answers = typed(shell, b"held\nhelp held\nnonsense\n" + UP * 2 + b"\n" + UP * 4 + b"\n")
    assert answers[3][1] == answers[1][1] != HELD
    assert answers[4][1] == HELD
    *_, (_, said) = typed(shell, b"he" + UP + DOWN + b"ld\n")
    assert said == HELD, "what was being typed is back behind the last line"
    *_, (_, said) = typed(shell, b"x\nheld\n" + b"\x10" * 40 + b"\x0e" * 39 + b"\x10\n")
    assert said == HELD, "no further than to either end"


def test_tab_completes_a_command(shell: Shell) -> None:
    ((echo, said),) = typed(shell, b"hel\x7f\x7feld\t\n")
    assert said == HELD
    ((echo, said),) = typed(shell, b"mem\t--json\n")
    assert echo == "meminfo --json"
    assert said[0].startswith('{"status":0')


def test_tab_lists_the_commands_that_it_could_be(shell: Shell) -> None:
    shell.wait_prompt()
    shell.console.send(b"fr\t")
    shell.console.expect_exact(f"fr\r\n  frames\r\n  free\r\n{PROMPT}fr")
    shell.console.send(b"\x15")
    shell.console.expect_exact("\b \b" * 2)
    assert typed_after(shell)[0] == ("held", HELD)


def test_tabs_in_a_paste_are_spaces(shell: Shell) -> None:
    answers = typed(shell, b"\talloc\t2\t3\n\theld\nfree\tall\nfoo\tbar\n")
    assert [echo for echo, _ in answers] == [" alloc 2 3", " held", "free all", "foo bar"]
    assert answers[1][1][0].split() == ["count:", "3"]
    assert answers[2][1][0].split() == ["freed:", "3"]
