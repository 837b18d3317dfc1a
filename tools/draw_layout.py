"""Where everything of the picture goes: a model becomes boxes, texts and arrows, in pixels with y downwards."""

import posixpath
import textwrap
from typing import Final, NamedTuple

from tools.draw_model import Link, Model, Part, Ref, Stack, Subnet

WIDTH: Final = 1600
HEIGHT: Final = 1000
INK, GREY, FRAME, PAPER, WHITE = "#1f2937", "#566275", "#a3aebd", "#f6f8fb", "#ffffff"
STACK_COLOURS: Final = ("#1d4ed8", "#0f766e", "#c2410c", "#7e22ce", "#a16207", "#be185d")

_LEFT, _RIGHT = 20, 1110  # the region; to the right of it are the cards
_CARDS = _RIGHT + 30
_OUTSIDE, _REGION, _VPC, _PUBLIC, _BUS, _PRIVATE = 76, 158, 218, 288, 480, 506
_VPC_END, _STORAGE, _REGION_END = 798, 838, 980
_PUBLIC_HEIGHT, _PRIVATE_HEIGHT, _STORAGE_HEIGHT = 152, 268, 108


class Box(NamedTuple):
    """A rectangle; `accent` colours a strip at its left side."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    edge: str
    dashed: bool = False
    accent: bool = False

    @property
    def middle(self) -> float:
        """The x of the centre."""
        return self.x + self.width / 2

    @property
    def way_in(self) -> float:
        """The x at which what comes from outside arrives: clear of the labels of what it passes."""
        return self.x + 0.74 * self.width

    @property
    def bottom(self) -> float:
        """The y of the lower side."""
        return self.y + self.height


class Text(NamedTuple):
    """One line of text, vertically centred on y; align says which end is at x. size: pixels."""

    x: float
    y: float
    text: str
    size: float = 14
    colour: str = GREY
    bold: bool = False
    align: str = "left"


class Arrow(NamedTuple):
    """A line through the points, with a head at the last one."""

    points: tuple[tuple[float, float], ...]
    colour: str
    dashed: bool = False


Shape = Box | Text | Arrow


def layout(model: Model) -> list[Shape]:
    """Return the picture of a model, in painting order."""
    return _Layout(model).shapes()


class _Layout:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.colours = {s.name: STACK_COLOURS[n % len(STACK_COLOURS)] for n, s in enumerate(model.stacks)}
        self.boxes: dict[Ref, Box] = {}
        # Frames, then arrows, then what the arrows end at.
        self.frames: list[Shape] = []
        self.arrows: list[Shape] = []
        self.nodes: list[Shape] = []

    def shapes(self) -> list[Shape]:
        title = f"{len(self.model.stacks)} stacks, one private network"
        self.nodes += [
            Text(_LEFT, 26, title, 26, INK, bold=True),
            Text(_LEFT, 55, "Drawn from the synthesized Terraform JSON of the default settings (make arch)"),
        ]
        self.frame(_LEFT, _REGION, _RIGHT - _LEFT, _REGION_END - _REGION, f"AWS {self.model.region}", WHITE)
        self.network()
        self.storage()
        self.border()
        self.reach()
        y = self.state_card(_OUTSIDE)
        for stack in self.model.stacks:
            y = self.stack_card(stack, y + 16)
        self.legend(y + 16)
        return [Box(0, 0, WIDTH, HEIGHT, PAPER, FRAME), *self.frames, *self.arrows, *self.nodes]

    def frame(
        self, x: float, y: float, width: float, height: float, label: str, fill: str, dashed: bool = False
    ) -> None:
        self.frames += [Box(x, y, width, height, fill, FRAME, dashed), Text(x + 12, y + 16, label, 14, INK, bold=True)]

    def of(self, kind: str) -> list[Part]:
        return [part for part in self.model.parts if part.ref.kind == kind]

    def links(self, kind: str) -> list[Link]:
        return [link for link in self.model.links if link.kind == kind]

    def node(self, part: Part, x: float, y: float, width: float, height: float) -> None:
        colour = self.colours[part.ref.stack]
        box = self.boxes[part.ref] = Box(x, y, width, height, WHITE, colour, accent=True)
        top = box.y + box.height / 2 - 9 * len(part.lines)
        self.nodes += [box, Text(x + 16, top, _fit(part.title, width - 24, 15), 15, colour, bold=True)]
        self.nodes += [Text(x + 16, top + 18 * n, _fit(line, width - 24)) for n, line in enumerate(part.lines, 1)]

    def outside(self, x: float, title: str, line: str, y: float = _OUTSIDE, width: float = 190) -> Box:
        box = Box(x - width / 2, y, width, 56, "#eef1f5", GREY)
        self.nodes += [box, Text(x, y + 19, title, 15, INK, bold=True, align="center")]
        self.nodes.append(Text(x, y + 39, _fit(line, width - 16), align="center"))
        return box

    def inside(self, subnet: Subnet) -> list[Part]:
        """Return the content of a subnet, left to right: machines with a volume first, to keep lines apart."""
        users = {link.source for link in self.links("volume")}
        found = [part for part in self.model.parts if part.subnet == subnet.ref and part.ref.kind != _MOUNT_TARGET]
        return sorted(found, key=lambda part: (part.ref.kind == _NAT, part.ref not in users))

    def network(self) -> None:
        zones: dict[str, dict[bool, list[Subnet]]] = {}
        for subnet in sorted(self.model.subnets, key=lambda subnet: subnet.az):
            zones.setdefault(subnet.az, {True: [], False: []})[subnet.public].append(subnet)
        columns = {
            az: max(sum(max(1, len(self.inside(subnet))) for subnet in row) for row in rows.values())
            for az, rows in zones.items()
        }
        left, right = _LEFT + 20, _RIGHT - 20
        self.frames.append(Box(left, _VPC, right - left, _VPC_END - _VPC, "#f3f6fd", FRAME))
        self.nodes.append(Text(right - 16, _VPC + 18, f"VPC {self.model.vpc_cidr}", 14, INK, bold=True, align="right"))
        width = (right - left - 20 * (1 + 2 * len(zones))) / sum(columns.values())
        x = left + 20.0
        for az, rows in zones.items():
            span = columns[az] * width + 20
            self.zone = Box(x, _VPC + 38, span, 0, "", "")
            low = (_STORAGE + _STORAGE_HEIGHT if rows[False] else _PUBLIC + _PUBLIC_HEIGHT) + 10
            self.frame(x, _VPC + 38, span, low - _VPC - 38, az, "none", dashed=True)
            for public, y, height in ((True, _PUBLIC, _PUBLIC_HEIGHT), (False, _PRIVATE, _PRIVATE_HEIGHT)):
                at = x + 10
                for n, subnet in enumerate(rows[public]):
                    last = n == len(rows[public]) - 1
                    wide = x + span - 10 - at if last else width * max(1, len(self.inside(subnet)))
                    self.subnet(subnet, Box(at, y, wide, height, "", ""), width)
                    at += wide
            x += span + 20

    def subnet(self, subnet: Subnet, place: Box, width: float) -> None:
        x, y = place.x, place.y
        colour = "#f0fdf4" if subnet.public else "#fff7ed"
        box = self.boxes[subnet.ref] = Box(x, y, place.width, place.height, colour, FRAME)
        title = "Public subnet" if subnet.public else "Private subnet"
        self.frames += [box, Text(x + 12, y + 16, title, 14, INK, bold=True), Text(x + 12, y + 36, subnet.cidr)]
        parts = self.inside(subnet)
        for n, part in enumerate(parts):
            # What leads out stands at the right end, clear of the way in.
            right = part.ref.kind == _NAT
            column = place.width - width * (len(parts) - n) if right else width * n
            self.node(part, x + column + 10, y + 54, width - 20, 86 if subnet.public else 112)
        for part in self.of(_MOUNT_TARGET):
            if part.subnet == subnet.ref:
                self.node(part, x + 90, place.bottom - 48, place.width - 100, 36)

    def storage(self) -> None:
        for link in self.links("volume") + self.links("mounts"):
            user = self.boxes.get(link.source) if isinstance(link.source, Ref) else None
            part = next(part for part in self.model.parts if part.ref == link.target)
            if user is None:
                continue
            volume = link.kind == "volume"
            if part.ref not in self.boxes:
                # Volumes stand below their machines, and what is mounted beside them.
                volumes = [self.boxes[other.target] for other in self.links("volume") if other.target in self.boxes]
                beside = max((box.x + box.width + 20 for box in volumes), default=0.0)
                x = user.x if volume else max(user.middle - 60, beside)
                self.node(part, x, _STORAGE, user.width if volume else 220, _STORAGE_HEIGHT)
            x = user.x + 40 if volume else self.boxes[part.ref].middle
            self.arrows.append(Arrow(((x, user.bottom), (x, _STORAGE)), self.colours[link.target.stack]))
        for link in self.links("nfs"):
            if isinstance(link.source, Ref):
                user, target = self.boxes[link.source], self.boxes[link.target]
                colour = self.colours[link.source.stack]
                self.arrows.append(Arrow(((user.middle, user.bottom), (user.middle, target.y)), colour))
                self.nodes.append(Text(user.middle + 8, (user.bottom + target.y) / 2, link.label, 13))

    def border(self) -> None:
        public = [box for subnet in self.model.subnets if subnet.public for box in [self.boxes[subnet.ref]]]
        for part in self.of("aws_internet_gateway"):
            wide = max(public, key=lambda box: box.width)
            self.node(part, wide.x + 20, _VPC - 18, wide.width - 40, 36)
        for n, part in enumerate(self.of("aws_vpc_endpoint")):
            box = Box(self.zone.x, _VPC_END - 18 - 60 * n, self.zone.width, 36, "", "")
            self.node(part, box.x, box.y, box.width, box.height)
            service = part.title.partition(" ")[0]
            outside = self.outside(box.middle, f"Amazon {service}", "not through the NAT", _STORAGE + 24, box.width)
            self.arrows.append(Arrow(((box.middle, box.bottom), (box.middle, outside.y)), INK, dashed=True))

    def reach(self) -> None:
        for link in self.links("in")[:1]:
            x = self.boxes[link.target].way_in
            ways = list(dict.fromkeys(str(way.source) for way in self.links("in")))
            box = self.outside(x, "You", ", ".join(ways))
            for way in self.links("in"):
                target = self.boxes[way.target]
                self.arrows.append(Arrow(((target.way_in, box.bottom), (target.way_in, target.y)), INK))
                self.nodes.append(Text(target.way_in + 8, _VPC + 54, way.label, 14, INK))
        ports = [line.partition(" ")[2] for part in self.model.parts for line in part.lines if " :" in line]
        for door, links in _by_source(self.links("ssh")).items():
            start = self.boxes[door]
            for link in links:
                end = self.boxes[link.target]
                points = ((start.way_in, start.bottom), (start.way_in, _BUS), (end.way_in, _BUS), (end.way_in, end.y))
                self.arrows.append(Arrow(points, INK))
            label = "SSH onward" + (f", with tunnels to {' '.join(ports)}" if ports else "")
            self.nodes.append(Text(start.way_in + 10, _BUS - 14, label, 14, INK))
        outside: Box | None = None
        for link in self.links("out"):
            nat = self.boxes[link.target]
            subnet = self.boxes[link.source] if isinstance(link.source, Ref) else nat
            outside = outside or self.outside(nat.middle, "Internet", "outbound only")
            self.arrows.append(Arrow(((nat.middle, subnet.y), (nat.middle, nat.bottom)), INK, dashed=True))
            self.arrows.append(Arrow(((nat.middle, nat.y), (nat.middle, outside.bottom)), INK, dashed=True))

    def state_card(self, y: float) -> float:
        stacks = self.model.stacks
        height = 78 + 26 * len(stacks)
        width = WIDTH - _LEFT - _CARDS
        self.nodes += [Box(_CARDS, y, width, height, WHITE, FRAME)]
        self.nodes += [Text(_CARDS + 16, y + 22, "S3 state bucket", 16, INK, bold=True)]
        folder = posixpath.commonpath([posixpath.dirname(f"/{stack.state_key}") for stack in stacks])
        place = f"{self.model.state_bucket}{folder.rstrip('/')}/"
        self.nodes += [Text(_CARDS + 16, y + 44, _fit(place, width - 32))]
        rows = {stack.name: y + 72 + 26 * n for n, stack in enumerate(stacks)}
        side = _CARDS + width - 20
        for stack in stacks:
            row, key = rows[stack.name], _fit(posixpath.relpath(f"/{stack.state_key}", folder), width - 106)
            self.nodes.append(Text(_CARDS + 16, row, key, 14, self.colours[stack.name]))
            for read in stack.reads:
                way = ((side - 20, row), (side, row), (side, rows[read]), (side - 20, rows[read]))
                self.nodes += [Arrow(way, GREY), Text(side - 26, row, "reads", 13, align="right")]
        return y + height

    def legend(self, y: float) -> None:
        rows = [
            (Arrow(((0, 0), (44, 0)), INK), "SSH: from the named addresses, over one machine"),
            (Arrow(((0, 0), (44, 0)), STACK_COLOURS[0]), "in a stack's colour: mounts or attaches storage"),
            (Arrow(((0, 0), (44, 0)), INK, dashed=True), "traffic that only goes out"),
        ]
        self.nodes.append(Text(_CARDS + 2, y + 12, "The colour is the stack that a resource belongs to.", 14, INK))
        for n, (arrow, meaning) in enumerate(rows):
            at = y + 38 + 24 * n
            moved = tuple((_CARDS + 2 + px, at + py) for px, py in arrow.points)
            self.nodes += [arrow._replace(points=moved), Text(_CARDS + 60, at, meaning)]

    def stack_card(self, stack: Stack, y: float) -> float:
        width = WIDTH - _LEFT - _CARDS
        also = [f"{n} {name if n == 1 else _plural(name)}" for name, n in stack.counted] + list(stack.listed)
        # A no-break space keeps a number with its name.
        text = f"also: {', '.join(item.replace(' ', _NO_BREAK) for item in also)}" if also else ""
        lines = textwrap.wrap(text, 57, break_on_hyphens=False)
        box = Box(_CARDS, y, width, 50 + 19 * len(lines), WHITE, self.colours[stack.name], accent=True)
        self.nodes += [box, Text(box.x + 18, y + 22, stack.name, 16, self.colours[stack.name], bold=True)]
        count = f"{len(stack.drawn)} drawn, {sum(n for _, n in stack.counted) + len(stack.listed)} more"
        self.nodes.append(Text(box.x + width - 16, y + 22, count, 13, align="right"))
        self.nodes += [Text(box.x + 18, y + 46 + 19 * n, line, 13) for n, line in enumerate(lines)]
        return box.bottom


_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_NAT: Final = "aws_nat_gateway"
_MOUNT_TARGET: Final = "aws_efs_mount_target"


def _by_source(links: list[Link]) -> dict[Ref, list[Link]]:
    found: dict[Ref, list[Link]] = {}
    for link in links:
        if isinstance(link.source, Ref):
            found.setdefault(link.source, []).append(link)
    return found


def _fit(text: str, width: float, size: float = 14) -> str:
    """Return the text, cut where it would be wider: a character of DejaVu Sans is about 0.58 of its size wide."""
    most = int(width / size / 0.58)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plural(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
