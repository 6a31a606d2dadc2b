"""A runtime's bounds: presets that differ in the right direction, and files whose every fault is told at once."""

from __future__ import annotations

import pickle
from unittest import mock

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import ConfigError, Limit, LoadOptions, RuntimeConfig, Settings, SpaceOptions, WhenFull, _settings


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "service.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path, table="spaceactors"):
    with pytest.raises(ConfigError) as found:
        Settings.from_toml(path, table)
    assert str(path) in str(found.value)
    assert all(problem in str(found.value) for problem in found.value.problems)
    return list(found.value.problems)


# ---- presets and values


def test_larger_presets_allow_more_and_shed_sooner():
    small, medium, large = RuntimeConfig.small(), RuntimeConfig.medium(), RuntimeConfig.large()
    for name in ("max_live_spaces", "max_turns", "drain_timeout"):
        assert getattr(small, name) < getattr(medium, name) < getattr(large, name), name
    assert medium.max_waiting_turns < large.max_waiting_turns
    assert small.load is None  # nobody is refused on a developer's desk
    assert medium.load.shed_above > large.load.shed_above
    assert medium.load.relax_below > large.load.relax_below


def test_without_a_word_nothing_is_bounded_but_the_live_spaces():
    plain = RuntimeConfig()
    assert (plain.max_turns, plain.max_waiting_turns, plain.load) == (None, None, None)


@pytest.mark.parametrize("preset", [RuntimeConfig.small, RuntimeConfig.medium, RuntimeConfig.large])
def test_one_thing_of_a_preset_can_be_changed(preset):
    assert evolve(preset(), max_turns=7).max_turns == 7
    assert evolve(preset(), load=None).load is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"max_turns": 0}, "max_turns must be a whole number of at least 1 or None, not 0"),
        ({"max_turns": 2.5}, "max_turns must be a whole number of at least 1 or None, not 2.5"),
        ({"max_turns": 5, "max_waiting_turns": 0}, "max_waiting_turns must be a whole number of at least 1 or None"),
        ({"max_waiting_turns": 5}, "max_waiting_turns bounds who waits for one of max_turns turns: set max_turns too"),
        ({"load": True}, r"load must be LoadOptions\(...\) or None \(the load is not watched\), not True"),
    ],
)
def test_L2_each_bad_value_of_a_config_has_its_own_error(values, text):
    with pytest.raises(ValueError, match=text):
        RuntimeConfig(**values)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"shed_above": 0}, "shed_above must be a number above 0 and up to 1"),
        ({"shed_above": 1.01}, "shed_above must be a number above 0 and up to 1"),
        ({"relax_below": "low"}, "relax_below must be a number above 0 and up to 1"),
        ({"shed_above": 0.5}, r"relax_below must not be above shed_above \(0.5\), not 0.7"),
        ({"interval": 0}, "interval must be a number above 0, not 0"),
        ({"interval": None}, "interval must be a number above 0, not None"),
        ({"max_lag": -1}, r"max_lag must be a number above 0 or None \(not measured\), not -1"),
        ({"max_lag": float("inf")}, "max_lag must be a number above 0 or None"),
        ({"max_cpu": float("nan")}, "max_cpu must be a number above 0 or None"),
        ({"max_pending": 0}, "max_pending must be a whole number of at least 1 or None"),
        ({"max_memory": 1.5}, "max_memory must be a whole number of at least 1 or None"),
        ({"probe": "psutil"}, r"probe must be a function that makes a LoadProbe, or None \(this process\)"),
    ],
)
def test_L2_each_bad_value_of_load_options_has_its_own_error(values, text):
    with pytest.raises(ValueError, match=text):
        LoadOptions(**values)


