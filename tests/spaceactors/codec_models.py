"""Pydantic models; a module of its own, since pydantic need not be installed."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel


class Tag(BaseModel):
    name: str
    weight: Annotated[int, Field(gt=0)] = 1


class Guest(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(alias="nick")
    age: int = 0
    tags: list[Tag] = []
    _seen: int = PrivateAttr(default=0)


class Sealed(BaseModel):
    model_config = ConfigDict(frozen=True)

    a: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int


class Held(BaseModel):
    a: int
    _seen: int = PrivateAttr(default=0)


class Names(RootModel[list[str]]):
    pass
