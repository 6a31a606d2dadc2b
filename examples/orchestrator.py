"""An orchestrator of agents: who asks gets one answer, and several agents have worked on it at the same time.

    python examples/orchestrator.py
    spaceactors chat examples/orchestrator.py:Orchestrator

It knows what a coffee shop's customers said, and what is on the menu. A greeting takes the quick way. Any other
question takes the deep one: memory, retrieval, prices and metrics side by side, and reasoning after the first three. It
needs no network, and no model: what agents find is real, and how long they take is played, by sleeps.
"""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import trio
from attrs import define, field, frozen
from tenacity import wait_exponential

from spaceactors import Actor, CircuitBreaker, Limit, Limits, Retry, Runtime, handler, open_runtime
from spaceactors.pipelines import Cache, Input, OnError, Pipeline, PipelineStatistics, Router, Stage

DATA = Path(__file__).parent / "data"
GREETINGS = {"hello", "hey", "hi", "good", "thanks", "thank", "bye"}
LONGEST_GREETING = 4  # words
SAYING_NOTHING = re.compile(
    "and|anybody|are|can|could|did|for|have|how|much|please|say|that|the|they|what|who|with|you"
)

# How many seconds each agent takes: they stand for a database, a search service and a model.
REMEMBERING, SEARCHING, LOOKING_UP, COUNTING, REASONING, CHATTING = 0.04, 0.12, 0.05, 0.02, 0.12, 0.03


@frozen
class Question:
    """What a user wants to know, and what the same user asked before."""

    text: str
    before: tuple[str, ...] = ()

    def about(self) -> frozenset[str]:
        """Return the words that it is about."""
        return words_of(self.text)


@frozen
class Passage:
    """Something that a customer said."""

    who: str
    text: str


