"""Changes inputs of computations, some so that results may differ and some so that they cannot.

Whether a change of code means anything is judged independently of our digest: by the byte code that Python
compiles it to, without docstrings and line numbers.
"""

import ast
import copy
import json
import random
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from mltrainer_models.canonical import encode_canonical
from mltrainer_models.computation_key import ComputationInputs, computation_key
from mltrainer_models.content import content_digest
from mltrainer_models.training_key import CatalogueModel, TrainingInputs, ViewRead, training_computation
from mltrainer_scheduler.domain.keys import BarCalendar
from mltrainer_trainer.adapters.code_closure import SourceModule, closure_digest, meaning, read_source


@dataclass(slots=True)
class Count:
    """What came out of one kind of change."""

    kind: str
    cases: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What decides a training, as the scheduler has it before it computes a key."""

    training: TrainingInputs
    code_digest: str
    environment_digest: str
    models: tuple[CatalogueModel, ...]
    views: tuple[ViewRead, ...]

    def key(self) -> str:
        """Returns its key."""
        return computation_key(self.inputs())

    def inputs(self) -> ComputationInputs:
        """Returns what the key hashes."""
        return training_computation(
            self.training,
            code_digest=self.code_digest,
            environment_digest=self.environment_digest,
            models=self.models,
            views=self.views,
        )


def draw_request(draw: random.Random) -> Request:
    """Draws a training."""
    symbols = draw.sample([f"S{number:03d}" for number in range(200)], draw.randint(2, 30))
    models = [
        CatalogueModel(f"m{number}", "f", f"{draw.getrandbits(256):064x}", frozenset()) for number in range(9)
    ]
    views = [
        ViewRead(f"view{number}", draw.randint(1, 9), f"{draw.getrandbits(256):064x}", draw.randint(0, 99))
        for number in range(draw.randint(1, 4))
    ]
    as_of = datetime(2020, 1, 1, 21, tzinfo=UTC) + timedelta(days=draw.randint(0, 1000))
    training = TrainingInputs(
        draw.choice(["LOG_REALIZED_VARIANCE", "EXCESS_RETURN", "DIRECTION"]),
        draw.randint(1, 20),
        symbols,
        as_of,
        as_of - timedelta(days=draw.randint(200, 900)),
        draw.randint(1, 252),
        draw.randint(0, 20),
        draw.randint(1, 200),
        draw.randint(0, 2**40),
        float(draw.randint(1, 10_000)),
    )
    chosen = tuple(draw.sample(models, draw.randint(1, 9)))
    return Request(
        training, f"{draw.getrandbits(256):064x}", f"{draw.getrandbits(256):064x}", chosen, tuple(views)
    )


def change_request(request: Request, draw: random.Random) -> Request:
    """Changes one input, by as little as it can be."""
    choice = draw.randrange(14)
    if choice < len(fields(TrainingInputs)):
        name = fields(TrainingInputs)[choice].name
        return replace(request, training=replace(request.training, **{name: _other(request, name, draw)}))
    index = draw.randrange(len(request.views))
    view = request.views[index]
    match choice:
        case 10:
            return replace(request, code_digest=_flip(request.code_digest, draw))
        case 11:
            return replace(request, environment_digest=_flip(request.environment_digest, draw))
        case 12:
            position = draw.randrange(len(request.models))
            model = request.models[position]
            changed = replace(model, digest=_flip(model.digest, draw))
            return replace(request, models=_with(request.models, position, changed))
    other = draw.choice(
        [
            replace(view, data_revision=view.data_revision + 1),
            replace(view, version=view.version + 1),
            replace(view, definition_digest=_flip(view.definition_digest, draw)),
            replace(view, feature_view=view.feature_view + "x"),
        ]
    )
    return replace(request, views=_with(request.views, index, other))


def _with(items: tuple[Any, ...], index: int, item: Any) -> tuple[Any, ...]:
    return (*items[:index], item, *items[index + 1 :])


def _other(request: Request, name: str, draw: random.Random) -> Any:
    value = getattr(request.training, name)
    match value:
        case str():
            return value + "X"
        case datetime():
            return value + timedelta(microseconds=draw.choice([-1, 1]))
        case float():
            return float(np.nextafter(value, np.inf))
        case int():
            return value + 1
    changed = list(value)
    changed[draw.randrange(len(changed))] += "."
    return draw.choice([changed, [*value, "NEW"], list(value)[1:]])


def _flip(digest: str, draw: random.Random) -> str:
    position = draw.randrange(len(digest))
    return digest[:position] + ("0" if digest[position] != "0" else "1") + digest[position + 1 :]


def respell_request(request: Request, draw: random.Random) -> Request:
    """Spells the same inputs in another way: order, numbers, zones of time, a moment of the same bar."""
    training = request.training
    symbols = draw.sample(list(training.symbols), len(training.symbols))
    zone = draw.choice([UTC, datetime.now().astimezone().tzinfo])
    late = training.as_of + timedelta(seconds=draw.randint(0, 86_399))
    respelled = replace(
        training,
        symbols=symbols,
        first_test_time=training.first_test_time.astimezone(zone),
        as_of=BarCalendar().closed(late),
        cpu_seconds=int(training.cpu_seconds),
    )
    return replace(
        request,
        training=respelled,
        models=tuple(draw.sample(request.models, len(request.models))),
        views=tuple(draw.sample(request.views, len(request.views))),
    )


def count_requests(cases: int, draw: random.Random) -> Iterator[Count]:
    """Changes and respells requests."""
    changed, respelled = Count("request: one input changed"), Count("request: order, spelling, same bar")
    for _ in range(cases):
        request = draw_request(draw)
        key = request.key()
        changed.cases += 1
        changed.wrong += change_request(request, draw).key() == key
        respelled.cases += 1
        respelled.wrong += respell_request(request, draw).key() != key
    yield from (changed, respelled)


class _Mutation(ast.NodeTransformer):
    """Changes the node of a number."""

    def __init__(self, wanted: int, draw: random.Random) -> None:
        self._wanted = wanted
        self._draw = draw

    def generic_visit(self, node: ast.AST) -> ast.AST:
        self._wanted -= 1
        if self._wanted == 0:
            return self._changed(node)
        return super().generic_visit(node)

    def _changed(self, node: ast.AST) -> ast.AST:
        match node:
            case ast.Constant() | ast.Name() | ast.Attribute():
                return _other_name(node)
            case ast.Return(value=value) if value is not None:
                return ast.Return(ast.Constant(None))
            case ast.Call(func=function, args=[first, second, *rest], keywords=keywords):
                return ast.Call(function, [second, first, *rest], keywords)
            case ast.If(test=test, body=body, orelse=other_body):
                return ast.If(ast.UnaryOp(ast.Not(), test), body, other_body)
        return _other_operator(node)


def _other_name(node: ast.Constant | ast.Name | ast.Attribute) -> ast.AST:
    match node:
        case ast.Constant(value=bool(truth)):
            return ast.Constant(not truth)
        case ast.Constant(value=int(number) | float(number)):
            return ast.Constant(number + 1)
        case ast.Constant(value=str(text)):
            return ast.Constant(text + "x")
        case ast.Name(id=name, ctx=context):
            return ast.Name(name + "_", context)
        case ast.Attribute(value=owner, attr=name, ctx=context):
            return ast.Attribute(owner, name + "_", context)
    return node


def _other_operator(node: ast.AST) -> ast.AST:
    match node:
        case ast.BinOp(left=left, op=operator, right=right):
            return ast.BinOp(left, ast.Sub() if isinstance(operator, ast.Add) else ast.Add(), right)
        case ast.Compare(left=left, ops=[operator, *rest], comparators=comparators):
            other = ast.LtE() if isinstance(operator, ast.Lt) else ast.Lt()
            return ast.Compare(left, [other, *rest], comparators)
        case ast.BoolOp(op=operator, values=values):
            return ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(operand=operand):
            return operand
    return node


def change_source(tree: ast.Module, draw: random.Random) -> str:
    """Changes one node of a source, other than of its layout."""
    count = sum(1 for _ in ast.walk(tree))
    changed = _Mutation(draw.randint(1, count), draw).visit(copy.deepcopy(tree))
    return ast.unparse(ast.fix_missing_locations(changed))


def relay_out(source: str, draw: random.Random) -> str:
    """Lays a source out anew: no comments or other comments, other blank lines, quotes and indents."""
    text = source if draw.random() < 0.5 else ast.unparse(ast.parse(source))
    lines: list[str] = []
    for line in text.splitlines():
        if draw.random() < 0.05 and not line.strip() and lines and not _is_open("\n".join(lines)):
            lines += ["", "# another comment", ""]
        lines.append(line)
    return "\n".join(["# first", *lines, "", "# last", ""])


def _is_open(text: str) -> bool:
    """Says whether a text may end within a string."""
    return text.count('"""') % 2 == 1


