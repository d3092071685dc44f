"""The exit codes and every error raised on purpose, and exit-codes-and-errors.md."""

from __future__ import annotations

import inspect

from docs.reference_pages.markdown import cell, grid
from qafila import errors
from qafila.workload.verdict import EXIT_CODES

_CODES = {
    0: "it was done, or it holds",
    1: "a verdict or a precondition says no",
    2: "wrong usage or wrong input; nothing was changed",
    3: "too little evidence for yes or no",
    4: "something does not answer, or broke",
}


def our_errors() -> list[type[errors.QafilaError]]:
    """Return every error that Qafila raises on purpose, in the order of its file."""
    return [
        e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, errors.QafilaError)
    ]


def errors_page() -> str:
    """Return docs/reference/exit-codes-and-errors.md."""
    codes = sorted({*EXIT_CODES.values(), *(e.exit_code for e in our_errors())})
    verdicts = {code: verdict.value for verdict, code in EXIT_CODES.items()}
    rows = [[f"`{c}`", verdicts.get(c, ""), _CODES[c]] for c in codes]
    parts = [
        "# Exit codes and errors",
        "",
        grid(["exit code", "verdict", "meaning"], rows),
        "",
        "Every refusal has three parts: what happened, what was kept, what to do next. They go to "
        "standard error; in a run they are also the artifact `next-step`.",
        "",
        "```",
        "Refused: preflight has not passed for generation 1 of aws-docs-search.",
        "Kept:  everything; nothing was loaded.",
        "Next:  qafila run preflight aws-docs-search",
        "```",
        "",
        "`BadInput` numbers every mistake it found, not only the first. A Python traceback is a "
        "fault in Qafila, exits 4, and says so.",
        "",
        grid(
            ["error", "exit code", "it means"],
            [
                [
                    f"`{e.__name__}`",
                    f"`{e.exit_code}`",
                    cell((inspect.getdoc(e) or "").split("\n\n")[0].replace("``", "`")),
                ]
                for e in our_errors()
            ],
        ),
    ]
    return "\n".join(parts)
