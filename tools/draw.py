"""`make arch`: draws images/arch.png from the synthesized stacks."""

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib import rc_context, rcdefaults
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from ops.core import synthesis
from ops.core.environment import ROOT
from tools.draw_layout import HEIGHT, PAPER, WIDTH, Arrow, Box, Shape, Text, layout
from tools.draw_model import Json, ModelError, read_model

PICTURE: Final = ROOT / "images" / "arch.png"

# The picture is of the defaults, whatever a person's own settings are: what has no default is as in settings.toml's
# examples.
SETTINGS: Final = """
[access]
deployer_cidrs = ["203.0.113.7/32"]
ssh_keypair_name = "my-key"
[state]
bucket = "my-terraform-state"
"""

_DPI: Final = 100


class DrawError(Exception):
    """The picture cannot be drawn; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Draw the picture; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.draw", description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURE, help="the PNG to write")
    output: Path = parser.parse_args(arguments).output
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        render(layout(read_model(synthesize())), output)
    except (DrawError, ModelError, OSError) as error:
        print(f"draw: {error}", file=sys.stderr)
        return 1
    print(f"Drawn: {output}")
    return 0


def synthesize() -> dict[str, Json]:
    """Return the Terraform JSON of each stack, from the app itself under SETTINGS. Raises DrawError."""
    with tempfile.TemporaryDirectory() as folder:
        settings, outdir = Path(folder, "settings.toml"), Path(folder, "cdktf.out")
        settings.write_text(SETTINGS, encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ML_INFRA_")}
        try:
            synthesis.synthesize(outdir, environment | {"ML_INFRA_SETTINGS": str(settings)})
        except synthesis.SynthesisError as error:
            raise DrawError(str(error)) from None
        files = sorted(outdir.glob("stacks/*/cdk.tf.json"))
        return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def digest(shapes: Sequence[Shape]) -> str:
    """Return the text in the PNG that identifies the drawing: independent of matplotlib's version and the fonts."""
    text = json.dumps([[type(shape).__name__, *shape] for shape in shapes])
    return f"drawing sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def figure(shapes: Sequence[Shape]) -> Figure:
    """Return the painted shapes: a figure of the Agg backend, WIDTH x HEIGHT pixels."""
    # A person's matplotlibrc has no say.
    with rc_context():
        rcdefaults()
        painted = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, facecolor=PAPER)
        FigureCanvasAgg(painted)
        axes = painted.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        axes.axis("off")
        for order, shape in enumerate(shapes):
            _paint(axes, shape, order)
        return painted


def render(shapes: Sequence[Shape], output: Path) -> None:
    """Write the PNG; the same shapes give the same bytes, since nothing in it is of this machine or moment."""
    with rc_context():
        rcdefaults()
        figure(shapes).savefig(output, format="png", metadata={"Software": None, "Description": digest(shapes)})


def _paint(axes: Axes, shape: Shape, order: int) -> None:
    match shape:
        case Box():
            style = "round,pad=0,rounding_size=6"
            line = "--" if shape.dashed else "-"
            size = (shape.width, shape.height)
            box = FancyBboxPatch((shape.x, shape.y), *size, style, fc=shape.fill, ec=shape.edge, ls=line, zorder=order)
            axes.add_patch(box)
            if shape.accent:
                strip = Rectangle((shape.x, shape.y), 6, shape.height, color=shape.edge, lw=0, zorder=order)
                strip.set_clip_path(box)
                axes.add_patch(strip)
        case Text():
            axes.text(
                shape.x,
                shape.y,
                shape.text,
                color=shape.colour,
                size=shape.size * 72 / _DPI,
                weight="bold" if shape.bold else "normal",
                ha=shape.align,
                va="center_baseline",
                parse_math=False,
                zorder=order,
            )
        case Arrow():
            xs, ys = zip(*shape.points, strict=True)
            axes.plot(xs, ys, color=shape.colour, lw=1.5, ls="--" if shape.dashed else "-", zorder=order)
            (x0, y0), (x, y) = shape.points[-2:]
            length = math.hypot(x - x0, y - y0)
            dx, dy = (x - x0) / length, (y - y0) / length
            back = (x - 9 * dx, y - 9 * dy)
            head = [(x, y), (back[0] - 5 * dy, back[1] + 5 * dx), (back[0] + 5 * dy, back[1] - 5 * dx)]
            axes.add_patch(Polygon(head, color=shape.colour, lw=0, zorder=order))


if __name__ == "__main__":
    sys.exit(main())
