"""Tokenises the texts of one pass once, so that every engine gets the same ids."""

from __future__ import annotations

from collections.abc import Callable

from servewatt.errors import InputError
from servewatt.records import Stop, Workload
from servewatt.workloads.prompts import PromptSet


def build(
    prompts: PromptSet,
    encode: Callable[[str], list[int]],
    *,
    new_tokens: int,
    stop: Stop = Stop.LENGTH,
    limit: int | None = None,
    context_length: int,
    vocabulary_size: int,
) -> Workload:
    """The workload of the first `limit` prompts (None: all), each continued by `new_tokens` tokens.

    Raises InputError unless every prompt has at least one token, all ids are below `vocabulary_size`, and prompt and
    new tokens fit into `context_length` together.
    """
    if new_tokens < 1:
        raise InputError(f"{new_tokens} new tokens is no work", "ask for at least --new-tokens 1")
    if new_tokens >= context_length:
        raise InputError(
            f"{new_tokens} new tokens leave no room for a prompt: the model's context is {context_length}",
            f"lower --new-tokens below {context_length}",
        )
    if limit is not None and limit < 1:
        raise InputError(f"a limit of {limit} leaves no prompts", "ask for at least --limit 1")
    chosen = prompts.texts[:limit]
    if not chosen:
        raise InputError(f"{prompts.name} has no prompts", "put one prompt on each line")
    rows = tuple(tuple(encode(text)) for text in chosen)
    for number, row in enumerate(rows, 1):
        _check_ids(row, f"prompt {number} of {prompts.name}", vocabulary_size)
    _check_lengths(rows, prompts.name, new_tokens, context_length)
    name = prompts.name if len(chosen) == len(prompts.texts) else f"{prompts.name} (first {len(chosen)})"
    return Workload(name=name, prompts=rows, new_tokens=new_tokens, stop=stop)


def _check_ids(row: tuple[int, ...], where: str, vocabulary_size: int) -> None:
    if not row:
        raise InputError(f"{where} has no tokens", "remove it")
    strange = next((i for i in row if not 0 <= i < vocabulary_size), None)
    if strange is not None:
        raise InputError(
            f"{where} has token id {strange}, outside the model's vocabulary of {vocabulary_size}",
            "tokenizer and model do not belong together",
        )


def _check_lengths(rows: tuple[tuple[int, ...], ...], name: str, new_tokens: int, context_length: int) -> None:
    long = [number for number, row in enumerate(rows, 1) if len(row) + new_tokens > context_length]
    if not long:
        return
    longest = max(long, key=lambda number: len(rows[number - 1]))
    length = len(rows[longest - 1])
    room = context_length - length
    others = f" ({len(long)} prompts do)" if len(long) > 1 else ""
    raise InputError(
        f"prompt {longest} of {name} is {length} tokens long: with {new_tokens} new ones it exceeds the context of "
        f"{context_length}{others}",
        f"lower --new-tokens to {room}, or leave it out"
        if room > 0
        else f"shorten it to fewer than {context_length} tokens, or leave it out",
    )
