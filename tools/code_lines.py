"""Lines of code under a folder, without blanks, comments and docstrings: `python -m tools.code_lines src/holisafe`."""

import ast
import sys
import tokenize
from pathlib import Path

QUIET = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(path: Path) -> int:
    with tokenize.open(path) as file:
        tokens = [token for token in tokenize.generate_tokens(file.readline) if token.type not in QUIET]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def main(folder: str, most: str = "30") -> None:
    counts = {path: code_lines(path) for path in Path(folder).rglob("*.py")}
    for path in sorted(counts, key=counts.__getitem__, reverse=True)[: int(most)]:
        print(f"{counts[path]:7,} {path}")
    print(f"{sum(counts.values()):7,} in {len(counts)} files")


if __name__ == "__main__":
    main(*sys.argv[1:])
