"""An image in a terminal."""

from PIL import Image
from rich.text import Text


def in_terminal(image: Image.Image, columns: int = 72) -> Text:
    """Draw an image as coloured half blocks, two pixels a character."""
    rows = max(1, round(image.height * columns / image.width / 2)) * 2
    small = image.convert("RGB").resize((columns, rows), Image.Resampling.BOX)
    pixels = list(zip(*[iter(small.tobytes())] * 3, strict=True))
    text = Text()
    for y in range(0, rows, 2):
        for x in range(columns):
            upper, lower = pixels[y * columns + x], pixels[(y + 1) * columns + x]
            text.append("▀", style=f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
        text.append("\n")
    return text
