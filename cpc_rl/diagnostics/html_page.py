"""A page of pictures, tables and text in one HTML file that needs nothing else."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; border-top: 1px solid #8886; padding-top: 1rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; } figure { margin: .5rem 0 1rem; } figcaption { font-size: .85rem; }
img { max-width: 100%; height: auto; image-rendering: pixelated; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; }
svg { max-width: 100%; height: auto; }
"""


@dataclass
class Page:
    """
    :param title: of the page
    """

    title: str
    parts: list[str] = field(default_factory=list)

    def section(self, title: str, text: str) -> None:
        """A heading and a paragraph."""
        self.parts.append(f"<h2>{html.escape(title)}</h2>\n<p>{html.escape(text)}</p>")

    def picture(self, array: NDArray[np.uint8], caption: str) -> None:
        """:param array: ``(H, W, 3)``"""
        text = html.escape(caption, quote=True)
        height, width = array.shape[:2]
        source = f"data:image/png;base64,{base64.b64encode(png(array)).decode()}"
        image = f'<img alt="{text}" width="{width}" height="{height}" src="{source}">'
        self.parts.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values."""
        cells = (f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
        self.parts.append(f"<table>{''.join(cells)}</table>")

    def curve(self, x: Sequence[float], y: Sequence[float], x_name: str, y_name: str) -> None:
        """A line, as inline SVG with the ends of its axes written on them."""
        width, height, left, bottom = 640, 220, 70, 30
        low, high = min(y), max(y)
        span_x, span_y = (max(x) - min(x)) or 1.0, (high - low) or 1.0
        points = [
            (left + (a - min(x)) / span_x * (width - left - 10), 10 + (high - b) / span_y * (height - bottom - 10))
            for a, b in zip(x, y, strict=True)
        ]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        texts = [
            (left, height - 8, "start", f"{min(x):,.0f}"),
            (width - 10, height - 8, "end", f"{max(x):,.0f} {x_name}"),
            (left - 6, height - bottom, "end", f"{low:.4g}"),
            (left - 6, 18, "end", f"{high:.4g}"),
        ]
        labels = "".join(
            f'<text x="{a}" y="{b}" text-anchor="{anchor}" font-size="12" fill="currentColor">{html.escape(text)}</text>'
            for a, b, anchor, text in texts
        )
        name = html.escape(f"{y_name} over {x_name}", quote=True)
        axes = f'<path d="M{left} 10V{height - bottom}H{width - 10}" fill="none" stroke="currentColor" opacity=".4"/>'
        drawn = f'<polyline points="{line}" fill="none" stroke="#2a788e" stroke-width="2"/>'
        svg = f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{name}">{axes}{drawn}{labels}</svg>'
        self.parts.append(f"<figure>{svg}<figcaption>{name}</figcaption></figure>")

    def text(self) -> str:
        """The whole file."""
        title = html.escape(self.title)
        head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
        body = "\n".join(self.parts)
        top = f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>'
        return f"{top}\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"


def png(array: NDArray[np.uint8]) -> bytes:
    """:param array: ``(H, W, 3)``"""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()
