"""What an older program wrote: brought up to date, or refused with a text that says what to do. Never mixed up."""

from __future__ import annotations

import enum
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import attrs
import msgspec
import pytest

from spaceactors import Actor, handler
from spaceactors._actor import kind_of
from spaceactors._codec import CannotDecode, CannotEncode
from tests.spaceactors.codec_scenes import Item, Order, Status, codec


@contextmanager
def loaded(actor):
    """A program in which the module of an actor is loaded."""
    with mock.patch.dict(sys.modules, {actor.__module__: getattr(actor, "home", sys.modules.get(actor.__module__))}):
        yield


def state_again(writer, state, reader):
    """A state that the program with `writer` stored, as the program with `reader` reads it."""
    data = codec(writer).encode_state(kind_of(writer), state)
    with loaded(reader):
        return codec(reader).decode_state(kind_of(reader), data)


def call_again(writer, reader, method, *args, **kwargs):
    kind = kind_of(writer)
    data = codec(writer).encode_call(kind, kind.handler(method), args, kwargs, ("m1", 3))
    with loaded(reader):
        return codec(reader).decode_call(kind_of(reader), data)


def made(source, **names):
    """The classes of a module as it once was: the same names, other classes."""
    module = ModuleType("kitchen")
    module.__dict__.update({"attrs": attrs, "enum": enum, "Any": Any, "Actor": Actor, "handler": handler})
    module.__dict__.update(names)
    exec(source, module.__dict__)
    module.Cook.home = module
    return module


OLD = """
class Size(enum.Enum):
    TALL = 1

@attrs.frozen
class Cup:
    size: Any = None
    sugar: int = 0

@attrs.frozen
class Meal:
    items: tuple = ()
    cup: Any = None

class Cook(Actor[Meal], kind="cook"):
    @handler
    async def serve(self, what, cup=None): ...
    @handler
    async def forget(self): ...
"""
old = made(OLD)


def newer(source):
    return made(OLD.replace('kind="cook"', 'kind="cook", state_version=2') + source)


# ---- states


def test_a_state_comes_back():
    meal = old.Meal(("egg",), old.Cup(old.Size.TALL))
    assert state_again(old.Cook, meal, old.Cook) == meal


@pytest.mark.parametrize("state", [(), ("a", 1), "text", None, 3, frozenset({"a"}), Status.OPEN])
def test_a_state_need_be_no_class(state):
    class Anything(Actor[object], kind="any"):
        initial_state = int

    assert state_again(Anything, state, Anything) == state


def test_D7_a_state_of_an_older_version_is_upgraded_field_by_field():
    new = made("""
@attrs.frozen
class Order:
    lines: tuple = ()
    total: int = 0

class Cook(Actor[Order], kind="cook", state_version=3):
    @classmethod
    def upgrade_state(cls, old, version):
        cls.seen = (old, version)
        return {"lines": old["items"], "total": len(old["items"])}
""")
    back = state_again(old.Cook, old.Meal(("egg", "ham")), new.Cook)
    assert back == new.Order(("egg", "ham"), 2)
    assert new.Cook.seen == ({"items": ("egg", "ham"), "cup": None}, 1)


def test_D7_an_upgrade_fills_new_fields_from_their_defaults():
    new = newer("""
@attrs.frozen
class Meal:
    items: tuple = ()
    cup: Any = None
    guests: list = attrs.Factory(list)
    twice: tuple = attrs.field(default=attrs.Factory(lambda self: self.items * 2, takes_self=True))

class Cook(Actor[Meal], kind="cook", state_version=2): ...
""")
    back = state_again(old.Cook, old.Meal(("egg",)), new.Cook)
    assert (back.guests, back.twice) == ([], ("egg", "egg"))