class ArchiveDown(Exception):
    """The search service does not answer."""


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text that mean something."""
    return frozenset(word for word in re.findall(r"[a-z]{3,}", text.lower()) if not SAYING_NOTHING.fullmatch(word))


def overheard() -> tuple[Passage, ...]:
    """Return all that customers said."""
    lines = (json.loads(line) for line in (DATA / "conversations.jsonl").read_text(encoding="utf-8").splitlines())
    return tuple(Passage(line["space"], line["args"][0]) for line in lines)


def best(passages: tuple[Passage, ...], wanted: frozenset[str], most: int = 3) -> tuple[Passage, ...]:
    """Return the passages that have most words in common with those wanted."""
    scores = {passage: len(wanted & words_of(passage.text)) for passage in passages}
    return tuple(sorted((one for one in scores if scores[one]), key=lambda one: -scores[one])[:most])


# ---- the agents


@define
class Archive:
    """Plays a search service that fails now and then, and is down for some calls in a row."""

    passages: tuple[Passage, ...] = field(factory=overheard)
    broken: frozenset[int] = frozenset({2, 6, 7, 8})
    breaker: CircuitBreaker = field(
        factory=lambda: CircuitBreaker(
            "archive", failure_threshold=3, success_threshold=1, timeout=0.1, counts=ArchiveDown
        )
    )
    calls: int = 0

    async def search(self, question: Question) -> tuple[Passage, ...]:
        """Search all of it, if the breaker lets us."""
        async with self.breaker:
            self.calls += 1
            call = self.calls
            await trio.sleep(SEARCHING)
            if call in self.broken:
                raise ArchiveDown(f"call {call} was not answered")
            return best(self.passages, question.about())

    async def search_copy(self, question: Question) -> tuple[Passage, ...]:
        """Search what we have here, which is half of it."""
        return best(self.passages[: len(self.passages) // 2], question.about())


@define
class Model:
    """Plays a model that takes three calls at once. It puts words around what others have found."""

    limits: Limits = field(factory=lambda: Limits([Limit("llm", 3)]))

    async def reason(
        self, question: Question, memories: tuple[str, ...], passages: tuple[Passage, ...], prices: tuple[str, ...]
    ) -> str:
        """Answer from all that is known."""
        async with self.limits.hold("llm"):
            await trio.sleep(REASONING)
        said = "; ".join(f"{one.who} said “{one.text}”" for one in passages)
        known = [*prices, said or f"Nobody said anything about {', '.join(sorted(question.about())) or 'that'}"]
        if memories:
            known.append(f"You asked before: “{memories[-1]}”")
        return ". ".join(known) + "."

    async def chat(self, question: Question) -> str:
        """Be polite."""
        async with self.limits.hold("llm"):
            await trio.sleep(CHATTING)
        return "You are welcome." if "thank" in question.text.lower() else "Hello! Ask me what our customers say."


async def remember(question: Question) -> tuple[str, ...]:
    """Return what the same user asked before about the same things."""
    await trio.sleep(REMEMBERING)
    return tuple(text for text in question.before if words_of(text) & question.about())


async def look_up(question: Question) -> tuple[str, ...]:
    """Return the prices of the drinks that are named."""
    await trio.sleep(LOOKING_UP)
    drinks: dict[str, tuple[int, str]] = tomllib.loads((DATA / "menu.toml").read_text(encoding="utf-8"))["drinks"]
    named = {name: drinks[name][0] for name in drinks if name in question.text.lower()}
    return tuple(f"{name.capitalize()} is ${cents / 100:.2f}" for name, cents in named.items())


@define
class Metrics:
    """Counts what is asked about. It fails at a question without words, and nobody minds."""

    words: Counter[str] = field(factory=Counter[str])
    longest: int = 0

    async def count(self, question: Question) -> None:
        """Count the words of a question."""
        await trio.sleep(COUNTING)
        longest = max(map(len, question.about()))
        self.longest = max(self.longest, longest)
        self.words.update(question.about())


# ---- how they work together


def way_for(question: Question) -> str:
    """Choose the quick way for greetings, and for what is too short to be a question."""
    spoken = re.findall(r"[a-z]+", question.text.lower())
    is_greeting = bool(spoken) and spoken[0] in GREETINGS and len(spoken) <= LONGEST_GREETING
    return "quick" if is_greeting or len(spoken) == 1 else "deep"


def quick_way(model: Model) -> Pipeline[Question, str]:
    """Return the way of one agent."""
    question = Input(Question)
    return Pipeline("quick", question, Stage(model.chat, question, timeout=2.0))


def deep_way(archive: Archive, model: Model, metrics: Metrics) -> Pipeline[Question, str]:
    """Return the way of many agents: four at once, and the one that needs what three of them found."""
    question = Input(Question)
    memories = Stage(remember, question, name="memory", timeout=2.0)
    passages = Stage(
        archive.search,
        question,
        name="retrieval",
        timeout=2.0,
        retry=Retry(3, wait=wait_exponential(0.02), on=ArchiveDown),
        cache=Cache(size=500, ttl=60.0, key=Question.about),
        fallback=archive.search_copy,
    )
    prices = Stage(look_up, question, name="prices", timeout=2.0)
    reply = Stage(model.reason, question, memories, passages, prices, name="reasoning", timeout=10.0)
    counted = Stage(metrics.count, question, name="metrics", on_error=OnError.SKIP)
    return Pipeline("deep", question, reply, beside=[counted])


@frozen
class Desk:
    """Agents, and the ways through them."""

    archive: Archive
    model: Model
    metrics: Metrics
    quick: Pipeline[Question, str]
    deep: Pipeline[Question, str]
    router: Router[Question, str]


def make_desk() -> Desk:
    """Make new agents, who have seen nothing yet."""
    archive, model, metrics = Archive(), Model(), Metrics()
    quick, deep = quick_way(model), deep_way(archive, model, metrics)
    router = Router({"quick": quick, "deep": deep}, choose=way_for, default="deep", name="way")
    return Desk(archive, model, metrics, quick, deep, router)


DESK = make_desk()
# By their names the command line finds them: `/stats` in a chat tells how they fare.
quick, deep, router = DESK.quick, DESK.deep, DESK.router


class Orchestrator(Actor):
    """One user's orchestrator; its history is what the user has said."""

    def __init__(self, desk: Desk = DESK) -> None:
        self.desk = desk

    @handler
    async def say(self, text: str) -> str:
        """Answer; each agent's work is a step of this turn, so a second try of it repeats none that was done."""
        before = tuple(await self.history.recent(20))
        result = await self.run_pipeline(self.desk.router, Question(text, before))
        self.history.append(text)
        self.count(result.name)
        return result.value


