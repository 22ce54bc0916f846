"""What pydbsync says of faults, read from its source: the texts of all errors and warnings, with … for what varies.

A text is followed to where it is written: through names of the same function, constants of the module, both arms of a
condition, and functions of the package that do nothing but return one. What only passes on what another error says
(`str(exc)`) has no text of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydbsync import errors

PACKAGE = Path(errors.__file__).parent
HOLE = "…"
LOGGED = {"warning", "error", "exception"}
"""Methods of a logger whose lines ask a person for something."""
WARNING = "warning"
PARKED = "parked"
NO_TEXT = {"Away", "UnknownTable"}
"""Errors whose first argument is no text: the text is made from it."""
REASONED = {
    "park_row": (PARKED, 1), "park_whole": (PARKED, 3), "park_delivery": (PARKED, 1), "Judgement": (PARKED, 1),
    "ParkedChange": (PARKED, None), "Proof": ("", None), "_Fault": ("", 0), "refusal": ("", 1),
    "ChangeRefused": ("", 1),
}  # fmt: skip
"""What carries a reason without raising an error: its kind, and where the reason stands if not as `reason=`."""
FOREIGN = ("ValueError",)
"""Errors of Python with a text of ours: it stands within that of another error."""
_FORMATTED = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[a-zA-Z]")


@dataclass(frozen=True, slots=True)
class Spoken:
    """One text. `kind` is its class in pydbsync/errors.py, `warning`, or "" where it is a part of another text."""

    text: str
    kind: str
    where: str


def all_spoken() -> list[Spoken]:
    return said_in(
        {
            str(path.relative_to(PACKAGE)): Module(ast.parse(path.read_text(encoding="utf-8")))
            for path in sorted(PACKAGE.rglob("*.py"))
        }
    )


def said_in(modules: Mapping[str, Module]) -> list[Spoken]:
    """What these modules, by their names, say; each text once for each kind."""
    kinds = _kinds(module.tree for module in modules.values())
    found: dict[tuple[str, str], Spoken] = {}
    for name, module in modules.items():
        for call, function in module.calls():
            kind, argument = _said_by(call, function, kinds)
            if argument is None:
                continue
            for text in module.texts(argument, function):
                plain = _plain(text, logged=kind == WARNING)
                if any(map(str.isalpha, plain)):
                    found.setdefault((kind, plain), Spoken(plain, kind, f"{name}:{call.lineno}"))
    return list(found.values())


def _kinds(modules: Iterable[ast.Module]) -> dict[str, str]:
    """Class → the class of errors.py that it is or comes from; "" for one of another tree."""
    bases = {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    own = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    def kind(name: str) -> str | None:
        if name in own:
            return name
        if name in FOREIGN or name == "Exception":
            return ""
        return next((found for base in bases.get(name, ()) if (found := kind(base)) is not None), None)

    return {name: found for name in (*bases, *own, *FOREIGN) if (found := kind(name)) is not None}


def _said_by(call: ast.Call, function: ast.FunctionDef | None, kinds: dict[str, str]) -> tuple[str, ast.expr | None]:
    name = _name(call)
    if name in REASONED:
        kind, place = REASONED[name]
        given = next((each.value for each in call.keywords if each.arg == "reason"), None)
        if given is None and place is not None and place < len(call.args):
            given = call.args[place]
        return kind, given
    if name in kinds and name not in NO_TEXT and call.args:
        return kinds[name], call.args[0]
    if function and name == "error" and name in _parameters(function) and call.args:
        return "", call.args[0]  # the class is what the caller wants
    if name in LOGGED and isinstance(call.func, ast.Attribute) and call.args:
        return WARNING, call.args[0]
    return "", None


def _plain(text: str, *, logged: bool) -> str:
    """On one line, with one … for what varies."""
    text = _FORMATTED.sub(HOLE, text) if logged else text
    return re.sub(rf"{HOLE}(?:{HOLE})+", HOLE, " ".join(text.split()))


class Module:
    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self._functions: dict[str, ast.FunctionDef] = {}
        self._calls: list[tuple[ast.Call, ast.FunctionDef | None]] = []
        self._called: dict[str, list[tuple[ast.Call, ast.FunctionDef | None]]] = {}
        self._walk(tree, None)

    def calls(self) -> Sequence[tuple[ast.Call, ast.FunctionDef | None]]:
        return self._calls

    def _walk(self, node: ast.AST, function: ast.FunctionDef | None) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                self._functions[child.name] = child
                self._walk(child, child)
                continue
            if isinstance(child, ast.Call):
                self._calls.append((child, function))
                self._called.setdefault(_name(child), []).append((child, function))
            self._walk(child, function)

    def texts(self, node: ast.expr, function: ast.FunctionDef | None, depth: int = 6) -> list[str]:
        """What `node` can be, as texts with holes."""
        match node:
            case _ if not depth:
                return [HOLE]
            case ast.Constant(value=str() as text):
                return [text]
            case ast.JoinedStr(values=values):
                return _joined([self.texts(each, function, depth) for each in values])
            case ast.FormattedValue(value=value):
                found = self.texts(value, function, 1)
                return found if isinstance(value, ast.Constant | ast.IfExp) else [HOLE]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([self.texts(left, function, depth), self.texts(right, function, depth)])
            case ast.BinOp(left=left, op=ast.Mod()):
                return [_FORMATTED.sub(HOLE, text) for text in self.texts(left, function, depth)]
            case ast.IfExp(body=body, orelse=orelse):
                return [*self.texts(body, function, depth - 1), *self.texts(orelse, function, depth - 1)]
            case ast.BoolOp(values=values):
                return [text for value in values for text in self.texts(value, function, depth - 1)]
            case ast.Call(func=ast.Attribute(value=value, attr="format")):
                return [re.sub(r"\{\w*\}", HOLE, text) for text in self.texts(value, function, depth - 1)]
            case ast.Call(func=ast.Attribute(value=value, attr="rstrip")):
                return self.texts(value, function, depth - 1)
            case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(elt=each) | ast.ListComp(elt=each)]):
                return self.texts(each, function, depth - 1)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in self._functions:
                return self._returned(self._functions[name], depth - 1)
            case ast.Name(id=name):
                return self._named(name, function, depth - 1)
            case ast.Tuple(elts=rows):  # a table of reasons: what of it is a sentence
                words = [each for row in rows for each in getattr(row, "elts", ())]
                return [text for word in words for text in self.texts(word, function, depth - 1) if "{" in text]
        return [HOLE]

    def _returned(self, function: ast.FunctionDef, depth: int) -> list[str]:
        values = [each.value for each in ast.walk(function) if isinstance(each, ast.Return) and each.value]
        return [text for value in values for text in self.texts(value, function, depth)] or [HOLE]

    def _named(self, name: str, function: ast.FunctionDef | None, depth: int) -> list[str]:
        if function and name in (parameters := [each.arg for each in function.args.args]):
            return self._given(function, name, parameters.index(name), depth)
        values = [
            value
            for scope in (function, self.tree) if scope
            for node in (ast.walk(scope) if scope is function else scope.body)
            if (value := _assigned(node, name)) is not None
        ]  # fmt: skip
        return [text for value in values for text in self.texts(value, function, depth)] or [HOLE]

    def _given(self, function: ast.FunctionDef, name: str, index: int, depth: int) -> list[str]:
        """What the calls of this module give for a parameter."""
        is_method = bool(function.args.args) and function.args.args[0].arg == "self"
        found = []
        for call, caller in self._called.get(function.name, ()):
            if caller is function:
                continue
            place = index - (is_method and isinstance(call.func, ast.Attribute))
            given = next((each.value for each in call.keywords if each.arg == name), None)
            if given is None and place < len(call.args):
                given = call.args[place]
            if given is not None:
                found += self.texts(given, caller, depth)
        return found or [HOLE]


def _assigned(node: ast.AST, name: str) -> ast.expr | None:
    match node:
        case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
            return value
        case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
            return value
        case ast.NamedExpr(target=ast.Name(id=found), value=value) if found == name:
            return value
        case ast.For(target=target, iter=ast.Name() as table) if name in _names(target):
            return table
    return None


def _name(call: ast.Call) -> str:
    """The last word of what is called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _joined(parts: Sequence[Sequence[str]]) -> list[str]:
    texts = [""]
    for part in parts:
        texts = [text + each for text in texts for each in part]
    return texts
