"""Which class a stored name means: found without importing anything."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Annotated, NamedTuple, NewType

import attrs
import pytest

from spaceactors import Actor, handler
from spaceactors._codec import CannotDecode, CannotEncode
from spaceactors._codec_names import MAIN, reachable
from tests.spaceactors.codec_scenes import Item, Order, Status, codec


@dataclasses.dataclass
class Data:
    order: list[Order]


class Pair(NamedTuple):
    data: Data | None


@pytest.fixture
def shop(monkeypatch):
    """A module that is loaded, with classes of its own."""

    def make(name, source="", **attributes):
        module = ModuleType(name)
        module.__dict__.update({"attrs": attrs, "Actor": Actor, "handler": handler, **attributes})
        exec(source, module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


CUP = """
@attrs.frozen
class Cup:
    size: int = 0
"""
COOK = """
class Cook(Actor):
    pass
"""


def test_a_class_is_found_in_a_module_that_is_loaded():
    assert codec().decode(codec().encode(Item("a"))) == Item("a")


def test_a_class_in_a_module_that_is_not_loaded_is_not_imported(shop):
    name = "tests.spaceactors.no_such_module"
    data = codec().encode(shop(name, CUP).Cup())
    del sys.modules[name]
    with pytest.raises(CannotDecode, match=f"no class '{name}:Cup' in this program: import its module"):
        codec().decode(data)
    assert name not in sys.modules


def test_a_modules_own_getattr_is_not_called(shop):
    def refuse(name):
        raise AssertionError(name)

    data = codec().encode(shop("lazy", CUP).Cup())
    shop("lazy", __getattr__=refuse)
    with pytest.raises(CannotDecode, match="no class 'lazy:Cup'"):
        codec().decode(data)


def test_a_local_class_is_found_by_who_has_written_it():
    @attrs.frozen
    class Local:
        x: int = 0

    one = codec()
    assert one.decode(one.encode(Local(3))) == Local(3)
    with pytest.raises(CannotDecode, match="Local"):
        codec().decode(one.encode(Local(3)))


def test_two_classes_of_one_name_are_not_mixed_up():
    def box():
        @attrs.frozen
        class Box:
            x: int = 0

        return Box()

    one = codec()
    one.encode(box())
    with pytest.raises(
        CannotEncode, match=r"value: .* cannot be written: two classes are called .*Box', and one would"
    ):
        one.encode(box())
    with pytest.raises(CannotEncode, match="two classes"):
        one.encode((1, box()))


def test_a_local_class_is_found_through_the_annotations_of_an_actor():
    @attrs.frozen
    class Inner:
        x: int = 0

    outer = attrs.make_class("Outer", {"inner": attrs.field(type=Inner | None)}, frozen=True)

    class Cook(Actor[tuple[outer, ...]]):
        pass

    value = outer(Inner(2))
    assert codec(Cook).decode(codec().encode(value)) == value


def test_heirs_of_what_annotations_name_are_found():
    @attrs.frozen
    class Shape:
        x: int = 0

    @attrs.frozen
    class Circle(Shape):
        r: int = 1

    class Cook(Actor[Shape]):
        pass

    assert codec(Cook).decode(codec().encode(Circle(2))) == Circle(2)


def test_annotations_are_followed_through_brackets_aliases_and_fields():
    alias = NewType("alias", Pair)
    # By their names: annotations are looked up in the modules that are loaded, whichever copy of these that is.
    found = {one.__name__ for one in reachable([dict[str, Annotated[alias, "x"]], AsyncIterator[Status]])}
    assert {"Data", "Pair", "Order", "Item", "Status"} <= found


def test_annotations_that_mean_nothing_at_run_time_do_no_harm():
    class Cook(Actor):
        @handler
        async def serve(self, what: NoSuchName, item: Item) -> AlsoNot: ...  # noqa: F821

    assert codec(Cook).decode(codec().encode(Item())) == Item()


def test_a_name_that_means_something_else_now_is_refused(shop):
    data = codec().encode([shop("kitchen", CUP).Cup()])
    shop("kitchen", "class Cup: pass")
    with pytest.raises(CannotDecode, match="kitchen:Cup is no class with fields any more"):
        codec().decode(data)
    shop("kitchen", "Cup = 3")
    with pytest.raises(CannotDecode, match="no class 'kitchen:Cup'"):
        codec().decode(data)


def test_members_that_are_gone_are_named(shop):
    data = codec().encode(shop("kitchen", "import enum\nclass Size(enum.Enum):\n    TALL = 1").Size.TALL)
    shop("kitchen", "import enum\nclass Size(enum.Enum):\n    BIG = 1")
    with pytest.raises(CannotDecode, match=r"kitchen:Size has no member TALL any more: keep the old name as an alias"):
        codec().decode(data)
    shop("kitchen", CUP.replace("Cup", "Size"))
    with pytest.raises(CannotDecode, match="kitchen:Size is no Enum any more"):
        codec().decode(data)


def test_an_alias_keeps_a_renamed_class_readable(shop):
    data = codec().encode(shop("kitchen", CUP).Cup(3))
    now = shop("kitchen", CUP.replace("Cup", "Mug") + "Cup = Mug")
    assert codec().decode(data) == now.Mug(3)


# ---- a file that is a program at one time and a module at another


def test_what_a_program_wrote_is_read_where_its_file_is_a_module(shop):
    data = codec().encode(shop(MAIN, CUP, __file__="cafe.py").Cup(3))
    module = shop("shop.cafe", CUP + COOK)
    shop(MAIN, __file__="other.py")
    assert codec(module.Cook).decode(data) == module.Cup(3)


def test_what_a_module_wrote_is_read_where_its_file_is_the_program(shop):
    data = codec().encode(shop("shop.cafe", CUP).Cup(3))
    del sys.modules["shop.cafe"]
    main = shop(MAIN, CUP + COOK, __file__="dir/cafe.py")
    assert codec(main.Cook).decode(data) == main.Cup(3)


def test_a_class_of_another_file_is_not_taken_for_the_programs(shop):
    data = codec().encode(shop("shop.bar", CUP).Cup(3))
    del sys.modules["shop.bar"]
    main = shop(MAIN, CUP + COOK, __file__="dir/cafe.py")
    with pytest.raises(CannotDecode, match=r"no class 'shop\.bar:Cup'"):
        codec(main.Cook).decode(data)


def test_names_of_classes_are_found_again():
    one = codec()
    for cls in (Item, Status, bool, str):
        assert codec().find_class(one.name_of(cls)) is cls
    assert one.find_class(one.name_of(int | None)) is None
    assert one.find_class("nowhere:Nothing") is None