@pytest.mark.parametrize("name", ["max_state_bytes", "max_mailbox_bytes"])
@pytest.mark.parametrize("value", [0, -5, 1.5, True, "1 MB"])
def test_L2_bytes_are_a_whole_number(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1 or None"):
        SpaceOptions(**{name: value})


# ---- files


def test_a_file_says_what_the_fields_do(written):
    path = written("""
        [spaceactors]
        max_live_spaces = 500
        max_turns = 10
        max_waiting_turns = 30
        drain_timeout = 5.5

        [spaceactors.load]
        shed_above = 0.8
        max_lag = 1
        max_memory = 2_000_000_000
    """)
    load = LoadOptions(shed_above=0.8, max_lag=1, max_memory=2_000_000_000)
    config = RuntimeConfig(500, 10, 5.5, 30, load)
    assert RuntimeConfig.from_toml(path) == config
    assert Settings.from_toml(path) == Settings(config)


def test_a_file_begins_with_a_preset_and_changes_what_differs(written):
    path = written('[spaceactors]\npreset = "large"\nmax_turns = 3000\nload.max_cpu = 4.0')
    large = RuntimeConfig.large()
    assert RuntimeConfig.from_toml(path) == evolve(large, max_turns=3000, load=evolve(large.load, max_cpu=4.0))


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ('preset = "large"\nload = false', None),
        ('preset = "large"\nload = true', RuntimeConfig.large().load),
        ("load = true", LoadOptions()),
        ("load = {}", LoadOptions()),
        ("", None),
    ],
)
def test_the_load_is_switched_on_and_off_by_a_word(written, text, load):
    assert RuntimeConfig.from_toml(written(f"[spaceactors]\n{text}")).load == load


def test_limits_stand_in_tables_of_their_own(written):
    path = written("""
        [spaceactors]
        preset = "small"
        [spaceactors.limits.openai]
        tokens = 5
        max_waiting = 100
        wait_timeout = 30
        [spaceactors.limits."gpu 1"]
        tokens = 1
        when_full = "refuse"
        preemptible = true
    """)
    assert Settings.from_toml(path) == Settings(
        RuntimeConfig.small(),
        (
            Limit("openai", 5, max_waiting=100, wait_timeout=30),
            Limit("gpu 1", 1, when_full=WhenFull.REFUSE, preemptible=True),
        ),
    )
    with pytest.raises(ConfigError, match=r"spaceactors.limits \(openai, gpu 1\) would be ignored.*Settings.from_toml"):
        RuntimeConfig.from_toml(path)


def test_the_table_may_lie_in_others_and_others_beside_it(written):
    path = written("[tool.shop]\nmax_turns = 4\n[tool.ruff]\nline-length = 120")
    assert RuntimeConfig.from_toml(path, "tool.shop").max_turns == 4
    assert RuntimeConfig.from_toml(path, table="tool.shop").max_turns == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_turn = 5", "spaceactors.max_turn is no setting; did you mean max_turns? (there are: "),
        ("zzz = 5", "spaceactors.zzz is no setting (there are: "),
        ("limit.x.tokens = 5", "spaceactors.limit is no setting; did you mean limits? (there are: "),
        (
            'max_turns = "5"',
            "spaceactors.max_turns: max_turns must be a whole number of at least 1, or left out, not '5'",
        ),
        ("max_turns = true", "spaceactors.max_turns: max_turns must be a whole number of at least 1, or left out"),
        ("max_turns = 0", "spaceactors.max_turns: max_turns must be a whole number of at least 1, or left out, not 0"),
        ("drain_timeout = -1", "spaceactors.drain_timeout: drain_timeout must be a number of at least 0, not -1"),
        ("drain_timeout = nan", "spaceactors.drain_timeout: drain_timeout must be a number of at least 0, not nan"),
        ("max_waiting_turns = 5", "spaceactors: max_waiting_turns bounds who waits for one of max_turns turns"),
        (
            'preset = "midium"',
            'spaceactors.preset must be "small" or "medium" or "large", not \'midium\'; did you mean medium?',
        ),
        ("preset = 3", 'spaceactors.preset must be "small" or "medium" or "large", not 3'),
        ("load = 3", "spaceactors.load must be a table, true or false, not 3"),
        ("load.max_lagg = 3", "spaceactors.load.max_lagg is no setting; did you mean max_lag? (there are: "),
        ("load.probe = 'x'", "spaceactors.load.probe is no setting (there are: interval, max_cpu, max_lag, "),
        ("load.interval = 0", "spaceactors.load.interval: interval must be a number above 0, not 0"),
        ("load.shed_above = 0.1", "spaceactors.load: relax_below must not be above shed_above (0.1), not 0.7"),
        ("limits = 3", "spaceactors.limits must have a table for each limit, such as [spaceactors."),
        ("limits.gpu = 3", "spaceactors.limits.gpu must be a table, [spaceactors.limits.gpu] with tokens = 5, not 3"),
        ("limits.gpu = {}", "spaceactors.limits.gpu has no tokens: write tokens = 5 for five at once"),
        ("limits.gpu.token = 3", "spaceactors.limits.gpu.token is no setting; did you mean tokens? (there are: "),
        ("limits.gpu.name = 'x'", "spaceactors.limits.gpu.name is no setting (there are: "),
        ("limits.gpu.tokens = -1", "spaceactors.limits.gpu.tokens: the tokens of limit 'gpu' must be 0 or more, not"),
        (
            "limits.gpu = {tokens = 1, when_full = 'drop'}",
            'spaceactors.limits.gpu.when_full: when_full must be "wait" or "refuse", not \'drop\'',
        ),
        (
            "limits.gpu = {tokens = 1, preemptible = 1}",
            "spaceactors.limits.gpu.preemptible: preemptible must be true or false, not 1",
        ),
        (
            "limits.gpu = {tokens = 1, max_waiting = 'x'}",
            "spaceactors.limits.gpu.max_waiting: max_waiting of limit 'gpu' must be a whole number, or left out",
        ),
    ],
)
def test_each_fault_is_told_with_its_key_and_what_to_write_instead(written, text, problem):
    found = problems(written(f"[spaceactors]\n{text}"))
    assert found[0].startswith(problem)
    assert len(found) == 1 + ("has no tokens" in str(found[1:]))


