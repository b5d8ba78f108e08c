"""Digits pre-trained without labels; the command is in ``__main__``."""
