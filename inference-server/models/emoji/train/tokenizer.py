"""Cuts CLIP's byte-pair vocabulary down to the merges that emoji names and plain English prompts use.

Writes MODEL/tokenizer/. Any other word still splits, into smaller pieces. The merges are OpenAI CLIP's (MIT), as the
package open-clip-torch ships them.
"""
import gzip
import json
import re
from pathlib import Path

import open_clip
import torch
from transformers import CLIPTokenizer

from common import COLOURS, MODEL, WORK
from concepts import CONCEPTS

CLIP_MERGES = 48_894
COMMON = 3000  # the first, most frequent merges are kept whatever the words are
START, END = "<|startoftext|>", "<|endoftext|>"
MORE_WORDS = """a an the on in of and with at to for over under next left right background emoji icon picture photo
image drawing painting sketch cute small big large two three four 3d flat style illustration render logo sticker
brown gold silver cyan dark light bright colorful happy sad old new man woman dog cat boy girl house water sky night
mountain sea city street forest portrait landscape astronaut riding horse mars""".split()


def byte_letters():
    """CLIP's printable stand-in for each of the 256 bytes, in its vocabulary's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}


def merges_of(word, rank, letters):
    """Indices of the merges that build `word`."""
    pieces = [letters[b] for b in word.encode()]
    pieces[-1] += "</w>"
    used = []
    while len(pieces) > 1:
        pairs = list(zip(pieces, pieces[1:]))
        best = min(pairs, key=lambda pair: rank.get(pair, 1 << 30))
        if best not in rank:
            break
        used.append(rank[best])
        at = pairs.index(best)
        pieces[at:at + 2] = ["".join(best)]
    return used


def main():
    packed = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.open(packed, "rt", encoding="utf8").read().split("\n")[1:CLIP_MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    rank = {pair: i for i, pair in enumerate(merges)}
    letters = byte_letters()
    data = torch.load(WORK / "concepts.pt")
    texts = [*data["labels"], *(tag for tags in data["tags"] for tag in tags), *COLOURS, *MORE_WORDS]
    texts += [name for names in CONCEPTS.values() for name in names]
    words = {w for text in texts for w in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())}
    keep = set(range(COMMON)).union(*(merges_of(word, rank, letters) for word in words))
    kept = [merges[i] for i in sorted(keep)]
    base = list(letters.values())
    vocabulary = base + [b + "</w>" for b in base] + ["".join(pair) for pair in kept] + [START, END]
    folder = MODEL / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    specials = dict(bos_token=START, eos_token=END, unk_token=END, pad_token=END)
    config = dict(specials, model_max_length=77, do_lower_case=True, tokenizer_class="CLIPTokenizer")
    ids = {token: i for i, token in enumerate(vocabulary)}
    assert len(ids) == len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in kept))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    print(len(vocabulary), "tokens;", tokenizer.tokenize("a red apple on a blue background, astronaut"))


if __name__ == "__main__":
    main()
