//! A component's JSON config, read field by field so that nothing in it is overlooked.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::LoadError;

/// One JSON config of a checkpoint. Every field must be read, ruled on or ignored by name before
/// [`ConfigFile::finish`], which refuses what is left: a config asks for nothing that we pass over.
#[derive(Debug)]
pub struct ConfigFile {
    file: String,
    fields: Map<String, Value>,
    seen: RefCell<BTreeSet<String>>,
}

impl ConfigFile {
    /// Parses `text`, the contents of `file` (a path inside the checkpoint, used in errors).
    ///
    /// # Errors
    /// [`LoadError::Malformed`] when it is not a JSON object.
    pub fn parse(file: impl Into<String>, text: &[u8]) -> Result<Self, LoadError> {
        let file = file.into();
        match serde_json::from_slice(text).or_else(|e| quote_infinities(text).ok_or(e)) {
            Ok(Value::Object(fields)) => Ok(Self { file, fields, seen: RefCell::default() }),
            Ok(_) => Err(LoadError::Malformed { file, problem: "expected a JSON object".into() }),
            Err(e) => Err(LoadError::Malformed { file, problem: format!("not valid JSON: {e}") }),
        }
    }

    /// The path inside the checkpoint.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn value(&self, field: &str) -> Option<&Value> {
        self.seen.borrow_mut().insert(field.to_owned());
        self.fields.get(field).filter(|v| !v.is_null())
    }

    /// The field's value, or `None` when it is absent or null.
    ///
    /// # Errors
    /// [`LoadError::Field`] when it has another type.
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, LoadError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        match serde_json::from_value(value.clone()) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(e) => Err(self.field_error(field, format!("{value} does not fit: {e}"))),
        }
    }

    /// The field's value, or `default` when it is absent or null.
    ///
    /// # Errors
    /// [`LoadError::Field`] when it has another type.
    pub fn or<T: DeserializeOwned>(&self, field: &str, default: T) -> Result<T, LoadError> {
        Ok(self.get(field)?.unwrap_or(default))
    }

    /// The field's value.
    ///
    /// # Errors
    /// [`LoadError::Field`] when it is absent, null or of another type.
    pub fn require<T: DeserializeOwned>(&self, field: &str) -> Result<T, LoadError> {
        self.get(field)?.ok_or_else(|| self.field_error(field, "is required but absent".into()))
    }

    /// Accepts the field only when it is absent, null or one of `allowed`.
    ///
    /// # Errors
    /// [`LoadError::Unsupported`] for any other value.
    pub fn only<T: Into<Value> + Clone>(&self, field: &str, allowed: &[T]) -> Result<(), LoadError> {
        let Some(value) = self.value(field) else { return Ok(()) };
        let allowed: Vec<Value> = allowed.iter().cloned().map(Into::into).collect();
        let same = |a: &Value| a == value || (a.is_number() && a.as_f64() == value.as_f64());
        if allowed.iter().any(same) {
            return Ok(());
        }
        let supported = allowed.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        Err(self.unsupported(field, if supported.is_empty() { "leaving it out" } else { &supported }))
    }

    /// Passes over fields that have no bearing on inference.
    pub fn ignore(&self, fields: &[&str]) {
        self.seen.borrow_mut().extend(fields.iter().map(|f| (*f).to_owned()));
    }

    /// The error for a value that we cannot honour.
    pub fn unsupported(&self, field: &str, supported: &str) -> LoadError {
        LoadError::Unsupported {
            file: self.file.clone(),
            field: field.into(),
            value: self.fields.get(field).unwrap_or(&Value::Null).to_string(),
            supported: supported.into(),
        }
    }

    /// The error for a value that is absent or makes no sense.
    pub fn field_error(&self, field: &str, problem: String) -> LoadError {
        LoadError::Field { file: self.file.clone(), field: field.into(), problem }
    }

    /// Refuses what was neither read nor ignored. Names that start with `_` are notes, not options.
    ///
    /// # Errors
    /// [`LoadError::Unsupported`] that names the first such field.
    pub fn finish(self) -> Result<(), LoadError> {
        let seen = self.seen.borrow();
        let unread = self.fields.iter().find(|(name, value)| {
            !name.starts_with('_') && !value.is_null() && !seen.contains(name.as_str())
        });
        match unread {
            None => Ok(()),
            Some((name, _)) => Err(self.unsupported(name, "leaving it out (unknown option)")),
        }
    }
}

/// Reads JSON in which Python wrote numbers that JSON does not have, as diffusers' DPM-Solver config
/// (`"lambda_min_clipped": -Infinity`): they become the words `"-Infinity"`, `"Infinity"` and `"NaN"`.
fn quote_infinities(text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text).ok()?;
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut rest, mut in_string) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|w| !in_string && rest.starts_with(w));
        let taken = match word {
            Some(word) => {
                quoted.extend(["\"", word, "\""]);
                word.len()
            }
            // An escaped character in a string ends nothing.
            None if in_string && c == '\\' => {
                let pair: String = rest.chars().take(2).collect();
                quoted.push_str(&pair);
                pair.len()
            }
            None => {
                in_string ^= c == '"';
                quoted.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    serde_json::from_str(&quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_infinities_become_words() {
        let text = br#"{"a": -Infinity, "b": [NaN, Infinity], "c": "-Infinity \" NaN", "d": 1}"#;
        let config = ConfigFile::parse("x.json", text).unwrap();
        assert_eq!(config.get::<String>("a").unwrap().unwrap(), "-Infinity");
        assert_eq!(config.get::<Vec<String>>("b").unwrap().unwrap(), ["NaN", "Infinity"]);
        assert_eq!(config.get::<String>("c").unwrap().unwrap(), "-Infinity \" NaN");
        assert_eq!(config.get::<usize>("d").unwrap(), Some(1));
        assert!(ConfigFile::parse("x.json", br#"{"a": Infinite"#).is_err());
    }
}
