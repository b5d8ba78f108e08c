"""Networks and methods that were compiled, while something has to hook what they hold."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from cpc_rl.weak_hooks import ends_itself

CALL = "_compiled_call_impl"  # what Module.compile() leaves
ORIGINAL = "_torchdynamo_orig_callable"  # what torch.compile(method) has of the method


class UncompiledHolders:
    """
    Lets modules compute as they are, and not by a compiled graph, while hooks stand on modules inside of them: a graph that
    was compiled before knows no hook that is put in place later, and would not be made anew for one. That is of modules on
    which ``compile()`` was called, and of methods that were assigned, as by ``policy.evaluate_actions = torch.compile(...)``.

    :param policy: where to look
    :param hooked: the modules with hooks; these themselves may go on as they were compiled, for a call sees its own hooks
    :param alive: says whether the ``learn()`` that this belongs to still runs; after an interrupted update the graphs come
        back in another one, each with the first pass through what is hooked inside of it, whose hooks so see that pass
    """

    def __init__(self, policy: nn.Module, hooked: Iterable[nn.Module], alive: Callable[[], bool]) -> None:
        self.hooked, self.alive = set(hooked), alive
        # Once: an off-policy algorithm comes by at every step.
        self._holders = [
            module
            for module in policy.modules()
            if any(part in self.hooked for part in module.modules() if part is not module)
        ]
        self._put_away: list[tuple[nn.Module, str, Any, Any]] = []  # whose, what, the graph, and what is there in its place
        self._handles: dict[nn.Module, RemovableHandle] = {}

    def attach(self) -> None:
        """Put the graphs away; once, however often it is called."""
        if self._put_away:
            return
        for module in self._holders:
            # Past the module's own __setattr__: what torch.compile(module) gives hands attributes on to what it wraps.
            own = vars(module)
            plain: dict[str, Any] = {name: value.__wrapped__ for name, value in own.items() if is_graph(value)}
            if own.get(CALL) is not None:
                plain[CALL] = None
            self._put_away += [(module, name, own[name], value) for name, value in plain.items()]
            own.update(plain)
        if self._put_away:
            self._handles = {part: ends_itself(part, self.alive, partial(self._bring_back, part)) for part in self.hooked}

    def detach(self) -> None:
        """Bring them back, but for those in whose place there is something else by now; harmless if there is none."""
        for part in list(self._handles):
            self._bring_back(part)

    def _bring_back(self, part: nn.Module) -> None:
        """Of those that hold a hooked module."""
        self._handles.pop(part).remove()
        of_part = [entry for entry in self._put_away if any(inner is part for inner in entry[0].modules())]
        for module, name, graph, value in of_part:
            if vars(module).get(name, graph) is value:
                vars(module)[name] = graph
        self._put_away = [entry for entry in self._put_away if entry not in of_part]


def is_graph(value: Any) -> bool:
    """Whether this is what ``torch.compile`` made of a function, and no wrapper around that which took on its attributes."""
    original = getattr(value, ORIGINAL, None)
    return original is not None and getattr(value, "__wrapped__", None) is original
