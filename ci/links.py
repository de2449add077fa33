"""Each link from one page of the documentation to another, and to the repository's files, has a target."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = re.compile(r"https://(?:github\.com/[^/]+/[^/]+/(?:blob|tree)|raw\.githubusercontent\.com/[^/]+/[^/]+)/main/")
LINK = re.compile(r"\]\(([^()\s]+)\)")


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page):
    """As GitHub names headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), flags=re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def problem(page, link):
    base = page.parent
    if repository := REPOSITORY.match(link):
        base, link = ROOT, link[repository.end() :]
    elif re.match(r"[a-z]+:|(crate|super|shim)\b", link):
        # Other sites, and names that rustdoc resolves.
        return None
    path, _, anchor = link.partition("#")
    target = (base / path) if path else page
    if not target.exists():
        return "no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "no such heading"
    return None


pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("crates/*/*.md"), ROOT / "src/lib.rs"]
links = 0
failed = False
for page in pages:
    for link in LINK.findall(without_code(page.read_text())):
        links += 1
        if found := problem(page, link):
            print(f"{page.relative_to(ROOT)}: {link}: {found}")
            failed = True
print(f"{links} links in {len(pages)} pages")
sys.exit(failed)
