//! From bytes to [`Fields`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::numbers::{finite, kind, short, whole};
use super::{FIELD_NAMES, FieldProblem, Fields, ParseError, nearest};

/// Unknown fields that one answer names.
const MAX_PROBLEMS: usize = 20;

/// Reads a request. `null` is the same as leaving the field out.
///
/// # Errors
/// [`ParseError::Malformed`] when it is not a JSON object in UTF-8 with each key once, [`ParseError::Invalid`] with every
/// field that is unknown or of the wrong type.
pub fn parse(body: &[u8]) -> Result<Fields, ParseError> {
    let malformed = |problem: String| Err(ParseError::Malformed(problem));
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(e) => return malformed(format!("the body is not UTF-8: byte {} is wrong", e.valid_up_to())),
    };
    if text.trim().is_empty() {
        return malformed("the body is empty; send JSON such as {\"prompt\": \"a red apple\"}".into());
    }
    let entries = match entries(text) {
        Ok(entries) => entries,
        Err(e) => return malformed(e),
    };
    let mut fields = Fields::default();
    let mut problems = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in &entries {
        if seen.contains(&name.as_str()) {
            return malformed(format!("the field {:?} is there twice", short(name)));
        }
        if FIELD_NAMES.contains(&name.as_str()) {
            seen.push(name);
        }
        if problems.len() < MAX_PROBLEMS
            && let Err(problem) = set(&mut fields, name, value)
        {
            problems.push(FieldProblem { field: short(name), problem });
        }
    }
    if problems.is_empty() { Ok(fields) } else { Err(ParseError::Invalid(problems)) }
}

fn set(fields: &mut Fields, name: &str, value: &RawValue) -> Result<(), String> {
    let null = value.get() == "null";
    match name {
        _ if null && FIELD_NAMES.contains(&name) => {}
        "prompt" => fields.prompt = Some(string(value)?),
        "negative_prompt" => fields.negative_prompt = Some(string(value)?),
        "seed" => {
            fields.seed = Some(whole(value).map_err(|e| format!("{e}; leave it out for a random seed"))?);
        }
        "steps" => fields.steps = Some(whole(value)?),
        "guidance_scale" => fields.guidance_scale = Some(finite(value)?),
        "guidance_rescale" => fields.guidance_rescale = Some(finite(value)?),
        "guidance_start" => fields.guidance_start = Some(finite(value)?),
        "guidance_end" => fields.guidance_end = Some(finite(value)?),
        "cache_interval" => fields.cache_interval = Some(whole(value)?),
        "token_merging" => fields.token_merging = Some(finite(value)?),
        "width" => fields.width = Some(whole(value)?),
        "height" => fields.height = Some(whole(value)?),
        "scheduler" => fields.scheduler = Some(string(value)?),
        "karras" => fields.karras = Some(boolean(value)?),
        "eta" => fields.eta = Some(finite(value)?),
        "image" => fields.image = Some(base64(&string(value)?)?),
        "strength" => fields.strength = Some(finite(value)?),
        "metadata" => fields.metadata = Some(boolean(value)?),
        "previews" => fields.previews = Some(whole(value)?),
        unknown => {
            return Err(match nearest(unknown, FIELD_NAMES) {
                Some(name) => format!("there is no such field; did you mean {name:?}?"),
                None => format!("there is no such field; the fields are {}", FIELD_NAMES.join(", ")),
            });
        }
    }
    Ok(())
}

fn string(raw: &RawValue) -> Result<String, String> {
    if !raw.get().starts_with('"') {
        return Err(format!("expected a string, got {}", kind(raw.get())));
    }
    serde_json::from_str(raw.get()).map_err(|e| format!("this string is not valid: {}", without_position(&e)))
}

fn boolean(raw: &RawValue) -> Result<bool, String> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("expected true or false, got {}", kind(other))),
    }
}

/// Standard base64, with or without `data:image/png;base64,` in front and line breaks inside.
fn base64(text: &str) -> Result<Vec<u8>, String> {
    let data = match text.strip_prefix("data:") {
        Some(rest) => match rest.split_once(";base64,") {
            Some((_, data)) => data,
            None => return Err("a data: URL must hold base64, as in data:image/png;base64,...".into()),
        },
        None => text,
    };
    let bytes: Vec<u8> = data.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if bytes.is_empty() {
        return Err("expected a PNG, JPEG or WebP file in base64, got nothing".into());
    }
    STANDARD
        .decode(&bytes)
        .map_err(|e| format!("expected a PNG, JPEG or WebP file in base64, but this is not base64: {e}"))
}

