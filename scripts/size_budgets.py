"""Check that functions, files and scripts stay small enough to read; prints the worst and fails when over budget.

Functions: nine of ten at most 35 lines, none over 80. Files: half of them at most 200 lines, none over 500 but tables.
Shell scripts: at most 30 lines. Blank lines, comments and docstrings count: they are read too.
"""

import ast
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("dicomweb", "storage", "tests", "scripts")
TABLES = {"storage/matching/attributes.py", "storage/dicom/transfer_syntax.py"}  # files that are one long table
FUNCTION_P90, FUNCTION_MOST = 35, 80
FILE_MEDIAN, FILE_MOST = 200, 500
SCRIPT_MOST = 30


def functions(path: Path) -> list[tuple[int, str]]:
    """Return (lines, place) of every function in a file, its docstring included, decorators not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def scripts() -> list[Path]:
    """Return the shell scripts a developer calls."""
    return [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]


def problems(modules: list[Path]) -> list[str]:
    """Return one sentence for every budget that is exceeded."""
    sizes = sorted((size for path in modules for size in functions(path)), reverse=True)
    p90 = statistics.quantiles([size for size, _ in sizes], n=10)[-1] if len(sizes) > 1 else 0
    lengths = {str(path.relative_to(ROOT)): lines(path) for path in modules}
    median = statistics.median(lengths.values())
    print(f"{len(sizes)} functions, p90 {p90:.0f} lines, longest {sizes[0][0]} ({sizes[0][1]})")
    print(f"{len(modules)} files, median {median:.0f} lines, longest {max(lengths.values())}")
    found = [f"{place}: {size} lines, over {FUNCTION_MOST}" for size, place in sizes if size > FUNCTION_MOST]
    found += [
        f"{path}: {length} lines, over {FILE_MOST}"
        for path, length in lengths.items()
        if length > FILE_MOST and path not in TABLES
    ]
    found += [f"{path.name}: over {SCRIPT_MOST} lines" for path in scripts() if lines(path) > SCRIPT_MOST]
    if p90 > FUNCTION_P90:
        found.append(f"one function in ten has more than {FUNCTION_P90} lines")
    if median > FILE_MEDIAN:
        found.append(f"half of the files have more than {FILE_MEDIAN} lines")
    return found


def main() -> int:
    """Print what is over budget; return 1 when anything is."""
    modules = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if lines(path)]
    found = problems(modules)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
