"""A small tree like that of the packages of Fish Fillets, with noise for speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 22050
LEVELS = 10
SCRIPT = """
-- a level
dialogId("a-m", "font_small", "Yes \\"indeed\\".")
dialogStr("Ano{0}, „jistě“, rybo {0}.")

dialogId ("b-v", "font_big", "A longer one.")
dialogStr(
"Něco delšího - o úhoři {0}.")
dialogId("same", "font_big", "Go!")
dialogStr("Plaveme dál!")
dialogId("shown", "font_big", "Only shown.")
dialogStr("Jen titulek.")
dialogId("cry", "font_big", "Aaa!")
dialogStr("Ááááá!")
dialogId("number", "font_big", "F2")
dialogStr("Stiskni F2.")
dialogId("mixed", "font_big", "Wait")
dialogStr("Подожди. Počkej.")
"""


def save_game(downloads: Path) -> Path:
    """Write `LEVELS` levels in Czech and Dutch, three usable lines each; return the folder."""
    root = downloads / "usr" / "share" / "games" / "fillets-ng"
    rng = np.random.default_rng(0)
    for level in range(LEVELS):
        for language in ("cs", "nl"):
            script = root / "script" / f"level{level}" / f"dialogs_{language}.lua"
            script.parent.mkdir(parents=True, exist_ok=True)
            text = SCRIPT.replace("{0}", "bcdfghjklm"[level] + "ea")
            if language == "nl":
                text = text.replace("ě", "e").replace("šího", "s").replace("úhoř", "uhor")
            script.write_text(text, encoding="utf-8")
            for name in ("a-m", "b-v", "same", "cry", "number", "mixed"):
                audio = root / "sound" / f"level{level}" / language / f"{name}.ogg"
                audio.parent.mkdir(parents=True, exist_ok=True)
                noise = 0.1 * rng.standard_normal((int(1.5 * RATE), 1 if language == "cs" else 2))
                soundfile.write(audio, noise, RATE, format="OGG")
    return downloads
