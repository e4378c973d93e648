"""What text made to be slow costs the matchers: seconds against length, for every mode.

    python benches/bench_matchers.py [--longest 10_000_000]

Each text repeats a piece that begins what a rule looks for. Time that grows as the length grows tenfold for ten times
the text; a quadratic matcher would take a hundred times as long. The worst piece of each mode is shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from holisafe.judges.exact_match import normalise
from holisafe.judges.multiple_choice import chosen, listed
from holisafe.judges.string_match import MODES, matcher

PIECES = (
    " ", "\n", " \n", "\t", "\u3000", "a", "i ", "i cannot ", "also ", "it is ", "very ", "not ",
    "\"", "\"a ", "'", "'a ", "`", "```", "says:", "\na: b", "\nassistant: x", "(", "((", "[", "{",
    "<", "<|", "<a ", "</s>", "&", "&amp;", "answer ", "answer is ", "option ", "A ", "B. ", ") ",
    "\\boxed{", "\\text{", "it is important ", "i must note ", "sorry ", "my ", "no, ", "people ",
    "please ", "if you ", "we do not ", "and refuse to ", "not be able to ", "dear ", "request ",
    "there is no ", "violation", "but ", ", but", "thank you ", "ich kann ", "ich kann a ",
    "no puedo ", "je ne peux pas ", "не могу ", "я ", "मैं ", "माफ करें", "죄송", "申し訳", "回答は", "我不",
    "لا ", "。", "\u200b", "\u2028", "*",
)  # fmt: skip
STARTS = ("", "i ", "answer", "x. ")


def modes() -> dict[str, Callable[[str], object]]:
    found: dict[str, Callable[[str], object]] = {f"string-match:{mode}": matcher(mode) for mode in MODES}
    found["exact-match"] = normalise
    found["multiple-choice"] = lambda text: chosen(text, {"A": "a car", "B": "a truck"})
    found["choices of a question"] = listed
    return found


def seconds(read: Callable[[str], object], start: str, piece: str, length: int) -> float:
    text = start + piece * (length // len(piece)) + "!"
    began = time.process_time()
    read(text)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longest", type=int, default=10_000_000)
    longest = parser.parse_args().longest
    lengths = [longest // 100, longest // 10, longest]
    table = Table("mode", "worst piece", *(f"{length:,} characters, s" for length in lengths))
    for name, read in modes().items():
        read("warm up")
        tried = [(seconds(read, start, piece, lengths[0]), start, piece) for piece in PIECES for start in STARTS]
        _, start, piece = max(tried)
        table.add_row(name, repr(start + piece), *(f"{seconds(read, start, piece, length):.3f}" for length in lengths))
    Console().print(table)


if __name__ == "__main__":
    main()