# ---- the program: several users at once, and the same questions one after another

ASKED = {
    "ann": ["hello", "who takes honey?", "how much is a latte with oat milk?", "and with soy milk?", "thank you"],
    "bob": ["what do they say about almond milk?", "how much is a cold brew?", "?? !!", "who takes vanilla?"],
    "eve": ["hi", "who takes honey?", "did anybody want a sandwich?", "how much is a mocha?", "with whipped cream?"],
    "joe": [
        "how much is a cortado?",
        "which teas do they drink?",
        "how much is an espresso?",
        "who takes honey?",
        "bye",
    ],
}


@frozen
class Figures:
    """What a pass over all questions came to."""

    questions: int
    seconds: float
    # How long all agents worked, taken together.
    worked: float
    slowest: float

    @property
    def throughput(self) -> float:
        """Questions a second."""
        return self.questions / self.seconds


def figures(desk: Desk, seconds: float) -> Figures:
    """Return the figures of a pass that took so many seconds."""
    passes = [desk.quick.statistics(), desk.deep.statistics()]
    return Figures(
        questions=sum(one.completed for one in passes),
        seconds=seconds,
        worked=sum(stage.seconds for one in passes for stage in one.stages.values()),
        slowest=max(one.slowest for one in passes),
    )


async def one_after_another(desk: Desk) -> Figures:
    """Answer all questions with one agent at work at a time."""
    began = trio.current_time()
    for texts in ASKED.values():
        for number, text in enumerate(texts):
            await desk.router.run(Question(text, tuple(texts[:number])), sequential=True)
    return figures(desk, trio.current_time() - began)


async def talk(runtime: Runtime[Orchestrator], user: str) -> None:
    """Be a user who asks again as soon as there is an answer."""
    for text in ASKED[user]:
        answer = await runtime.space(user).ask(Orchestrator.say, text)
        print(f"{user}: {text}\n     {answer}")


async def all_at_once(desk: Desk) -> Figures:
    """Answer the questions of all users as they come."""
    began = trio.current_time()
    async with open_runtime(Orchestrator, deps=desk) as runtime, trio.open_nursery() as nursery:
        for user in ASKED:
            nursery.start_soon(talk, runtime, user)
    return figures(desk, trio.current_time() - began)


def table(slow: Figures, fast: Figures) -> str:
    """Return both passes side by side."""
    rows = [
        ("questions", slow.questions, fast.questions, "{}"),
        ("seconds", slow.seconds, fast.seconds, "{:.2f}"),
        ("questions a second", slow.throughput, fast.throughput, "{:.1f}"),
        ("slowest answer, seconds", slow.slowest, fast.slowest, "{:.2f}"),
        ("agents at work, on average", slow.worked / slow.seconds, fast.worked / fast.seconds, "{:.1f}"),
    ]
    lines = [f"{'':<28}{'one after another':>20}{'at once':>12}"]
    lines.extend(f"{name:<28}{form.format(one):>20}{form.format(other):>12}" for name, one, other, form in rows)
    return "\n".join(lines)


def told(desk: Desk) -> str:
    """Return the statistics of both ways."""
    ways: dict[str, PipelineStatistics] = {name: one.pipeline for name, one in desk.router.statistics().items()}
    return "\n".join(f"{name}: {one}" for name, one in ways.items())


async def main() -> tuple[Figures, Figures]:
    """Answer all questions both ways, and compare."""
    slow = await one_after_another(make_desk())
    desk = make_desk()
    fast = await all_at_once(desk)
    print(f"\n{told(desk)}\n\n{table(slow, fast)}")
    print(f"\nAt once is {slow.seconds / fast.seconds:.1f} times as fast. How long agents take is played, by sleeps.")
    return slow, fast


if __name__ == "__main__":
    trio.run(main)
