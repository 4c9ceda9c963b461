#!/usr/bin/env python3
"""Draws who talks to whom, over which ports: prints overview.svg."""

BOXES = [  # x, y, width, title, lines
    (20, 30, 190, "Client", ["psql, driver or tool,", "unmodified"]),
    (20, 250, 190, "PgBouncer", ["optional, with a PAM", "module of aadauth"]),
    (390, 140, 200, "PostgreSQL", ["aadauth in the server,", "audit in a table"]),
    (780, 30, 220, "Microsoft Entra ID", ["login.microsoftonline.com"]),
    (780, 250, 220, "Microsoft Graph", ["graph.microsoft.com"]),
]
ARROWS = [  # from, to, place of the label, its anchor, label, whether it is optional
    ((210, 50), (780, 50), (495, 42), "middle", "443: sign-in, which gives the client a token", False),
    ((210, 85), (390, 160), (310, 112), "start", "5432, TLS: token as password", False),
    ((115, 110), (115, 250), (124, 185), "start", "6432, TLS: token as password", True),
    ((210, 285), (390, 205), (312, 262), "start", "5432, TLS", True),
    ((590, 160), (780, 90), (695, 142), "start", "443: signing keys", False),
    ((590, 205), (780, 275), (695, 232), "start", "443: names and groups", True),
]


def box(x, y, width, title, lines):
    yield f'<rect x="{x}" y="{y}" width="{width}" height="80" rx="6" fill="#eef4fb" stroke="#31648c"/>'
    center = x + width / 2
    yield f'<text x="{center:g}" y="{y + 26}" text-anchor="middle" font-weight="bold">{title}</text>'
    for index, line in enumerate(lines):
        yield f'<text x="{center:g}" y="{y + 48 + 18 * index}" text-anchor="middle">{line}</text>'


def arrow(begin, end, place, anchor, label, optional):
    dashes = ' stroke-dasharray="6 4"' if optional else ""
    (x1, y1), (x2, y2) = begin, end
    yield f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#444"{dashes} marker-end="url(#head)"/>'
    yield f'<text x="{place[0]}" y="{place[1]}" text-anchor="{anchor}">{label}</text>'


def picture():
    yield '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1020 370" font-family="sans-serif" font-size="14">'
    yield "<title>Who talks to whom, over which ports</title>"
    yield '<rect width="1020" height="370" fill="#fff"/>'
    yield (
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#444"/></marker>'
    )
    for one in BOXES:
        yield from box(*one)
    for one in ARROWS:
        yield from arrow(*one)
    yield '<text x="20" y="357" font-size="12">Solid: always. Dashed: optional. Entra and Graph never connect to the server.</text>'
    yield "</svg>"


print("\n".join(picture()))