def test_D7_nested_classes_that_changed_come_to_the_upgrade_as_dicts_and_others_as_themselves():
    new = newer("""
@attrs.frozen
class Cup:
    grams: int

class Cook(Actor[Meal], kind="cook", state_version=2):
    @classmethod
    def upgrade_state(cls, old, version):
        return old | {"cup": [Cup(10 * old["cup"][0]["sugar"]), old["cup"][1]]}
""")
    back = state_again(old.Cook, old.Meal((), [old.Cup(None, 2), Item("a")]), new.Cook)
    assert back == new.Meal((), [new.Cup(20), Item("a")])


def test_D7_members_of_enums_that_are_gone_come_to_the_upgrade_by_name():
    new = newer("""
class Size(enum.Enum):
    GRANDE = 1

class Cook(Actor[Meal], kind="cook", state_version=2): ...
""")
    assert state_again(old.Cook, old.Meal((), {old.Size.TALL: 1}), new.Cook).cup == {"TALL": 1}


def test_D7_sets_of_classes_that_changed_come_to_the_upgrade_too():
    new = newer("""
@attrs.frozen
class Cup:
    grams: int

class Cook(Actor[Meal], kind="cook", state_version=2): ...
""")
    assert state_again(old.Cook, old.Meal((), frozenset({old.Cup(None, 2)})), new.Cook).cup == (
        {"size": None, "sugar": 2},
    )


def test_D7_a_state_without_fields_is_upgraded_as_value():
    class Was(Actor[tuple[str, ...]], kind="list"):
        pass

    class Is(Actor[Order], kind="list", state_version=2):
        @classmethod
        def upgrade_state(cls, old, version):
            return {"items": tuple(map(Item, old["value"]))}

    class Back(Actor[int], kind="list", state_version=2):
        @classmethod
        def upgrade_state(cls, old, version):
            return {"value": len(old["value"])}

    assert state_again(Was, ("a", "b"), Is) == Order((Item("a"), Item("b")))
    assert state_again(Was, ("a", "b"), Back) == 2


def test_D7_an_upgrade_may_leave_a_state_without_fields_as_it_is():
    class Was(Actor[Order | None], kind="maybe"):
        initial_state = Order

    class Is(Actor[Order | None], kind="maybe", state_version=2):
        initial_state = Order

    assert state_again(Was, None, Is) is None
    assert state_again(Was, Order(), Is) == Order()


@pytest.mark.parametrize(
    ("upgrade", "text"),
    [
        ("return None", r"Cook\.upgrade_state must return a dict of fields, not None"),
        ("return {**old, 'oven': 1}", r"the fields of kitchen:Meal have changed: oven stored, which it has not"),
        ("return {}['x']", "the stored state of cook cannot be read: KeyError: 'x'"),
    ],
)
def test_D7_an_upgrade_that_fails_is_named(upgrade, text):
    new = newer(f"""
class Cook(Actor[Meal], kind="cook", state_version=2):
    @classmethod
    def upgrade_state(cls, old, version):
        {upgrade}
""")
    with pytest.raises(CannotDecode, match=text):
        state_again(old.Cook, old.Meal(), new.Cook)


def test_D7_an_upgrade_of_a_state_without_fields_must_give_a_value():
    class Was(Actor[str], kind="text"):
        pass

    class Is(Actor[str], kind="text", state_version=2):
        @classmethod
        def upgrade_state(cls, old, version):
            return {"text": "x"}

    with pytest.raises(CannotDecode, match=r"must return \{'value': the state\}"):
        state_again(Was, "a", Is)


def test_D7_a_state_of_a_newer_version_is_refused():
    new = newer("""
class Cook(Actor[Meal], kind="cook", state_version=3): ...
""")
    with pytest.raises(CannotDecode, match="written by version 3 of Cook, this is version 1: run the newer one"):
        state_again(new.Cook, new.Meal(), old.Cook)


def test_D7_without_a_new_version_new_fields_get_their_defaults():
    new = made(OLD.replace("cup: Any = None\n\nclass", "cup: Any = None\n    guests: int = 4\n\nclass"))
    assert state_again(old.Cook, old.Meal(("egg",)), new.Cook) == new.Meal(("egg",), None, 4)