def test_all_faults_are_told_at_once(written):
    path = written("""
        [spaceactors]
        max_turn = 5
        drain_timeout = -1
        max_waiting_turns = 5
        [spaceactors.load]
        max_lagg = 1
        interval = true
        [spaceactors.limits.gpu]
        tokens = -5
        max_waiting = "x"
        wait_timeout = -1
        [spaceactors.limits.llm]
    """)
    found = problems(path)
    keys = ["max_turn", "drain_timeout", "load.max_lagg", "load.interval", "limits.gpu.tokens"]
    keys += ["limits.gpu.max_waiting", "limits.gpu.wait_timeout", "limits.llm"]
    assert [one.replace(":", " ").split()[0] for one in found] == [f"spaceactors.{key}" for key in keys]


@pytest.mark.parametrize(
    ("text", "table", "problem"),
    [
        ("[spaceactor]", "spaceactors", "there is no table [spaceactors]; did you mean spaceactor?"),
        ("", "spaceactors", "there is no table [spaceactors] (there are: none)"),
        ("spaceactors = 3", "spaceactors", "spaceactors must be a table, written [spaceactors], not 3"),
        ("[tool.ruff]", "tool.shop", "there is no table [tool.shop] (there are: [tool.ruff])"),
        ("[spaceactors]\nmax_turns =", "spaceactors", "it is no TOML: Invalid value (at "),
    ],
)  # fmt: skip
def test_a_table_that_is_not_there_is_named_beside_those_that_are(written, text, table, problem):
    [found] = problems(written(text), table)
    assert found.startswith(problem)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert problems(tmp_path / "none.toml") == ["it cannot be read: No such file or directory"]
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    [found] = problems(tmp_path / "latin.toml")
    assert found.startswith("it is no TOML: ")


def test_the_error_is_a_value_error_and_travels(written):
    path = written("[spaceactors]\nmax_turn = 5\nmax_tturns = 5")
    with pytest.raises(ValueError, match="has several faults") as found:
        RuntimeConfig.from_toml(path)
    again = pickle.loads(pickle.dumps(found.value))
    assert (str(again), again.problems) == (str(found.value), found.value.problems)


KEYS = ["load", "limits", "preset", "gpu", "x", "tokens", *(one.name for one in fields(RuntimeConfig))]
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3)
anything = st.recursive(
    leaves, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner) | st.lists(inner, max_size=2)
)


@given(st.dictionaries(st.sampled_from(KEYS), anything))
def test_whatever_stands_in_a_file_makes_settings_or_says_why_not(found):
    with mock.patch.object(_settings, "_read", return_value=found):
        try:
            settings = Settings.from_toml("service.toml")
        except ConfigError as error:
            settings = error
    if isinstance(settings, ConfigError):
        assert settings.problems
    else:
        assert isinstance(settings.config, RuntimeConfig)
        assert all(isinstance(one, Limit) for one in settings.limits)
