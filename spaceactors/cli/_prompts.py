"""From what a person writes to calls: one prompt, or a file of them, dealt over spaces. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve

from spaceactors.cli._lines import MAX_LINE_BYTES, Invalid, Unfit, call_of, parse_line, signature_of
from spaceactors.cli._load import UnusableArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from spaceactors import HandlerInfo
    from spaceactors.cli._lines import Call

LARGEST = MAX_LINE_BYTES  # bytes of one prompt: as many as a line of `run` may have
MOST_BYTES = 1 << 26  # of all prompts of a benchmark, which are held in memory
FEW = 10  # spaces over which plain prompts are dealt
ANYWHERE = "*"  # stands for the space of a plain prompt, which it gets when it is dealt


# ---- one


def takes_nothing(handler: HandlerInfo) -> bool:
    """Whether a handler has no parameters at all."""
    return len(signature_of(handler.function).parameters) == 1


def text_of(read: bytes) -> str:
    """The text that standard input has, without its last line end."""
    if not read:
        raise UnusableArgument("there is nothing on standard input: pipe a text in, or write it behind the actor")
    if len(read) > LARGEST:
        raise UnusableArgument(f"standard input has more than the {LARGEST:,} bytes that a prompt may have")
    try:
        return _decoded(read).removesuffix("\n").removesuffix("\r")
    except Unfit as problem:
        raise UnusableArgument(f"standard input: {problem}") from None


def arguments_of(written: str) -> dict[str, Any]:
    """The fields of a call for arguments that are given as JSON."""
    try:
        arguments: Any = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise UnusableArgument(
            f"""--args is no JSON ({error}): write '["latte", 2]', or '{{"drink": "latte"}}' for named arguments"""
        ) from None
    match arguments:
        case list():
            return {"args": arguments}
        case dict():
            return {"kwargs": arguments}
        case _:
            raise UnusableArgument(
                """--args must be a list, such as '["latte", 2]', or an object of named ones, '{"drink": "latte"}'"""
            )


def _decoded(read: bytes) -> str:
    try:
        return read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit(f"this is no text in UTF-8 (byte {error.start + 1} is 0x{read[error.start]:02x})") from None


# ---- many


def read_prompts(
    lines: Iterable[tuple[int, bytes | None]], handlers: Mapping[str, HandlerInfo], default: Callable[[], HandlerInfo]
) -> list[Call]:
    """The calls that lines make: a line that begins with { is one of `run`'s, any other says itself to the default.

    Ids are left out: what is said again is to be done again. Raises `Unfit`, with the line's number.
    """
    prompts: list[Call] = []
    for number, line in lines:
        try:
            prompt = _prompt_of(number, line, handlers, default)
        except Unfit as problem:
            raise Unfit(f"line {number}: {problem}") from None
        prompts += [prompt] if prompt else []
    if not prompts:
        raise Unfit("there is no prompt in it: write one a line, or calls as `spaceactors run` reads them")
    return prompts


def _prompt_of(
    number: int, line: bytes | None, handlers: Mapping[str, HandlerInfo], default: Callable[[], HandlerInfo]
) -> Call | None:
    if line is None:
        raise Unfit(f"it is longer than {MAX_LINE_BYTES} bytes")
    text = _decoded(line).strip()
    if not text:
        return None
    if not text.startswith("{"):
        return call_of(number, {"space": ANYWHERE, "call": default().name, "args": [text]}, handlers)
    call = parse_line(number, text.encode(), handlers)
    if isinstance(call, Invalid):
        raise Unfit(call.reason)
    return evolve(call, message_id=None)


def place(prompts: Sequence[Call], spaces: int | None) -> list[str | None]:
    """The space of each prompt: the one it names, or with a number of spaces one of these; None: it is dealt."""
    names = dict.fromkeys(call.space for call in prompts if call.space != ANYWHERE)
    own = {name: name if spaces is None else _space(at % spaces) for at, name in enumerate(names)}
    return [own.get(call.space) for call in prompts]


def deal(prompts: Sequence[Call], spaces: int | None, repeat: int) -> Iterator[Call]:
    """All calls of a benchmark: conversations stay whole and in order, plain prompts go around the spaces."""
    places, around, number = place(prompts, spaces), 0, 0
    for _ in range(repeat):
        for prompt, own in zip(prompts, places, strict=True):
            number += 1
            yield evolve(prompt, line=number, space=own or _space(around % (spaces or FEW)))
            around += own is None


def count_spaces(prompts: Sequence[Call], spaces: int | None, repeat: int) -> int:
    """How many spaces `deal` uses."""
    places = place(prompts, spaces)
    dealt = min(spaces or FEW, places.count(None) * repeat)
    return len({own for own in places if own} | {_space(at) for at in range(dealt)})


def _space(at: int) -> str:
    return f"bench-{at + 1}"
