"""Tables about engines, from what the engines' entries say of themselves."""

from __future__ import annotations

from collections.abc import Sequence

from servewatt.checkpoints.architecture import ARCHITECTURES
from servewatt.engines import ENGINES
from servewatt.records import Precision, Provider

LISTED = tuple(name for name, entry in ENGINES.items() if entry.real)


def install(name: str) -> str:
    """How to install the engine, and what that brings."""
    entry = ENGINES[name]
    lines = [f"    {entry.install_line}"]
    if entry.pins:
        pins = "\n".join(f"    {pin}" for pin in sorted(entry.pins))
        lines.append(f'??? note "Exact versions in its environment"\n\n{pins.replace("    ", "        ")}')
    else:
        packages = ", ".join(f"`{package.replace('|', '` or `')}`" for package in entry.packages)
        lines.append(f"It runs in servewatt's own environment and needs {packages}.")
    return "\n\n".join(lines)


def precisions(name: str) -> str:
    """Provider x precision of one engine."""
    return _table(
        ("provider", *(f"`{precision}`" for precision in Precision)),
        [
            (
                f"`{provider}`",
                *("yes" if (provider, precision) in ENGINES[name].supports else "no" for precision in Precision),
            )
            for provider in Provider
            if any(supported == provider for supported, _ in ENGINES[name].supports)
        ],
    )


def options(name: str) -> str:
    """The engine's options, their values and defaults."""
    found = ENGINES[name].options
    if not found:
        return "It has no options."
    rows = [
        (
            f"`{option.name}`",
            ", ".join(f"`{value}`" for value in option.values) or "any",
            f"`{option.default}`" if option.default else "depends",
            option.help,
        )
        for option in found
    ]
    return _table(("option", "values", "default", "what it sets"), rows)


def overview() -> str:
    """Every engine with its page, what it is and how it is installed."""
    rows = [(f"[{name}]({name}.md)", ENGINES[name].summary, f"`{ENGINES[name].install_line}`") for name in LISTED]
    return _table(("engine", "what it is", "installed by"), rows)


def support(provider: str) -> str:
    """Architecture x engine on `provider`; the first row has the precisions of each engine."""
    where = Provider(provider)
    found = {
        name: " ".join(precision for precision in Precision if (where, precision) in ENGINES[name].supports)
        for name in LISTED
    }
    names = [name for name, precisions in found.items() if precisions]
    rows = [("precisions", *(found[name] for name in names))]
    for architecture in ARCHITECTURES:
        runs = ("yes" if ENGINES[name].knows(architecture) else "no" for name in names)
        rows.append((_short(architecture), *runs))
    return _table(("architecture", *(f"[{name}]({name}.md)" for name in names)), rows)


def _short(architecture: str) -> str:
    return architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel")


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
