"""Looking at a store and after it, from outside the program that uses it: what the `spaceactors` command is made of."""

from spaceactors.admin._open import StoreAccess, is_address, open_store
from spaceactors.admin._requests import (
    AdminError,
    AnswerQuestion,
    CountAll,
    DiscardLetters,
    Export,
    ListLetters,
    ListQuestions,
    ListSpaces,
    Request,
    ResendLetters,
    Row,
    ShowLetter,
    ShowSpace,
    Vacuum,
    Verify,
)
from spaceactors.admin._serve import serve_admin

__all__ = [
    "AdminError",
    "AnswerQuestion",
    "CountAll",
    "DiscardLetters",
    "Export",
    "ListLetters",
    "ListQuestions",
    "ListSpaces",
    "Request",
    "ResendLetters",
    "Row",
    "ShowLetter",
    "ShowSpace",
    "StoreAccess",
    "Vacuum",
    "Verify",
    "is_address",
    "open_store",
    "serve_admin",
]
