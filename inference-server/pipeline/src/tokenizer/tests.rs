use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Tokenizer;
use crate::Source;
use crate::checkpoint::Checkpoint;

/// Ids by transformers' CLIPTokenizer: see `inference-server/golden/tokenizer.py`.
#[derive(Deserialize)]
struct Golden {
    prompts: Vec<String>,
    tokenizers: Vec<Ids>,
}

#[derive(Deserialize)]
struct Ids {
    tokenizer: String,
    pad: u32,
    /// Of each prompt, from start to end, padding left out.
    ids: Vec<Vec<u32>>,
}

/// A checkpoint that is nothing but a tokenizer, its config changed.
fn folder(from: &Path, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("tokenizer");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(folder.path().join("model_index.json"), "{}").unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let mut content = std::fs::read(file.path()).unwrap();
        if file.file_name() == "tokenizer_config.json" || file.file_name() == "special_tokens_map.json" {
            let mut json = serde_json::from_slice(&content).unwrap();
            change(&mut json);
            content = serde_json::to_vec(&json).unwrap();
        }
        std::fs::write(to.join(file.file_name()), content).unwrap();
    }
    folder
}

fn load(folder: &Path) -> Tokenizer {
    Tokenizer::load(&Checkpoint::open(&Source::Directory(folder.into())).unwrap(), 77).unwrap()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn emoji() -> Tokenizer {
    load(folder(&here("../models/emoji/tokenizer"), |_| ()).path())
}

fn by_name(name: &str) -> Tokenizer {
    match name {
        "emoji" => emoji(),
        "emoji-pad" => {
            let pad = |json: &mut Value| json["pad_token"] = json!("!");
            load(folder(&here("../models/emoji/tokenizer"), pad).path())
        }
        small => load(&here("tests/checkpoints").join(small)),
    }
}

#[test]
fn ids_are_transformers_own_for_nasty_prompts() {
    let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/tokenizer.json")).unwrap();
    assert!(golden.prompts.len() >= 60 && golden.tokenizers.len() == 4);
    let mut wrong = Vec::new();
    for want in &golden.tokenizers {
        let tokenizer = by_name(&want.tokenizer);
        assert_eq!(golden.prompts.len(), want.ids.len());
        for (prompt, ids) in golden.prompts.iter().zip(&want.ids) {
            let got = tokenizer.encode(prompt).unwrap();
            let mut padded = ids.clone();
            padded.resize(77, want.pad);
            if got.ids != padded {
                let cut = got.ids.len().min(ids.len());
                wrong.push(format!(
                    "{}: {prompt:?}\n  want {ids:?}\n  got  {:?}",
                    want.tokenizer,
                    &got.ids[..cut]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_megabyte_is_fast_and_what_was_cut_is_told() {
    let tokenizer = emoji();
    for piece in ["word ", "x", "🦊", "<|endoftext|>", "'", "1", "\u{301}", "猫"] {
        let begin = Instant::now();
        let text = piece.repeat((1 << 20) / piece.len());
        let tokens = tokenizer.encode(&text).unwrap();
        // Unoptimised builds on busy machines included; it is some 20 ms otherwise.
        assert!(begin.elapsed() < Duration::from_secs(5), "{piece:?}: {:?}", begin.elapsed());
        assert_eq!(tokens.ids.len(), 77);
        let cut = tokens.cut.unwrap();
        assert!(cut.len() > (1 << 20) - 40_000 && text.trim().ends_with(&cut), "{piece:?}: {}", cut.len());
    }
}

#[test]
fn only_what_does_not_fit_is_cut() {
    let tokenizer = emoji();
    let cut = |text: &str| tokenizer.encode(text).unwrap().cut;
    assert_eq!(cut(""), None);
    assert_eq!(cut(&"a ".repeat(75)), None);
    assert_eq!(cut(&format!("{}Zebra 🦊!", "a ".repeat(75))), Some("Zebra 🦊!".into()));
    assert_eq!(cut(&" ".repeat(1 << 20)), None);
}

#[test]
fn a_length_beyond_the_text_encoders_or_none_is_the_text_encoders() {
    for limit in [json!(1e30), json!(1000), Value::Null] {
        let set = |json: &mut Value| json["model_max_length"] = limit.clone();
        let folder = folder(&here("../models/emoji/tokenizer"), set);
        assert_eq!(load(folder.path()).max_tokens(), 77, "{limit}");
    }
}

proptest! {
    #[test]
    fn any_text_gives_77_ids_between_start_and_end(text in "\\PC{0,60}|[\\x00-\\x7f]{0,60}|.{0,60}") {
        // Loading takes longer than encoding.
        thread_local!(static TOKENIZER: Tokenizer = emoji());
        let (tokens, end) = TOKENIZER.with(|t| (t.encode(&text).unwrap(), t.end));
        prop_assert_eq!(tokens.ids.len(), 77);
        prop_assert!(tokens.ids.contains(&end));
    }
}
