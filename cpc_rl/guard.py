"""How hooks tell the plugin's own passes from the algorithm's."""


class Guard:
    """Marks the passes that are our own, so that no hook takes them for the algorithm's. One for all hooks of a model."""

    busy = False

    def __enter__(self) -> None:
        self.busy = True

    def __exit__(self, *_: object) -> None:
        self.busy = False