def test_D7_without_a_new_version_fields_that_are_gone_or_needed_are_named():
    gone = made(OLD.replace("    cup: Any = None\n\nclass Cook", "\nclass Cook"))
    with pytest.raises(CannotDecode, match=r"kitchen:Meal have changed: cup stored, which it has not\."):
        state_again(old.Cook, old.Meal(), gone.Cook)
    needed = made(
        OLD.replace("items: tuple = ()", "guests: int\n    items: tuple = ()").replace("Actor[Meal]", "Actor[Meal]")
    )
    with pytest.raises(CannotDecode, match="no guests stored, and no default"):
        state_again(old.Cook, old.Meal(), needed.Cook)


def test_D7_a_state_class_that_was_renamed_is_todays():
    new = made(OLD.replace("Meal", "Dinner"))
    assert state_again(old.Cook, old.Meal(("egg",)), new.Cook) == new.Dinner(("egg",))


def test_D7_a_struct_that_was_renamed_is_todays():
    struct = """
class Pot(msgspec.Struct, frozen=True):
    grams: int = 0
    def __post_init__(self): ...

class Cook(Actor[Pot], kind="cook"): ...
"""
    was, now = made(struct, msgspec=msgspec), made(struct.replace("Pot", "Pan"), msgspec=msgspec)
    reader = codec(now.Cook)
    for grams in (1, 2):
        data = codec(was.Cook).encode_state(kind_of(was.Cook), was.Pot(grams))
        assert reader.decode_state(kind_of(now.Cook), data) == now.Pan(grams)
        assert state_again(was.Cook, was.Pot(grams), now.Cook) == now.Pan(grams)


def test_D7_a_state_class_that_has_heirs_is_not_taken_for_one_that_is_gone():
    """The stored one may have been another heir: what was `Serving` must not come back as a bare `Phase`."""
    phases = """
@attrs.frozen
class Phase:
    n: int = 0

@attrs.frozen
class Waiting(Phase): ...

@attrs.frozen
class Serving(Phase): ...

class Cook(Actor[Phase], kind="cook"): ...
"""
    was, now = made(phases), made(phases.replace("Serving", "Busy"))
    assert type(state_again(was.Cook, was.Waiting(), now.Cook)) is now.Waiting
    with pytest.raises(CannotDecode, match=r"no class 'kitchen:Serving' in this program"):
        state_again(was.Cook, was.Serving(), now.Cook)


def test_a_state_that_cannot_be_written_is_named():
    with pytest.raises(CannotEncode, match=r"the state of cook\.cup: an object cannot be written"):
        codec(old.Cook).encode_state(kind_of(old.Cook), old.Meal((), object()))


def test_what_is_no_state_is_refused():
    with pytest.raises(CannotDecode, match="the stored state of cook cannot be read"):
        codec(old.Cook).decode_state(kind_of(old.Cook), codec().encode((1, 2, 3)))


# ---- calls


def test_a_call_comes_back_with_all_that_goes_with_it():
    one, args, kwargs, extra = call_again(old.Cook, old.Cook, old.Cook.serve, "egg", cup=old.Cup())
    assert one is kind_of(old.Cook).by_name["serve"]
    assert (args, kwargs, extra) == (("egg",), {"cup": old.Cup()}, ("m1", 3))


def test_D7_a_handler_that_is_gone_is_named():
    new = made(OLD.replace("forget", "clear"))
    with pytest.raises(
        CannotDecode, match=r"Cook has no handler 'forget' any more: keep the old name with @handler\(name='forget'\)"
    ):
        call_again(old.Cook, new.Cook, old.Cook.forget)


def test_D7_a_renamed_handler_can_keep_its_stored_name():
    new = made(OLD.replace("    @handler\n    async def forget", "    @handler(name='forget')\n    async def clear"))
    assert call_again(old.Cook, new.Cook, old.Cook.forget)[0].function is new.Cook.clear


