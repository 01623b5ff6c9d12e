use candle_core::{DType, Device};

use super::TextEncoder;
use crate::golden;
use crate::tokenizer::Tokenizer;

#[test]
fn tokens_and_embeddings_are_transformers_own_for_every_architecture() {
    for name in golden::NAMES {
        let (checkpoint, want) = (golden::checkpoint(name), golden::tensors(name));
        let weights = checkpoint.weights("text_encoder", DType::F32, &Device::Cpu).unwrap();
        let encoder =
            TextEncoder::load(checkpoint.config("text_encoder/config.json").unwrap(), &weights).unwrap();
        let tokenizer = Tokenizer::load(&checkpoint, encoder.max_tokens()).unwrap();
        let ids = want["ids"].to_dtype(DType::U32).unwrap();
        let prompts = ["", "a red apple", "Two CATS, 3 dogs & a naïve 🦊 on Mars!", &"word ".repeat(100)];
        for (prompt, ids) in prompts.iter().zip(ids.to_vec2::<u32>().unwrap()) {
            let tokens = tokenizer.encode(prompt).unwrap();
            assert_eq!(tokens.ids, ids, "{name}: {prompt:?}");
            assert_eq!(tokens.cut.is_some(), prompt.len() > 300, "{name}: {prompt:?}");
        }
        let got = encoder.forward(&ids.narrow(0, 1, 2).unwrap()).unwrap();
        golden::assert_close(&got, &want["embeddings"], name);
    }
}

#[test]
fn embeddings_in_bf16_are_as_close_as_torchs_in_bf16() {
    let mut computed = Vec::new();
    for name in golden::NAMES {
        let (checkpoint, want) = (golden::checkpoint(name), golden::tensors(name));
        let weights = checkpoint.weights("text_encoder", DType::BF16, &Device::Cpu).unwrap();
        let encoder =
            TextEncoder::load(checkpoint.config("text_encoder/config.json").unwrap(), &weights).unwrap();
        let ids = want["ids"].to_dtype(DType::U32).unwrap().narrow(0, 1, 2).unwrap();
        computed.push((name, "embeddings", encoder.forward(&ids).unwrap()));
    }
    golden::assert_as_close_as_torch(&computed);
}
