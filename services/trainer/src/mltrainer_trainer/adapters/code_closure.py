"""Finds the sources that a result depends on, and digests what they say rather than how they are written."""

import ast
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PROJECT_PREFIX = "mltrainer_"
# A module, or something in it, that is named by a string: `package.module:Name`.
_REFERENCE = re.compile(r"\w+(\.\w+)+(:\w+(\.\w+)*)?")
# Files beside the sources that a package reads.
_DATA_SUFFIXES = frozenset({".json", ".toml", ".yaml", ".csv"})
_PACKAGE_FILE = "__init__.py"


@dataclass(frozen=True, slots=True)
class SourceModule:
    """A module or package that was read: what it says, as a digest, and the modules that it may name."""

    path: Path
    digest: str
    references: tuple[str, ...]


ReadSource = Callable[[str, Path], SourceModule]
"""Reads the source of a module, given its name and place."""


def read_source(name: str, path: Path) -> SourceModule:
    """Parses a source."""
    tree = ast.parse(path.read_bytes())
    package = name if path.name == _PACKAGE_FILE else name.rpartition(".")[0]
    references = tuple(sorted(set(_references(package, tree))))
    return SourceModule(path, hashlib.sha256(meaning(tree)).hexdigest(), references)


def closure(
    roots: Iterable[str],
    alone: Iterable[str] = (),
    prefix: str = PROJECT_PREFIX,
    read: ReadSource = read_source,
) -> dict[str, SourceModule]:
    """Returns modules and packages with all that they import of this project, by module name.

    A package among the roots stands for all of its modules. Imports inside functions count, and so do
    modules that are named by strings, such as the code behind a catalogue entry. What stands alone is taken
    without its imports.

    Raises:
        ModuleNotFoundError: A root is not installed.
    """
    found = {name: read(name, _required(name)) for name in alone}
    waiting = [name for root in roots for name in _expanded(root)]
    seen = set(found)
    while waiting:
        name = waiting.pop()
        path = None if name in seen else _path(name)
        seen.add(name)
        if path is None:
            continue
        found[name] = read(name, path)
        waiting += _parents(name)
        waiting += [it for it in found[name].references if it.startswith(prefix)]
    return found


def closure_digest(modules: Mapping[str, SourceModule]) -> str:
    """Hashes modules by name and meaning: layout, comments, docstrings and places of files do not count."""
    digest = hashlib.sha256()
    for name, content in sorted(_contents(modules)):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def meaning(tree: ast.Module) -> bytes:
    """Spells a syntax tree, whose docstrings are taken out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_bare_string(statement)]
    return ast.dump(tree).encode("utf-8", "surrogatepass")


def _is_bare_string(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def _contents(modules: Mapping[str, SourceModule]) -> Iterator[tuple[str, bytes]]:
    for name, module in modules.items():
        yield name, module.digest.encode()
        if module.path.name != _PACKAGE_FILE:
            continue
        for path in module.path.parent.iterdir():
            if path.suffix in _DATA_SUFFIXES:
                yield f"{name}/{path.name}", path.read_bytes()


def _required(name: str) -> Path:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"{name} is not installed: the trainer cannot say what it executes")
    return path


def _expanded(root: str) -> list[str]:
    path = _required(root)
    if path.name != _PACKAGE_FILE:
        return [root]
    parts = [file.relative_to(path.parent).with_suffix("").parts for file in path.parent.rglob("*.py")]
    return [".".join((root, *inner)).removesuffix(".__init__") for inner in parts]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _references(package: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                origin = _origin(package, module or "", level)
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if _REFERENCE.fullmatch(text):
                yield from _named(text)


def _origin(package: str, module: str, level: int) -> str:
    if not level:
        return module
    parts = package.split(".")
    kept = parts[: len(parts) - level + 1]
    return ".".join([*kept, module] if module else kept)


def _named(text: str) -> list[str]:
    """Lists what a string may mean: the module before a colon, or any beginning of a dotted path."""
    parts = text.partition(":")[0].split(".")
    return [".".join(parts[:count]) for count in range(2, len(parts) + 1)]


def _path(name: str) -> Path | None:
    """Finds a source without importing what is around it; None where the name is no module."""
    top, *inner = name.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    if not inner:
        return Path(spec.origin)
    place = Path(spec.origin).parent.joinpath(*inner)
    candidates = (place / _PACKAGE_FILE, place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)