@pytest.mark.parametrize("kwargs", [{}, {"cup": 1}])
def test_D7_arguments_that_do_not_fit_any_more_are_refused(kwargs):
    new = made(OLD.replace("what, cup=None", "*, dish"))
    with pytest.raises(CannotDecode, match=r"its arguments do not fit Cook\.serve\(\*, dish\): .*upgrade_call"):
        call_again(old.Cook, new.Cook, old.Cook.serve, "egg", **kwargs)


def test_D7_keywords_that_do_not_fit_any_more_are_refused():
    new = made(OLD.replace("what, cup=None", "what"))
    with pytest.raises(CannotDecode, match=r"Cook\.serve\(what\): got an unexpected keyword argument 'cup'"):
        call_again(old.Cook, new.Cook, old.Cook.serve, "egg", cup=1)


def test_D7_a_call_of_an_older_version_is_upgraded():
    new = newer("""
class Cook(Actor[Meal], kind="cook", state_version=2):
    @handler
    async def bring(self, dish, table): ...

    @classmethod
    def upgrade_call(cls, call, args, kwargs, version):
        cls.seen = (call, args, kwargs, version)
        return "bring", (args[0],), {"table": 7}
""")
    one, args, kwargs, _ = call_again(old.Cook, new.Cook, old.Cook.serve, "egg", cup=1)
    assert (one.name, args, kwargs) == ("bring", ("egg", 7), {})
    assert new.Cook.seen == ("serve", ("egg",), {"cup": 1}, 1)


def test_D7_a_call_of_an_older_version_is_taken_as_it_is_if_nobody_upgrades_it():
    assert call_again(old.Cook, newer("").Cook, old.Cook.serve, "egg")[1] == ("egg",)


def test_D7_an_older_argument_becomes_an_object_of_the_class_that_the_handler_names():
    new = made("""
@attrs.frozen
class Mug:
    size: Any = None
    sugar: int = 0
    milk: bool = False

class Cook(Actor, kind="cook", state_version=2):
    @handler
    async def serve(self, what, cup: "Mug"): ...
    @handler
    async def forget(self): ...
""")
    args = call_again(old.Cook, new.Cook, old.Cook.serve, "egg", old.Cup(None, 2))[1]
    assert args == ("egg", new.Mug(None, 2, milk=False))


def test_a_dict_of_the_same_version_stays_a_dict():
    assert call_again(old.Cook, old.Cook, old.Cook.serve, "egg", {"sugar": 2})[1] == ("egg", {"sugar": 2})


def test_D7_a_call_of_a_newer_version_is_refused():
    new = newer('\nclass Cook(Cook, kind="cook", state_version=2): ...\n')
    with pytest.raises(CannotDecode, match="written by version 2 of Cook, this is version 1"):
        call_again(new.Cook, old.Cook, new.Cook.forget)


@pytest.mark.parametrize(
    ("args", "kwargs", "path"), [((1, object()), {}, r"args\[1\]"), (("a",), {"cup": object()}, r"kwargs\['cup'\]")]
)
def test_an_argument_that_cannot_be_written_is_named(args, kwargs, path):
    kind = kind_of(old.Cook)
    with pytest.raises(CannotEncode, match=f"^{path}: an object cannot be written"):
        codec(old.Cook).encode_call(kind, kind.by_name["serve"], args, kwargs, ())


def test_the_name_and_id_of_a_call_can_be_read_without_its_classes():
    kind = kind_of(old.Cook)
    data = codec().encode_call(kind, kind.by_name["serve"], (old.Cup(),), {}, ("m1",))
    assert codec().names_in_call(data) == ("serve", "m1")
    assert codec().names_in_call(codec().encode_call(kind, kind.by_name["forget"], (), {}, ())) == ("forget", None)
    for broken in (b"", b"\xc1", codec().encode(1), data[:-1]):
        assert codec().names_in_call(broken) == (None, None)
