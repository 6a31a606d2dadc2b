"""`spaceactors suspensions`: what turns wait to be told, and telling them."""

from typing import Annotated

from cyclopts import App, Parameter

from spaceactors.admin import AnswerQuestion, ListQuestions
from spaceactors.cli._showing import printable, questions_table
from spaceactors.cli._stores import AsJson, Limit, asked, show_list

suspensions = App(name="suspensions", help="Look at the open questions of suspended turns, and answer them.")


@suspensions.command(name="list")
def list_questions(store: str, /, *, kind: str | None = None, limit: Limit = 100, json: AsJson = False) -> int:
    """List open questions, the oldest first.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        kind: Only those of this kind of actor.
        limit: At most so many.
        json: Write one JSON object a line.
    """
    request = ListQuestions(kind, limit)
    show_list(store, request, questions_table, json=json, none="There are no open questions.")
    return 0


@suspensions.command
def answer(store: str, question: str, value: Annotated[str, Parameter(allow_leading_hyphen=True)], /) -> int:
    """Answer an open question, once. Its turn goes on at once in a running service, else when one runs again.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        question: The question's id, as `suspensions list` shows it.
        value: The answer as JSON: true, 5, '"a text"', '{"ok": true}' for a class with the field `ok`.
    """
    with asked(store, AnswerQuestion(question, value)) as rows:
        for row in rows:
            print(printable(f"{row['kind']}/{row['space']}: {row['name']} is answered"))
    return 0