/// The object's keys and the text of its values, in order, duplicates included. Values are only scanned here: their
/// depth costs no stack, and a number that no float can hold is still the number of a field with a name.
fn entries(text: &str) -> Result<Vec<(String, Box<RawValue>)>, String> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, Box<RawValue>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object such as {\"prompt\": \"a red apple\"}")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    let mut json = serde_json::Deserializer::from_str(text);
    let entries = json.deserialize_map(Entries).and_then(|entries| json.end().map(|()| entries));
    entries.map_err(|e| match e.classify() {
        serde_json::error::Category::Data => format!("the body is JSON, but not what was expected: {e}"),
        serde_json::error::Category::Eof => format!("the body ends in the middle of the JSON: {e}"),
        _ => format!("the body is not JSON: {e}"),
    })
}

/// A position inside one value would be read as one inside the body.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let body =
            br#"{"prompt": "a \u00e9 cat", "negative_prompt": "", "seed": 18446744073709551615, "steps": 20,
            "guidance_scale": 7, "guidance_rescale": 0.7, "width": 512, "height": 256.0, "scheduler": "ddim",
            "guidance_start": 0.2, "guidance_end": 8e-1, "cache_interval": 3.0,
            "token_merging": 0.5,
            "karras": true, "eta": 1e-1, "image": "data:image/png;base64,AA EC\nAw==", "strength": 0.5,
            "metadata": false, "previews": 4}"#;
        let want = Fields {
            prompt: Some("a é cat".into()),
            negative_prompt: Some(String::new()),
            seed: Some(u64::MAX),
            steps: Some(20),
            guidance_scale: Some(7.0),
            guidance_rescale: Some(0.7),
            guidance_start: Some(0.2),
            guidance_end: Some(0.8),
            cache_interval: Some(3),
            token_merging: Some(0.5),
            width: Some(512),
            height: Some(256),
            scheduler: Some("ddim".into()),
            karras: Some(true),
            eta: Some(0.1),
            image: Some(vec![0, 1, 2, 3]),
            strength: Some(0.5),
            metadata: Some(false),
            previews: Some(4),
        };
        assert_eq!(parse(body), Ok(want));
        let nulls: Vec<_> = FIELD_NAMES.iter().map(|name| format!("{name:?}: null")).collect();
        assert_eq!(parse(format!("{{{}}}", nulls.join(",")).as_bytes()), Ok(Fields::default()));
    }

    #[test]
    fn what_is_not_a_request_says_why() {
        let deep = "[".repeat(100_000);
        let deep_field = format!(r#"{{"prompt": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let many: String = (0..1000).map(|i| format!("\"unknown-{i}\": 1,")).collect();
        let many = format!("{{{many} \"prompt\": 1}}");
        let long_name = format!("{{{:?}: 1}}", "n".repeat(100_000));
        let table: [(&[u8], &str); 27] = [
            (b"", "the body is empty"),
            (b" \n", "the body is empty"),
            (b"\xff\xfe", "not UTF-8: byte 0"),
            (b"{\"prompt\": \"\xc3\x28\"}", "not UTF-8: byte 12"),
            (b"{", "ends in the middle"),
            (b"{\"prompt\": \"a", "ends in the middle"),
            (b"prompt=a", "not JSON"),
            (b"{\"prompt\": NaN}", "not JSON"),
            (b"{\"prompt\": Infinity}", "not JSON"),
            (b"{\"prompt\": 'a'}", "not JSON"),
            (b"{\"prompt\": \"a\",}", "not JSON"),
            (b"{\"prompt\": \"a\"} {}", "not JSON: trailing"),
            (b"[]", "expected an object such as"),
            (b"\"a\"", "expected an object such as"),
            (b"7", "expected an object such as"),
            (b"null", "expected an object such as"),
            (deep.as_bytes(), "expected an object such as"),
            (deep_field.as_bytes(), "prompt: expected a string, got a list"),
            (br#"{"prompt": "a", "prompt": "b"}"#, "the field \"prompt\" is there twice"),
            (br#"{"prompt": "a", "promp\u0074": "b"}"#, "the field \"prompt\" is there twice"),
            (br#"{"promt": "a"}"#, "promt: there is no such field; did you mean \"prompt\"?"),
            (br#"{"zzz": null}"#, "the fields are prompt, negative_prompt"),
            (br#"{"prompt": "\ud800"}"#, "prompt: this string is not valid: unexpected end of hex escape"),
            (br#"{"guidance_scale": 1e999}"#, "guidance_scale: 1e999 is too large"),
            (br#"{"seed": -1}"#, "leave it out for a random seed"),
            (br#"{"image": "%"}"#, "image: expected a PNG, JPEG or WebP file in base64"),
            (
                br#"{"karras": "yes", "steps": "20"}"#,
                "karras: expected true or false, got the string \"yes\"; steps: ",
            ),
        ];
        for (body, word) in table {
            let error = parse(body).unwrap_err().to_string();
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert!(error.contains(word), "{start}: {error}");
        }
        for body in [many, long_name] {
            assert!(parse(body.as_bytes()).unwrap_err().to_string().len() < 10_000);
        }
    }
}
