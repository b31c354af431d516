"""Write the registry's table of initializers into README.md.

python scripts/write_readme_table.py
"""

from pathlib import Path

from initsearch.initializers import catalogue_table

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- initializers: written by scripts/write_readme_table.py -->"
END = "<!-- end of initializers -->"


def with_table(text: str) -> str:
    """The text with the current table between its two markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{catalogue_table().strip()}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