def bytecode(code: types.CodeType) -> tuple[Any, ...]:
    """Returns what a source does, whatever its lines and files are."""
    constants = [bytecode(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_name)
    return (code.co_code, code.co_exceptiontable, tuple(constants), names, code.co_flags)


def _meaningful(source: str) -> tuple[Any, ...] | None:
    try:
        return bytecode(compile(source, "module", "exec", optimize=2, dont_inherit=True))
    except (SyntaxError, ValueError):
        return None


def count_sources(modules: dict[str, SourceModule], cases: int, draw: random.Random) -> Iterator[Count]:
    """Changes and lays out sources of the closure that trainings depend on."""
    changed, relaid = Count("code: one node changed"), Count("code: layout, comments")
    texts = {name: module.path.read_text() for name, module in modules.items()}
    known = {name: (text, ast.parse(text)) for name, text in texts.items()}
    names = sorted(name for name, (text, _) in known.items() if len(text) > 200)
    # Spelled alike: the compiler leaves empty instructions where lines break.
    original = {name: _meaningful(ast.unparse(known[name][1])) for name in names}
    digests = {name: meaning(ast.parse(known[name][0])) for name in names}
    while min(changed.cases, relaid.cases) < cases:
        name = draw.choice(names)
        text, tree = known[name]
        mutated = change_source(tree, draw)
        does = _meaningful(mutated)
        if changed.cases < cases and does is not None and does != original[name]:
            changed.cases += 1
            changed.wrong += meaning(ast.parse(mutated)) == digests[name]
        laid_out = relay_out(text, draw)
        if relaid.cases < cases and _meaningful(ast.unparse(ast.parse(laid_out))) == original[name]:
            relaid.cases += 1
            relaid.wrong += meaning(ast.parse(laid_out)) != digests[name]
    yield from (changed, relaid, _moved(modules))


def _moved(modules: dict[str, SourceModule]) -> Count:
    """Reads every source from another path."""
    places = {name: module.path for name, module in modules.items() if module.path.name != "__init__.py"}
    moved = Count("code: other paths", len(places))
    with tempfile.TemporaryDirectory() as text:
        here, elsewhere = {}, {}
        for number, (name, path) in enumerate(places.items()):
            copied = Path(text) / str(number) / path.name
            copied.parent.mkdir()
            shutil.copyfile(path, copied)
            here[name], elsewhere[name] = read_source(name, path), read_source(name, copied)
        moved.wrong = moved.cases * (closure_digest(elsewhere) != closure_digest(here))
    return moved


def count_contents(cases: int, draw: random.Random) -> Iterator[Count]:
    """Changes single bits of rows and parameters of fits, and their order and layout in memory."""
    changed, respelled = Count("rows, parameters: one bit changed"), Count("rows, parameters: layout, order")
    random_numbers = np.random.default_rng(draw.getrandbits(32))
    for _ in range(cases):
        matrix = random_numbers.normal(size=(draw.randint(2, 60), draw.randint(1, 12)))
        labels = random_numbers.normal(size=len(matrix))
        parameters = {"alpha": draw.random(), "depth": draw.randint(1, 9), "loss": "l2"}
        fields_of_fit = {"matrix": matrix, "labels": labels, "parameters": parameters, "seed": 7}
        digest = content_digest(fields_of_fit)
        changed.cases += 1
        changed.wrong += content_digest(_with_one_bit(fields_of_fit, draw)) == digest
        respelled.cases += 1
        again = {name: fields_of_fit[name] for name in draw.sample(sorted(fields_of_fit), 4)}
        again["matrix"] = np.asfortranarray(matrix)
        again["parameters"] = dict(reversed(json.loads(encode_canonical(parameters)).items()))
        respelled.wrong += content_digest(again) != digest
    yield from (changed, respelled)


def _with_one_bit(fit: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    def flipped(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raw = bytearray(array.tobytes())
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)

    changes: list[Callable[[], dict[str, Any]]] = [
        lambda: {"matrix": flipped(fit["matrix"])},
        lambda: {"labels": flipped(fit["labels"])},
        lambda: {"matrix": np.delete(fit["matrix"], 0, axis=0)},
        lambda: {"matrix": fit["matrix"].reshape(-1, 1)} if fit["matrix"].shape[1] > 1 else {"seed": 9},
        lambda: {"parameters": {**fit["parameters"], "alpha": np.nextafter(fit["parameters"]["alpha"], 2)}},
        lambda: {"parameters": {**fit["parameters"], "depth": float(fit["parameters"]["depth"])}},
        lambda: {"seed": 8},
    ]
    return {**fit, **draw.choice(changes)()}
