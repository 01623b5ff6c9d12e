//! CLIP's byte-pair tokenizer: text to a fixed number of token ids.

use serde_json::{Value, json};
use tokenizers::{AddedToken, Tokenizer as Bpe};

use crate::checkpoint::Checkpoint;
use crate::{Error, LoadError};

/// How CLIP cuts text into words before merging bytes (Radford et al. 2021, the released tokenizer).
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Text beyond this many bytes cannot change the first 77 tokens of anything that people write, but would take
/// time; the words after it are counted as cut.
const LONGEST_TEXT: usize = 32 * 1024;

/// A prompt as the text encoder takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Exactly `max_tokens` ids: start, text, end, padding.
    pub ids: Vec<u32>,
    /// The end of the text that did not fit, if any.
    pub cut: Option<String>,
}

/// A checkpoint's tokenizer.
pub(crate) struct Tokenizer {
    bpe: Bpe,
    start: u32,
    end: u32,
    pad: u32,
    max_tokens: usize,
}

impl Tokenizer {
    /// Reads `tokenizer/`: `tokenizer.json`, or `vocab.json` and `merges.txt`; `max_tokens` is what the text
    /// encoder has positions for.
    pub(crate) fn load(checkpoint: &Checkpoint, max_tokens: usize) -> Result<Self, LoadError> {
        let special = SpecialTokens::read(checkpoint)?;
        let (mut bpe, file) = match checkpoint.read("tokenizer/tokenizer.json")? {
            Some(json) => (from_json(&json)?, "tokenizer/tokenizer.json"),
            None => (from_vocab(checkpoint)?, "tokenizer/vocab.json"),
        };
        let added: Vec<_> =
            special.all().into_iter().map(|text| AddedToken::from(text.to_owned(), true)).collect();
        let before = bpe.get_vocab_size(true);
        bpe.add_special_tokens(added).map_err(|e| malformed(file, e.to_string()))?;
        if bpe.get_vocab_size(true) != before {
            return Err(malformed(file, "the start, end or padding token is not in the vocabulary".into()));
        }
        let id = |text: &str| {
            bpe.token_to_id(text).ok_or_else(|| malformed(file, format!("there is no token {text:?}")))
        };
        let (start, end, pad) = (id(&special.start)?, id(&special.end)?, id(&special.pad)?);
        let max_tokens = special.max_tokens.unwrap_or(max_tokens).min(max_tokens);
        if max_tokens < 3 {
            return Err(malformed(file, format!("{max_tokens} tokens leave no room for a prompt")));
        }
        Ok(Self { bpe, start, end, pad, max_tokens })
    }

    /// Tokens of a prompt, start and end included.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The highest id that a prompt can have.
    pub(crate) fn largest_id(&self) -> usize {
        self.bpe.get_vocab(true).into_values().max().unwrap_or_default() as usize
    }

    /// Tokenises any text, the empty one included.
    pub(crate) fn encode(&self, text: &str) -> Result<Tokens, Error> {
        let text = text.trim_start(); // it has no tokens
        let read = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        let encoding = self.bpe.encode(read, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let room = self.max_tokens - 2;
        let found = encoding.get_ids();
        let mut ids = Vec::with_capacity(self.max_tokens);
        ids.push(self.start);
        ids.extend(found.iter().take(room));
        ids.push(self.end);
        ids.resize(self.max_tokens, self.pad);
        let cut = match encoding.get_offsets().get(room) {
            Some((from, _)) => text.get(*from..).map(|rest| rest.trim().to_owned()),
            None if read.len() < text.len() => Some(text[read.len()..].trim().to_owned()),
            None => None,
        };
        Ok(Tokens { ids, cut: cut.filter(|rest| !rest.is_empty()) })
    }
}

fn malformed(file: &str, problem: String) -> LoadError {
    LoadError::Malformed { file: file.into(), problem }
}

fn from_json(json: &[u8]) -> Result<Bpe, LoadError> {
    let mut bpe = Bpe::from_bytes(json).map_err(|e| malformed("tokenizer/tokenizer.json", e.to_string()))?;
    // Length and padding are ours: they come from tokenizer_config.json and the text encoder.
    bpe.with_padding(None);
    bpe.with_truncation(None).map_err(|e| malformed("tokenizer/tokenizer.json", e.to_string()))?;
    Ok(bpe)
}

fn from_vocab(checkpoint: &Checkpoint) -> Result<Bpe, LoadError> {
    let (vocab_file, merges_file) = ("tokenizer/vocab.json", "tokenizer/merges.txt");
    let hint = "a tokenizer is tokenizer.json, or vocab.json with merges.txt";
    let vocab = checkpoint.require(vocab_file, hint)?;
    let merges = checkpoint.require(merges_file, hint)?;
    let vocab: Value = serde_json::from_slice(&vocab).map_err(|e| malformed(vocab_file, e.to_string()))?;
    let merges = std::str::from_utf8(&merges).map_err(|e| malformed(merges_file, e.to_string()))?;
    let mut pairs = Vec::new();
    for (number, line) in merges.lines().enumerate() {
        if line.trim().is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        let Some((a, b)) = line.split_once(' ').filter(|(_, b)| !b.contains(' ')) else {
            let line = number + 1;
            return Err(malformed(merges_file, format!("line {line} is not two tokens and a space")));
        };
        pairs.push(json!([a, b]));
    }
    let whole = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "model": {
            "type": "BPE",
            "end_of_word_suffix": "</w>",
            "vocab": vocab,
            "merges": pairs,
        },
    });
    Bpe::from_bytes(whole.to_string()).map_err(|e| malformed(vocab_file, e.to_string()))
}

/// The tokens around and after a prompt, from `tokenizer_config.json` and `special_tokens_map.json`.
struct SpecialTokens {
    start: String,
    end: String,
    pad: String,
    unknown: String,
    max_tokens: Option<usize>,
}

impl SpecialTokens {
    fn read(checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for file in ["tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json"] {
            if let Some(text) = checkpoint.read(file)? {
                let json = serde_json::from_slice::<Value>(&text);
                files.push(json.map_err(|e| malformed(file, e.to_string()))?);
            }
        }
        // Either a string or {"content": string, ...}.
        let token = |field: &str, default: &str| {
            let values = files.iter().filter_map(|file| file.get(field));
            let texts = values.filter_map(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
            texts.map(str::to_owned).next().unwrap_or_else(|| default.to_owned())
        };
        let end = token("eos_token", "<|endoftext|>");
        let limits = files.iter().filter_map(|file| file.get("model_max_length")?.as_u64());
        Ok(Self {
            start: token("bos_token", "<|startoftext|>"),
            pad: token("pad_token", &end),
            unknown: token("unk_token", &end),
            // transformers writes 1e30 for "no limit", which is not an integer.
            max_tokens: limits.filter_map(|n| usize::try_from(n).ok()).next(),
            end,
        })
    }

    fn all(&self) -> [&str; 4] {
        [&self.start, &self.end, &self.pad, &self.unknown]
    }
}

#[cfg(test)]
mod tests;
