"""The key of the two arms: what colour, dash and shape mean, once for all panels of a figure."""

from __future__ import annotations

from analysis.page.html import text


def arms_key(arms: tuple[str, str]) -> str:
    path = '<path d="M1 6H33" stroke="currentColor" stroke-width="2.5" fill="none"{}/>'
    line = f'<svg width="34" height="12" aria-hidden="true">{path}{{}}</svg>'
    dot = '<circle cx="17" cy="6" r="4" fill="currentColor"/>'
    box = '<rect x="13" y="2" width="8" height="8" fill="currentColor"/>'
    treated, control = line.format("", dot), line.format(' stroke-dasharray="5 3"', box)
    return (
        f'<ul class="key"><li><span class="treated">{treated}</span>{text(arms[0])}</li>'
        f'<li><span class="control">{control}</span>{text(arms[1])}</li></ul>'
    )
