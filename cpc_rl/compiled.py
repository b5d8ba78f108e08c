"""Networks and methods that were compiled, while something has to hook what they hold."""

from collections.abc import Iterable
from typing import Any

from torch import nn

CALL = "_compiled_call_impl"  # what Module.compile() leaves
ORIGINAL = "_torchdynamo_orig_callable"  # what torch.compile(method) has of the method


class UncompiledHolders:
    """
    Lets modules compute as they are, and not by a compiled graph, while hooks stand on modules inside of them: a graph that
    was compiled before knows no hook that is put in place later, and would not be made anew for one. That is of modules on
    which ``compile()`` was called, and of methods that were assigned, as by ``policy.evaluate_actions = torch.compile(...)``.

    :param policy: where to look
    :param hooked: the modules with hooks; these themselves may go on as they were compiled, for a call sees its own hooks
    """

    def __init__(self, policy: nn.Module, hooked: Iterable[nn.Module]) -> None:
        self.policy, self.hooked = policy, set(hooked)
        self._put_away: list[tuple[nn.Module, str, Any]] = []

    def attach(self) -> None:
        """Put the graphs away; once, however often it is called."""
        if self._put_away:
            return
        for module in self.policy.modules():
            # Past the module's own __setattr__: what torch.compile(module) gives hands attributes on to what it wraps.
            own = vars(module)
            graphs = {name: getattr(value, ORIGINAL) for name, value in own.items() if hasattr(value, ORIGINAL)}
            if own.get(CALL) is not None:
                graphs[CALL] = None
            if graphs and any(part in self.hooked for part in module.modules() if part is not module):
                self._put_away += [(module, name, own[name]) for name in graphs]
                own.update(graphs)

    def detach(self) -> None:
        """Bring them back; harmless if there is none."""
        for module, name, graph in self._put_away:
            vars(module)[name] = graph
        self._put_away.clear()
