"""Advice of errors, notes and plans in the words of the command line: its flags and commands."""

from __future__ import annotations

from collections.abc import Mapping

from servewatt.advice import Action, Advice, Mention, Setting

FLAGS: Mapping[Setting, str] = {
    Setting.BLOCKS: "--blocks",
    Setting.FOREIGN_LIMIT: "--foreign-limit",
    Setting.METERS: "--meter",
    Setting.QUALITY: "--quality",
    Setting.RUN_TESTS: "--run-tests",
    Setting.THREADS: "--threads",
}
COMMANDS: Mapping[Action, str] = {
    Action.ASSESS_QUALITY: "servewatt quality --model {}",
    Action.DOCTOR: "servewatt doctor",
    Action.LIST_ENGINES: "servewatt engines",
    Action.REPORT: "servewatt report {}",
}


def worded(hint: str) -> str:
    """The hint as the command line's user can follow it."""
    return hint.worded(_name) if isinstance(hint, Advice) else hint


def _name(mention: Mention) -> str:
    what = mention.what
    if isinstance(what, Action):
        command = COMMANDS[what]
        return command.format(mention.value) if mention.value else command.partition(" --")[0].removesuffix(" {}")
    return f"{FLAGS[what]} {mention.value}".rstrip()
