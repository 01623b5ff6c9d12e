"""Token ids of nasty prompts by transformers' CLIPTokenizer: the bundled vocabulary, one that pads with "!" as Stable
Diffusion 2 does, and the small checkpoints' (vocab.json with merges.txt, and tokenizer.json alone).
"""
import json

from transformers import CLIPTokenizer

from common import CHECKPOINTS, GOLDEN, HERE

EMOJI = HERE.parent / "models/emoji/tokenizer"
PROMPTS = [
    "", " ", "\n\t \r\n", "a", "A photo of a CAT", "a red apple, blue heart; rocket-ship!", "  leading and   trailing  ",
    "tabs\tand\nnewlines\r\nmixed \u00a0nbsp\u2003em\u3000ideographic\u200bzero\ufeffbom\u0085nel\u2028line\u2029paragraph",
    "it's we're I've I'm they'll he'd don't rock'n'roll 'quoted' ''", "IT'S WE'RE DON'T", "it\u2019s a typographer\u2019s",
    "1234567890", "3dogs 2cats4 no.5 1,000,000.99", "\u00bd \u00b2 \u2167 \u0663\u0664 \u096a \U0001d7d8", "a1b2c3",
    "!!!", "...???!!!", "cat! dog!! bird!!!", "!", "a ! b", "#$%&()*+,-./:;<=>?@[\\]^_`{|}~", "snake_case __init__",
    "(masterpiece:1.3), [blur], {red|blue}", "C:\\path\\file \"quoted\"", "&amp; &lt;b&gt; &#39;x&#39; &nbsp;",
    "<|endoftext|>", "before <|endoftext|> after", "<|startoftext|>x<|endoftext|>", "<|ENDOFTEXT|> <|EndOfText|>",
    "<|endoftext|", "<|endoftext|></w>", "a</w> b</w>", "<pad><unk>[MASK]",
    "\U0001f98a", "\U0001f98a\U0001f98a a \U0001f98afox", "\u2764\ufe0f \u2764 \u2615", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "1\ufe0f\u20e3",
    "na\u00efve caf\u00e9", "nai\u0308ve cafe\u0301", "\u1e9b\u0323 \u212b \ufb01", "Z\u0351\u036b\u0343a\u0321l\u0322g\u0334o\u031b",
    "\u0130stanbul I\u0307 \u0131", "STRASSE stra\u00dfe \u1e9e", "\u03a3\u03a3 \u039f\u0394\u039f\u03a3 \u03c3\u03c2", "\u01c5 \u01c4",
    "\u4e00\u53ea\u732b \u6771\u4eac", "\u306d\u3053\u304c\u597d\u304d \uff76\uff9e", "\uac15\uc544\uc9c0 \u1100\u1161", "\u0642\u0637\u0629 \u062d\u0645\u0631\u0627\u0621",
    "\u202e\u0627\u0644\u0639\u202c", "\u05d7\u05ea\u05d5\u05dc", "\u0e41\u0e21\u0e27", "\u092c\u093f\u0932\u094d\u0932\u0940", "\U00020000\U0001d4d0\U0001d4d1\uff21\uff22",
    "null\u0000byte\u0000", "\u0001\u0002\u001b[31mred\u007f", "\u0080\u009f", "\ufffd\ufffe\uffff\U0010ffff", "\u001c\u001d\u001e\u001f x",
    "\u180e\u2060\u00ad soft", "x" * 200, "word " * 100, "\U0001f98a" * 60, "a, " * 50, "don't " * 40 + "end",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
]


def main():
    loaded = {
        "emoji": CLIPTokenizer.from_pretrained(EMOJI),
        "emoji-pad": CLIPTokenizer.from_pretrained(EMOJI, pad_token="!"),
        "sd1": CLIPTokenizer.from_pretrained(CHECKPOINTS / "sd1/tokenizer"),
        "shards": CLIPTokenizer.from_pretrained(CHECKPOINTS / "shards/tokenizer"),
    }
    lines = [json.dumps(dict(tokenizer=name, pad=tokenizer.pad_token_id,
                             ids=tokenizer(PROMPTS, max_length=77, truncation=True).input_ids))
             for name, tokenizer in loaded.items()]
    text = '{"prompts": %s,\n"tokenizers": [\n%s\n]}\n' % (json.dumps(PROMPTS), ",\n".join(lines))
    (GOLDEN / "tokenizer.json").write_text(text)


if __name__ == "__main__":
    main()
