"""The house rules that a syntax tree can show, each as a function that lists what breaks it.

Knows the rules and not the repository: which files they hold for, and the exceptions, stand in `tests/test_architecture.py`.
A complaint begins with its line number.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

MAX_LINES = 400
MAX_FUNCTION = 50

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_SKIPS = {"skip", "skipif", "xfail", "importorskip", "flaky"}
_MUTABLE_LITERALS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_TABLES = {"dict", "list", "set"}
_CONTAINERS = {"deque", "defaultdict", "OrderedDict", "ChainMap", "WeakSet", "WeakKeyDictionary", "WeakValueDictionary"}
_METRICS = {"Counter", "Gauge", "Histogram", "Summary"}
_LOOP_BOUND = {"asyncio", "threading", "queue", "concurrent"}


def long_file(text: str) -> Iterator[str]:
    """A file has at most `MAX_LINES` lines."""
    if (lines := text.count("\n")) > MAX_LINES:
        yield f"1: the file has {lines} lines, over {MAX_LINES}"


def long_functions(tree: ast.Module) -> Iterator[str]:
    """A function has at most `MAX_FUNCTION` lines, its docstring not counted."""
    for function in _functions(tree):
        lines = _length(function) - _docstring_lines(function)
        if lines > MAX_FUNCTION:
            yield f"{function.lineno}: {function.name} has {lines} lines, over {MAX_FUNCTION}"


def undocumented_module(tree: ast.Module) -> Iterator[str]:
    """A module opens with a docstring."""
    if not ast.get_docstring(tree):
        yield "1: the module has no docstring"


def undocumented_tests(tree: ast.Module) -> Iterator[str]:
    """Every test says in its docstring what it shows."""
    for function in _functions(tree):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{function.lineno}: {function.name} has no docstring"


def skipping_and_sleeping(tree: ast.Module) -> Iterator[str]:
    """A test is run, and it waits for what it waits for: no skip, no expected failure, no sleep of a fixed time."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name("pytest" | "unittest" | "mark") | ast.Attribute(attr="mark"), attr=name):
                if name in _SKIPS:
                    yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(module="pytest" | "unittest", names=names):
                yield from (f"{node.lineno}: imports {each.name}" for each in names if each.name in _SKIPS)
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name("sleep"), args=[length, *_]):
                if _is_fixed(length):
                    yield f"{node.lineno}: {ast.unparse(node)}"


def module_state(tree: ast.Module) -> Iterator[str]:
    """A module keeps no state: nothing at its top changes, belongs to an event loop, or grows without bound."""
    for statement in _top_level(tree.body):
        yield from _mutable_names(statement)
        for node in _evaluated(statement):
            if isinstance(node, ast.Call) and _is_state(node):
                yield f"{node.lineno}: {ast.unparse(node)} at the top of a module"
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: global {', '.join(node.names)}"
        if isinstance(node, _Function):
            yield from (
                f"{each.lineno}: {ast.unparse(each)} has no bound" for each in node.decorator_list if _endless(each)
            )


def _functions(tree: ast.AST) -> Iterator[_Function]:
    return (node for node in ast.walk(tree) if isinstance(node, _Function))


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(function: _Function) -> int:
    return _length(function.body[0]) if ast.get_docstring(function, clean=False) is not None else 0


def _is_fixed(node: ast.expr) -> bool:
    """Whether an expression is made of constants only, and not just 0 (a sleep of 0 is a step of the event loop)."""
    parts = list(ast.walk(node))
    if any(isinstance(part, ast.Name | ast.Attribute | ast.Call) for part in parts):
        return False
    return any(isinstance(part, ast.Constant) and part.value != 0 for part in parts)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing a module runs, those within `if`, `try`, `with` and `class` included."""
    for statement in body:
        yield statement
        for inner in ast.iter_child_nodes(statement):
            if isinstance(statement, ast.If | ast.Try | ast.With | ast.ClassDef) and isinstance(inner, ast.stmt):
                yield from _top_level([inner])


def _evaluated(statement: ast.stmt) -> Iterator[ast.AST]:
    """The expressions that a top-level statement itself evaluates: not the bodies of functions and of what it contains."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        inner = ast.iter_child_nodes(node)
        if isinstance(node, _Function):
            inner = iter([*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)])
        stack.extend(each for each in inner if not isinstance(each, ast.stmt | ast.Lambda))


def _mutable_names(statement: ast.stmt) -> Iterator[str]:
    """Names bound to something mutable; constants (in capitals, or Final) and `__all__` are tables, not state."""
    match statement:
        case ast.Assign(targets=targets, value=value):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(name), annotation=annotation, value=ast.expr() as value):
            names = [] if "Final" in ast.unparse(annotation) or "ClassVar" in ast.unparse(annotation) else [name]
        case _:
            return
    if isinstance(value, _MUTABLE_LITERALS) or (isinstance(value, ast.Call) and _called(value) in _TABLES):
        for name in names:
            if not name.isupper() and not name.startswith("__"):
                yield f"{statement.lineno}: {name} is mutable and at the top of a module"


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _is_state(call: ast.Call) -> bool:
    path = ast.unparse(call.func)
    return path.partition(".")[0] in _LOOP_BOUND or _called(call) in _CONTAINERS | _METRICS


def _endless(decorator: ast.expr) -> bool:
    text = ast.unparse(decorator).removeprefix("functools.")
    return text == "cache" or text.replace("maxsize=", "") == "lru_cache(None)"
