"""The levels of a verdict: their names, signs and order."""

from __future__ import annotations

PASS, LOOK, FAIL = "pass", "look", "fail"
SYMBOLS = {PASS: "✓", LOOK: "◐", FAIL: "✕"}
WORDS = {PASS: "Pass", LOOK: "Look", FAIL: "Fail"}
ORDER = {PASS: 0, LOOK: 1, FAIL: 2}
