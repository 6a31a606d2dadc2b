"""What can go wrong between values and bytes. Nothing here needs msgspec: who only catches errors loads nothing."""

from __future__ import annotations

from typing import final


@final
class CannotEncode(TypeError):
    """A value cannot be written. The text says where in the value, and what to use instead."""


@final
class CannotDecode(ValueError):
    """Stored bytes cannot be read by today's program: its classes changed, or the bytes are damaged."""


@final
class StoredError(Exception):
    """An error that was stored and cannot be rebuilt: its class is gone, or took what cannot be written.

    `type_name` is the class as it was called, `text` what the error said, `stored_traceback` where it was raised.
    """

    stored_traceback: str = ""

    def __init__(self, type_name: str, text: str, /) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}" if self.text else self.type_name


class Refused(Exception):
    """The packers' way to say no; what and where is found out by a second, slower look."""
